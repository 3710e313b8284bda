"""Networks of recurrent layers in published styles; `SEQUENCES` has them all by name."""

from __future__ import annotations


def inputs(**shapes: tuple[int, ...]) -> str:
    """An Input layer for each name."""
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in shapes.items()
    )


def layer(kind: str, bottoms: str, tops: str, body: str) -> str:
    """A layer that has its first top's name."""
    wires = [f'bottom: "{name}"' for name in bottoms.split()]
    wires += [f'top: "{name}"' for name in tops.split()]
    head = f'name: "{tops.split(maxsplit=1)[0]}" type: "{kind}"'
    return f"layer {{ {head} {' '.join(wires)} {body} }}\n"


def recurrent(kind: str, bottoms: str, tops: str, outputs: int, more: str = "") -> str:
    """An LSTM or RNN."""
    filler = 'weight_filler { type: "uniform" min: -0.08 max: 0.08 }'
    body = f"recurrent_param {{ num_output: {outputs} {more} {filler} }}"
    return layer(kind, bottoms, tops, body)


def dense(bottom: str, top: str, outputs: int) -> str:
    """An inner product for each time step."""
    return layer(
        "InnerProduct", bottom, top, f"inner_product_param {{ num_output: {outputs} axis: 2 }}"
    )


def captions() -> str:
    """Words and one image for all time steps, and a loss."""
    embed = "embed_param { input_dim: 2000 num_output: 300 bias_term: false }"
    return (
        inputs(words=(20, 4), cont=(20, 4), label=(20, 4), image=(4, 1000))
        + layer("Embed", "words", "embedded", embed)
        + recurrent("LSTM", "embedded cont image", "lstm1", 512)
        + dense("lstm1", "scores", 2000)
        + layer("SoftmaxWithLoss", "scores label", "loss", "softmax_param { axis: 2 }")
    )


def stacked() -> str:
    """Two LSTM layers that share their indicators."""
    return (
        inputs(x=(20, 8, 256), cont=(20, 8))
        + recurrent("LSTM", "x cont", "lstm1", 512)
        + recurrent("LSTM", "lstm1 cont", "lstm2", 256)
        + dense("lstm2", "scores", 1000)
        + layer("Softmax", "scores", "prob", "softmax_param { axis: 2 }")
    )


def handed_on() -> str:
    """States that come from outside and go there, as networks do that run step by step."""
    return (
        inputs(x=(1, 8, 256), cont=(1, 8), h0=(1, 8, 1024), c0=(1, 8, 1024))
        + recurrent("LSTM", "x cont h0 c0", "lstm1 h1 c1", 1024, "expose_hidden: true")
        + dense("lstm1", "scores", 100)
    )


def tagger() -> str:
    """An RNN over many short steps: most of its memory is the objects of its inner layers."""
    return inputs(x=(200, 2, 39), cont=(200, 2)) + recurrent("RNN", "x cont", "rnn1", 64)


def plain_rnn() -> str:
    """An RNN with a static input and its states exposed."""
    return (
        inputs(x=(40, 2, 128), cont=(40, 2), s=(2, 500), h0=(1, 2, 512))
        + recurrent("RNN", "x cont s h0", "rnn1 h1", 512, "expose_hidden: true")
        + dense("rnn1", "scores", 100)
    )


SEQUENCES = {style.__name__: style for style in (captions, handed_on, plain_rnn, stacked, tagger)}

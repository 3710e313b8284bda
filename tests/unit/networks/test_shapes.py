"""Shape rules layer by layer, and the checks that stock Caffe aborts on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pibench import networks
from pibench.engines.caffe import prototxt, shapes, topology
from pibench.engines.caffe.shapes.recurrent import unrolled
from pibench.errors import InvalidInputError
from tests.wild.sequences import inputs, recurrent


def infer(*layers: str, data: str = "2, 3, 8, 8") -> shapes.Shapes:
    """Shapes of a network of these layers behind an input `data`; names are l1, l2, ..."""
    dims = f"shape {{ dim: [{data}] }}"
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {dims} }} }}\n'
    for number, layer in enumerate(layers, start=1):
        text += f'layer {{ name: "l{number}" {layer} }}\n'
    return shapes.infer(prototxt.parse(text, "net"), path="net.prototxt")


def one(kind: str, param: str = "", *, data: str = "2, 3, 8, 8") -> shapes.Shapes:
    return infer(f'type: "{kind}" bottom: "data" top: "out" {param}', data=data)


@pytest.mark.parametrize(
    ("kind", "param", "top", "params"),
    [
        ("Convolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 }",
         (2, 6, 4, 4), ((6, 3, 3, 3), (6,))),
        ("Convolution", ("convolution_param { num_output: 6 kernel_size: 3 group: 3 "
         "bias_term: false }"),
         (2, 6, 6, 6), ((6, 1, 3, 3),)),
        ("Convolution", ("convolution_param { num_output: 4 kernel_h: 1 kernel_w: 7 "
         "pad_h: 0 pad_w: 3 }"),
         (2, 4, 8, 8), ((4, 3, 1, 7), (4,))),
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 dilation: 2 }",
         (2, 4, 4, 4), ((4, 3, 3, 3), (4,))),
        ("Deconvolution", "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 }",
         (2, 6, 16, 16), ((3, 6, 4, 4), (6,))),
        ("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (2, 3, 4, 4), ()),
        ("Pooling", "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }",
         (2, 3, 3, 3), ()),
        ("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }", (2, 3, 5, 5), ()),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }", (2, 3, 3, 3), ()),
        ("Pooling", "pooling_param { pool: AVE global_pooling: true }", (2, 3, 1, 1), ()),
        # Larger than the input, as Caffe sets them up: C divides towards 0.
        ("Pooling", "pooling_param { kernel_size: 9 stride: 2 }", (2, 3, 1, 1), ()),
        ("Pooling", "pooling_param { kernel_h: 9 kernel_w: 2 stride: 3 }", (2, 3, 1, 3), ()),
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 10 stride: 3 }",
         (2, 4, 1, 1), ((4, 3, 10, 10), (4,))),
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 5 stride: 4 dilation: 2 }",
         (2, 4, 1, 1), ((4, 3, 5, 5), (4,))),
        ("Im2col", "convolution_param { kernel_size: 9 stride: 2 }", (2, 243, 1, 1), ()),
        # A pad on one axis drops the last window of the other one too.
        ("Pooling", "pooling_param { kernel_h: 3 kernel_w: 1 stride: 3 pad_h: 1 pad_w: 0 }",
         (2, 3, 3, 3), ()),
        ("Pooling", "pooling_param { kernel_size: 1 stride: 5 }", (2, 3, 3, 3), ()),
        ("Pooling", "pooling_param { kernel_h: 3 kernel_w: 1 stride: 5 pad_h: 1 pad_w: 0 }",
         (2, 3, 2, 2), ()),
        ("InnerProduct", "inner_product_param { num_output: 10 }", (2, 10), ((10, 192), (10,))),
        ("InnerProduct", "inner_product_param { num_output: 10 axis: 2 transpose: true }",
         (2, 3, 10), ((64, 10), (10,))),
        ("LRN", "", (2, 3, 8, 8), ()),
        ("BatchNorm", "", (2, 3, 8, 8), ((3,), (3,), (1,))),
        ("Scale", "scale_param { bias_term: true }", (2, 3, 8, 8), ((3,), (3,))),
        ("Scale", "scale_param { axis: 0 num_axes: -1 }", (2, 3, 8, 8), ((2, 3, 8, 8),)),
        ("Bias", "", (2, 3, 8, 8), ((3,),)),
        ("PReLU", "", (2, 3, 8, 8), ((3,),)),
        ("PReLU", "prelu_param { channel_shared: true }", (2, 3, 8, 8), ((),)),
        ("Flatten", "", (2, 192), ()),
        ("Flatten", "flatten_param { axis: 2 }", (2, 3, 64), ()),
        ("Reshape", "reshape_param { shape { dim: [0, -1, 4] } }", (2, 48, 4), ()),
        ("Reshape", "reshape_param { shape { dim: [4, 16] } axis: 2 }", (2, 3, 4, 16), ()),
        ("SPP", "spp_param { pyramid_height: 3 }", (2, 63), ()),
        ("Tile", "tile_param { tiles: 4 }", (2, 12, 8, 8), ()),
        ("Reduction", "reduction_param { axis: 1 }", (2,), ()),
        ("Reduction", "", (), ()),
        ("ArgMax", "", (2, 1, 1, 1), ()),
        ("ArgMax", "argmax_param { out_max_val: true top_k: 5 }", (2, 2, 5, 1), ()),
        ("ArgMax", "argmax_param { axis: 1 top_k: 2 }", (2, 2, 8, 8), ()),
        ("Im2col", "convolution_param { kernel_size: 3 stride: 1 }", (2, 27, 6, 6), ()),
        ("Embed", "embed_param { num_output: 5 input_dim: 7 }", (2, 3, 8, 8, 5), ((7, 5), (5,))),
        ("MVN", "", (2, 3, 8, 8), ()),
        ("Softmax", "", (2, 3, 8, 8), ()),
        ("Concat", "", (2, 3, 8, 8), ()),
    ],
)  # fmt: skip
def test_rules(kind: str, param: str, top: shapes.Shape, params: tuple[shapes.Shape, ...]) -> None:
    found = one(kind, param)
    assert found.blobs["out"] == top
    assert found.params.get("l1", ()) == params
    assert found.parameter_count == sum(shapes.elements(shape) for shape in params)


def test_joining_and_splitting() -> None:
    found = infer(
        'type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 }',
        'type: "Concat" bottom: "b" bottom: "a" top: "c"',
        'type: "Eltwise" bottom: "c" bottom: "data" top: "d"',
        'type: "Split" bottom: "d" top: "e" top: "f"',
        'type: "Crop" bottom: "e" bottom: "data" top: "g"',
        'type: "Silence" bottom: "f"',
    )
    assert (found.blobs["a"], found.blobs["b"]) == ((2, 1, 8, 8), (2, 2, 8, 8))
    assert {found.blobs[name] for name in "cdefg"} == {(2, 3, 8, 8)}
    assert found.tops[-1] == ()


def test_losses_without_a_top_get_one_each() -> None:
    found = infer(
        'type: "Input" top: "label" input_param { shape { dim: [2, 1, 8, 8] } }',
        'type: "SoftmaxWithLoss" bottom: "data" bottom: "label"',
        'type: "EuclideanLoss" bottom: "data" bottom: "data"',
    )
    assert found.tops[-2:] == [((),), ((),)]
    assert len(found.blobs) == 4
    with pytest.raises(InvalidInputError, match=r"has 0 top\(s\) and needs 1"):
        infer('type: "ReLU" bottom: "data"')


def test_a_loss_needs_a_weight_for_each_top() -> None:
    label = 'type: "Input" top: "label" input_param { shape { dim: [2, 1, 8, 8] } }'
    loss = 'type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "loss" top: "prob"'
    assert infer(label, f"{loss} loss_weight: [1, 0]").blobs["prob"] == (2, 3, 8, 8)
    with pytest.raises(InvalidInputError, match=r"0 loss_weight for 2 top\(s\)"):
        infer(label, loss)


def test_scalars_and_lists_where_images_belong() -> None:
    for kind, data in (("ArgMax", "2"), ("BatchNorm", "2"), ("LRN", "2, 3"), ("Pooling", "2, 3")):
        if kind == "ArgMax":
            assert infer('type: "ArgMax" bottom: "data" top: "x"', data=data).blobs["x"] == (
                2,
                1,
                1,
            )
            continue
        with pytest.raises(InvalidInputError, match=r"needs (two|four) axes, not 2"):
            infer(f'type: "{kind}" bottom: "data" top: "x"', data=data)
    scalar = 'type: "Reduction" bottom: "data" top: "one"'
    with pytest.raises(InvalidInputError, match="ArgMax needs at least one axis"):
        infer(scalar, 'type: "ArgMax" bottom: "one" top: "x"')
    with pytest.raises(
        InvalidInputError, match="bottom 0 is 2 x 3 x 8 x 8 but bottom 1 is a scalar"
    ):
        infer(scalar, 'type: "Concat" bottom: "data" bottom: "one" top: "x"')


def test_all_items_may_pass_a_filter() -> None:
    found = infer(
        'type: "Input" top: "s" input_param { shape { dim: [2, 1, 1] } }',
        'type: "Filter" bottom: "data" bottom: "s" bottom: "s" top: "x" top: "y"',
    )
    assert (found.blobs["x"], found.blobs["y"]) == ((2, 3, 8, 8), (2, 1, 1))
    with pytest.raises(InvalidInputError, match="bottom 0 is 2 x 3 x 8 x 8 but the selector is 4"):
        infer(
            'type: "Input" top: "s" input_param { shape { dim: 4 } }',
            'type: "Filter" bottom: "data" bottom: "s" top: "x"',
        )


def test_losses_are_scalars() -> None:
    found = infer(
        'type: "Input" top: "label" input_param { shape { dim: [2, 8, 8] } }',
        'type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "loss"',
        'type: "Accuracy" bottom: "data" bottom: "label" top: "acc" top: "each"',
    )
    assert (found.blobs["loss"], found.blobs["acc"], found.blobs["each"]) == ((), (), (3,))


def sequence(layer: str, **more: tuple[int, ...]) -> shapes.Shapes:
    return shapes.infer(prototxt.parse(inputs(x=(5, 2, 6), cont=(5, 2), **more) + layer, "net"))


def test_recurrent_layers_have_the_shapes_of_their_unrolled_network() -> None:
    found = sequence(recurrent("LSTM", "x cont s", "h", 4), s=(2, 3, 3))
    assert found.blobs["h"] == (5, 2, 4)
    assert found.params["h"] == ((16, 6), (16,), (16, 9), (16, 4))
    states = {"h0": (1, 2, 4), "c0": (1, 2, 4)}
    text = recurrent("LSTM", "x cont h0 c0", "h h1 c1", 4, "expose_hidden: true")
    assert sequence(text, **states).tops[-1] == ((5, 2, 4), (1, 2, 4), (1, 2, 4))
    found = sequence(recurrent("RNN", "x cont s", "o", 4), s=(2, 3))
    assert found.params["o"] == ((4, 6), (4,), (4, 3), (4, 4), (4, 4), (4,))


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_recurrent_layer_has_the_parameters_that_it_unrolls_to(kind: str, steps: int) -> None:
    text = inputs(x=(steps, 2, 6), cont=(steps, 2), s=(2, 3)) + recurrent(kind, "x cont s", "y", 4)
    outer = shapes.infer(prototxt.parse(text, "net"))
    inner = shapes.infer(unrolled(outer.layers[-1], list(outer.bottoms[-1])))
    owned = {
        spec.name: shape
        for layer, params in zip(inner.layers, inner.weights, strict=True)
        for spec, shape in zip(layer.param, params, strict=True)
    }
    assert tuple(owned.values()) == outer.weights[-1]
    assert inner.bottoms[-1] == (outer.tops[-1][0],)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (recurrent("LSTM", "x cont", "h", 0), "num_output is missing or 0"),
        (recurrent("LSTM", "cont cont", "h", 4), "not time steps x streams x values"),
        (recurrent("LSTM", "x x", "h", 4), "bottom 1 is 5 x 2 x 6 where bottom 0 begins with"),
        (recurrent("LSTM", "x cont cont", "h", 4), "bottom 2 is 5 x 2, not 2 streams x values"),
        (recurrent("RNN", "x cont", "h h1", 4), "has 2 top(s) and needs 1"),
        (recurrent("RNN", "x cont", "h h1", 4, "expose_hidden: true"), "needs 3 to 4"),
        (recurrent("RNN", "x cont x", "h h1", 4, "expose_hidden: true"),
         "a state is 5 x 2 x 6, not 1 x 2 x 4"),
    ],
)  # fmt: skip
def test_recurrent_layers_that_caffe_aborts_on(layer: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        sequence(layer)
    assert problem in caught.value.line()


def test_time_steps_of_all_recurrent_layers_together_have_a_limit() -> None:
    text = inputs(x=(2600, 1, 1), cont=(2600, 1)) + recurrent("LSTM", "x cont", "h", 1)
    assert shapes.infer(prototxt.parse(text, "net")).time_steps == 2600
    text += recurrent("RNN", "h cont", "o", 1)
    with pytest.raises(InvalidInputError, match="unrolls 5200 time steps"):
        shapes.infer(prototxt.parse(text, "net"))


def test_a_filter_cannot_work_in_place() -> None:
    text = inputs(x=(3, 4), s=(3, 1)) + 'layer { type: "Filter" bottom: ["x", "s"] top: "x" }'
    with pytest.raises(InvalidInputError, match="Filter cannot work in place"):
        shapes.infer(prototxt.parse(text, "net"))


def test_the_batch_of_a_recurrent_network_is_not_its_time_steps() -> None:
    text = inputs(x=(5, 2, 6), cont=(5, 2)) + recurrent("LSTM", "x cont", "h", 4)
    net = prototxt.parse(text, "net")
    assert topology.batch_size(net, "TEST") == 2
    assert "'h' is recurrent" in topology.why_no_batch(net)


def test_shared_parameters_count_once() -> None:
    shared = (
        'type: "InnerProduct" bottom: "data" inner_product_param { num_output: 4 bias_term: false }'
        ' param { name: "w" }'
    )
    assert infer(f'{shared} top: "a"', f'{shared} top: "b"').parameter_count == 4 * 192


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        ('type: "ReLU" bottom: "dat" top: "x"', "bottom 'dat' is written by no earlier layer"),
        ('type: "Sigmoid" bottom: "data" top: "y" top: "y"', "top 'y' is written by two layers"),
        ('type: "Input" top: "data" input_param { shape { dim: 1 } }',
         "top 'data' is written by two layers"),
        ('type: "ReLU" bottom: "data" bottom: "data" top: "x"',
         "has 2 bottom(s) and needs 1"),
        (('type: "Convolution" bottom: "data" top: "x" convolution_param { num_output: 4 '
         "kernel_size: 3 group: 2 }"), "group 2 does not divide 3 input and 4 output channels"),
        (('type: "Convolution" bottom: "data" top: "x" convolution_param { num_output: 4 '
         "kernel_size: 11 }"), "the kernel spans 11 but its input, padding included, is 8"),
        ('type: "Convolution" bottom: "data" top: "x" convolution_param { kernel_size: 1 }',
         "num_output is missing or 0"),
        ('type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 9 }',
         "the kernel is 9 but its input, padding included, is 8"),
        ('type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 10 stride: 2 }',
         "the kernel is 10 but its input, padding included, is 8"),
        (('type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 9 stride: 2 '
         "round_mode: FLOOR }"), "the kernel is 9 but its input, padding included, is 8"),
        (('type: "Convolution" bottom: "data" top: "x" convolution_param { num_output: 4 '
         "kernel_size: 10 stride: 2 }"), "the kernel spans 10 but its input, padding included"),
        ('type: "Im2col" bottom: "data" top: "x" convolution_param { kernel_size: 9 stride: 1 }',
         "the kernel spans 9 but its input, padding included, is 8"),
        ('type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 2 pad: 2 }',
         "pad 2 is not below kernel 2"),
        ('type: "Flatten" bottom: "data" top: "x" flatten_param { axis: 7 }',
         "axis 7 does not exist in 2 x 3 x 8 x 8"),
        ('type: "Reshape" bottom: "data" top: "x" reshape_param { shape { dim: 5 dim: -1 } }',
         "2 x 3 x 8 x 8 cannot become 5 x 76"),
        ('type: "Slice" bottom: "data" top: "a" top: "b"', "3 cannot be cut into 2 equal slices"),
        (('type: "InnerProduct" bottom: "data" top: "x" inner_product_param '
         "{ num_output: 2000000000 }"), "more than 2^31 - 1 elements"),
        ('type: "Tile" bottom: "data" top: "x" tile_param { tiles: 0 }',
         "'x' would measure 2 x 0 x 8 x 8"),
        ('type: "Filter" bottom: "data" bottom: "data" top: "x"',
         "its selector is 2 x 3 x 8 x 8, more than one number per item"),
        ('type: "Filter" bottom: "data" top: "x"', "has 1 bottom(s) and needs at least 2"),
        ('type: "Filter" bottom: "data" bottom: "data" top: "x" top: "y"',
         "has 2 top(s) and needs 1"),
        ('type: "Python" bottom: "data" top: "x"',
         "--shape l1=2x3x8x8, once for each of its 1 top(s)"),
        ('type: "Python" top: "x" top: "y" input_param { shape { dim: 2 } }',
         "has 1 given shape(s) and needs 2; give one --shape for each top"),
        ('type: "Data" top: "x"', "a Data layer reads a database or files; use --repair"),
        ('type: "Convolutoin" bottom: "data" top: "x"',
         "stock Caffe has no layer type 'Convolutoin'; did you mean 'Convolution'?"),
        ('type: "Region" bottom: "data" top: "data"', "by its shape: --shape l1=2x3x8x8"),
        ('type: "HDF5Data" top: "x"', "database or files; put an Input layer with the shapes of"),
        ('type: "VideoData" top: "x"', "database or files; put an Input layer with the shapes of"),
        ('type: "Region" bottom: "data" top: "x"', "it is of a YOLO fork; replace it by stock"),
        ('type: "MultiBoxLoss" bottom: "data" top: "x"',
         "it is of the SSD fork; replace it by stock layers, or take it out"),
        ('bottom: "data" top: "x"', "has no type"),
        ('type: "LRN" bottom: "data" top: "x" lrn_param { local_size: 4 }', "local_size is even"),
    ],
)  # fmt: skip
def test_refusals_name_file_and_layer(layer: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        infer(layer)
    assert caught.value.line().startswith("net.prototxt: layer 'l1': ")
    assert problem in caught.value.line()


LABELS = 'type: "Input" top: "labels" input_param { shape { dim: [%s] } }'
WEIGHTS = 'type: "InnerProduct" bottom: "data" top: "x" inner_product_param { num_output: 4 %s }'
BIG = 'type: "Convolution" bottom: "%s" top: "%s" convolution_param { %s }'
POOL = 'type: "Pooling" bottom: "data" top: "x" pooling_param { %s }'


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([LABELS % 2, 'type: "SoftmaxWithLoss" bottom: "data" bottom: "labels" top: "x"'],
         "2 labels for 128 predictions"),
        ([LABELS % 2, 'type: "Accuracy" bottom: "data" bottom: "labels" top: "x"'],
         "2 labels for 128 predictions"),
        ([LABELS % "2, 8, 8", ('type: "Accuracy" bottom: "data" bottom: "labels" top: "x" '
          "accuracy_param { top_k: 4 }")], "top_k is 4"),
        ([LABELS % 3, 'type: "HingeLoss" bottom: "data" bottom: "labels" top: "x"'],
         "bottom 0 is 2 x 3 x 8 x 8 but bottom 1 is 3"),
        ([LABELS % 2, 'type: "EuclideanLoss" bottom: "data" bottom: "labels" top: "x"'],
         "both need the same number of elements"),
        ([LABELS % 2, 'type: "SigmoidCrossEntropyLoss" bottom: "data" bottom: "labels" top: "x"'],
         "both need the same number of elements"),
        ([LABELS % "2, 2", ('type: "MultinomialLogisticLoss" bottom: "data" bottom: "labels" '
          'top: "x"')], "labels measure 2 x 2, more than one each"),
        ([LABELS % 2, ('type: "ContrastiveLoss" bottom: "data" bottom: "data" bottom: "labels" '
          'top: "x"')], "are not two lists of vectors"),
        ([LABELS % "2, 8, 8", 'type: "InfogainLoss" bottom: "data" bottom: "labels" top: "x"'],
         "its matrix comes from a file"),
        (['type: "Dropout" bottom: "data" top: "x" dropout_param { dropout_ratio: 4 }'],
         "dropout_ratio is 4"),
        ([WEIGHTS % 'weight_filler { type: "gausian" }'],
         "weight_filler has no type 'gausian' in stock Caffe; take one of constant"),
        ([WEIGHTS % 'weight_filler { type: "xavier" sparse: 16 }'], "xavier cannot be sparse"),
        ([WEIGHTS % 'weight_filler { type: "gaussian" std: 0 }'], "std is 0"),
        ([WEIGHTS % 'bias_filler { type: "gaussian" sparse: 5 }'], "sparse is 5 for 4"),
        ([('type: "PReLU" bottom: "data" top: "x" prelu_param { channel_shared: true '
           'filler { type: "xavier" } }')], "filler: xavier divides by the first dimension"),
        ([WEIGHTS % 'bias_filler { type: "uniform" min: 2 }'], "min 2 is above max 1"),
        ([WEIGHTS % 'weight_filler { type: "bilinear" }'], "needs a square kernel, not 4 x 192"),
        ([WEIGHTS % "" + " blobs { data: 32 }"], "contains blobs, which belong in a caffemodel"),
        ([POOL % "kernel_size: 2 pad_h: 1"], "pad_h without the other, or with pad"),
        ([POOL % "kernel_size: 2 kernel_h: 2 kernel_w: 2"], "kernel_size and kernel_h, kernel_w"),
        (['type: "Pooling" bottom: "data" top: "small" pooling_param { kernel_size: 8 }',
          'type: "SPP" bottom: "small" top: "x" spp_param { pyramid_height: 2 }'],
         "1 x 1 is too small for 2 x 2 bins"),
        ([BIG % ("data", "big", "num_output: 2000000 kernel_size: 1"),
          BIG % ("big", "x", "num_output: 1 kernel_size: 5 pad: 2")],
         "its im2col buffer would measure"),
    ],
)  # fmt: skip
def test_what_real_caffe_was_seen_to_abort_on(layers: list[str], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        infer(*layers)
    assert problem in caught.value.line()


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ('num_output: 5 } param { name: "w" }', "shares parameter 'w' of 4 x 192 as 5 x 192"),
        ('num_output: 4 } param { name: "w" lr_mult: 2 }', "shares parameter 'w' with another lr"),
    ],
)
def test_parameters_of_one_name_are_alike(second: str, problem: str) -> None:
    layer = 'type: "InnerProduct" bottom: "data" top: "%s" inner_product_param { bias_term: false '
    first = layer % "a" + 'num_output: 4 } param { name: "w" lr_mult: 1 }'
    with pytest.raises(InvalidInputError, match=problem):
        infer(first, layer % "b" + second)


def test_one_of_two_kernel_fields_gives_way_to_kernel_size() -> None:
    assert infer(POOL % "kernel_size: 2 kernel_h: 0 stride: 2").blobs["x"] == (2, 3, 4, 4)


def test_mismatch_names_both_shapes() -> None:
    halves = 'type: "Pooling" bottom: "data" top: "half" pooling_param { kernel_size: 2 stride: 2 }'
    for joining in ("Eltwise", "Concat"):
        with pytest.raises(InvalidInputError) as caught:
            infer(halves, f'type: "{joining}" bottom: "data" bottom: "half" top: "x"')
        assert "bottom 0 is 2 x 3 x 8 x 8 but bottom 1 is 2 x 3 x 4 x 4" in caught.value.line()


def test_absurd_input() -> None:
    with pytest.raises(InvalidInputError, match=r"more than 2\^31 - 1 elements"):
        infer(data="1, 3, 99999, 99999")
    with pytest.raises(InvalidInputError, match="would measure 1 x 3 x 0 x 5"):
        infer(data="1, 3, 0, 5")


def test_legacy_input_and_its_mistakes() -> None:
    net = prototxt.parse('input: "data" input_dim: [1, 3, 5, 5]', "n")
    assert shapes.infer(net).blobs["data"] == (1, 3, 5, 5)
    with pytest.raises(InvalidInputError, match=r"1 input\(s\) but 0 input_shape and 3 input_dim"):
        shapes.infer(prototxt.parse('input: "data" input_dim: [1, 3, 5]', "n"))


def test_inputs_without_sizes_leave_their_blobs_to_layers() -> None:
    given = 'input: "d" layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 } } }'
    assert shapes.infer(prototxt.parse(given, "n")).blobs == {"d": (2,)}
    with pytest.raises(InvalidInputError, match=r"2 input\(s\) but 0 input_shape and 0 input_dim"):
        shapes.infer(prototxt.parse('input: "e" ' + given, "n"))


def test_phases_have_their_own_layers() -> None:
    text = (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 2] } } }'
        'layer { name: "t" type: "ReLU" bottom: "d" top: "t" include { phase: TRAIN } }'
        'layer { name: "s" type: "ReLU" bottom: "d" top: "s" exclude { phase: TRAIN } }'
    )
    net = prototxt.parse(text, "n")
    assert set(shapes.infer(net, phase="TRAIN").blobs) == {"d", "t"}
    assert set(shapes.infer(net, phase="TEST").blobs) == {"d", "s"}


SOURCE = """layer { name: "d" type: "%s" top: "d" %s %s }
layer { name: "r" type: "ReLU" bottom: "d" top: "r" }"""
DIMS = "dummy_data_param { shape { dim: [2, 10] } }"


@pytest.mark.parametrize(
    ("kind", "rules", "phase", "line"),
    [
        ("DummyData", "include { phase: TRAIN }", "TEST",
         ("phase TEST has no source of bottom 'd': DummyData layer 'd' is for TRAIN only; "
         "--protocol caffe-time sets up phase TRAIN; for TEST add an Input layer")),
        ("DummyData", "exclude { phase: TRAIN }", "TRAIN",
         ("phase TRAIN has no source of bottom 'd': DummyData layer 'd' is for TEST only; "
         "--protocol inference sets up phase TEST; for TRAIN add an Input layer")),
        ("DummyData", 'include { stage: "a" }', "TRAIN",
         ("phase TRAIN has no source of bottom 'd': DummyData layer 'd' is left out by its rules; "
         "correct its rules, or add an Input layer")),
        ("Data", "include { phase: TRAIN }", "TEST",
         ("phase TEST has no source of bottom 'd': Data layer 'd' is for TRAIN only, and reads a "
         "database or files; use --repair to put an Input layer in its place")),
        ("AnnotatedData", "include { phase: TRAIN }", "TEST",
         "phase TEST has no source of bottom 'd': a fork's AnnotatedData layer 'd' is for TRAIN"),
    ],
)  # fmt: skip
def test_a_phase_without_a_source_is_named(
    kind: str, rules: str, phase: topology.Phase, line: str
) -> None:
    text = SOURCE % (kind, rules, DIMS if kind == "DummyData" else "")
    with pytest.raises(InvalidInputError) as caught:
        shapes.infer(prototxt.parse(text, "n"), phase=phase)
    assert caught.value.line().startswith(f"network: layer 'r': {line}")


def test_of_two_sources_that_a_phase_leaves_out_that_of_the_other_phase_is_named() -> None:
    staged = 'layer { name: "s" type: "Data" top: "d" include { phase: TEST stage: "a" } }'
    train = SOURCE % ("DummyData", "include { phase: TRAIN }", DIMS)
    for text in (staged + train, train + staged):
        with pytest.raises(InvalidInputError, match="DummyData layer 'd' is for TRAIN only"):
            shapes.infer(prototxt.parse(text, "n"), phase="TEST")


def test_a_forks_data_layer_is_named_as_one() -> None:
    with pytest.raises(InvalidInputError, match=r"a VideoData layer of a fork reads a database"):
        infer('type: "VideoData" top: "x"')
    with pytest.raises(InvalidInputError, match="stock Caffe has no layer type 'FooData'"):
        infer('type: "FooData" bottom: "data" top: "x"')


def test_caffe_time_has_a_stage_without_a_name() -> None:
    text = (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 2] } } }'
        'layer { name: "s" type: "ReLU" bottom: "d" top: "s" exclude { stage: "" } }'
    )
    net = prototxt.parse(text, "n")
    assert set(shapes.infer(net, phase="TRAIN").blobs) == {"d"}
    assert set(shapes.infer(net, phase="TEST").blobs) == {"d", "s"}


def test_splits_are_named_as_caffe_names_them() -> None:
    found = infer(
        'type: "ReLU" bottom: "data" top: "data"',
        'type: "ReLU" bottom: "data" top: "a"',
        'type: "Eltwise" bottom: "a" bottom: "data" top: "b"',
    )
    split = topology.insert_splits(list(found.layers))
    assert [layer.name for layer in split] == ["data", "l1", "data_l1_0_split", "l2", "l3"]
    assert list(split[2].top) == ["data_l1_0_split_0", "data_l1_0_split_1"]
    assert list(split[4].bottom) == ["a", "data_l1_0_split_1"]


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["AlexNet", "SqueezeNet V1.1", "MobileNet", "NIN"]),
    batches=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_only_the_first_dimension_grows_with_the_batch(name: str, batches: tuple[int, int]) -> None:
    small, large = sorted(batches)
    first = networks.load(name, batch=small).shapes
    second = networks.load(name, batch=large).shapes
    assert first.params == second.params
    for blob, shape in first.blobs.items():
        assert second.blobs[blob] == (large, *shape[1:])
        assert shape[0] == small


def test_batch_is_set_on_legacy_inputs_too() -> None:
    net = prototxt.parse('input: "a" input: "b" input_dim: [1, 3, 5, 5, 1, 3, 5, 5]', "n")
    topology.set_batch(net, 7)
    assert list(net.input_dim) == [7, 3, 5, 5, 7, 3, 5, 5]


CONV = 'type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2'


@pytest.mark.parametrize(
    ("layers", "refusal"),
    [
        (
            [CONV + " kernel_size: 1 bias_term: false } param { } param { }"],
            "layer 'l1': 2 param for 1 parameter(s); remove the last one",
        ),
        (
            ['type: "ReLU" bottom: "data" top: "r" loss_weight: 1 loss_weight: 0'],
            "layer 'l1': 2 loss_weight for 1 top(s); give one per top, or none",
        ),
        (
            ['type: "ReLU" bottom: "data" top: "r" propagate_down: [true, false]'],
            "layer 'l1': 2 propagate_down for 1 bottom(s); give one per bottom, or none",
        ),
        (
            ['type: "ReLU" bottom: "data" top: "r" include { } exclude { }'],
            "layer 'l1': has include and exclude rules; keep one kind",
        ),
        (
            ['type: "Reshape" bottom: "data" top: "data" reshape_param { shape { dim: -1 } }'],
            "layer 'l1': Reshape cannot work in place on 'data'; give its top another name",
        ),
        (
            ['type: "InnerProduct" bottom: "data" top: "data" inner_product_param {num_output: 2}'],
            "layer 'l1': works in place on 'data', but changes its shape; give its top",
        ),
        (
            ['type: "TanH" bottom: "data" top: "t"', 'type: "ReLU" bottom: "data" top: "data"'],
            "layer 'l2': works in place on 'data', which is read elsewhere too; give its top",
        ),
        (
            ['type: "ReLU" bottom: "data" top: "data" loss_weight: 1',
             'type: "ReLU" bottom: "data" top: "data"'],
            "layer 'l2': works in place on 'data', which is read elsewhere too; give its top",
        ),
        (
            ['type: "DummyData" top: "x" dummy_data_param { num: 1 shape { dim: 1 } }'],
            "layer 'l1': shape and num, channels, height or width are given; keep the shape",
        ),
        (
            ['type: "Input" top: "x" input_param { shape { dim: [' + "1," * 32 + "1] } }"],
            "layer 'l1': 'x' would have 33 axes; Caffe takes 32 at most",
        ),
    ],
)  # fmt: skip
def test_what_caffe_asks_of_every_layer(layers: list[str], refusal: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        infer(*layers)
    assert caught.value.line().startswith(f"net.prototxt: {refusal}")


def test_in_place_after_in_place_and_a_branch_after_both_are_fine() -> None:
    found = infer(
        'type: "ReLU" bottom: "data" top: "data"',
        'type: "TanH" bottom: "data" top: "data"',
        'type: "Eltwise" bottom: "data" bottom: "data" top: "sum"',
    )
    assert found.blobs["sum"] == (2, 3, 8, 8)


def test_levels_count_for_nothing_as_in_caffe_time() -> None:
    text = 'type: "ReLU" bottom: "data" top: "r" include {{ {} }} }} state {{ level: 5'
    assert "r" not in infer(text.format("min_level: 1")).blobs
    assert "r" in infer(text.format("max_level: 1")).blobs

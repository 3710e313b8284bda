"""Write what forks say in fields of their own in those of stock Caffe, with the same meaning.

`ceil_mode` of a pooling is `round_mode`, equal pads of single sides are `pad_h` and `pad_w`, and
`hole` is `dilation`. What stock Caffe cannot express is refused: without its field, the network
would be another one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pibench.engines.caffe.outline import UnknownField

ROUNDS_UP: Final = "the pooling now rounds sizes up"
"""What a sentence about `ceil_mode: false` taken out contains, in records too."""

_SIDES: Final = ("left", "right", "top", "bottom")
_PADS: Final = {name: side for side in _SIDES for name in (f"pad_{side}", f"pad_{side[0]}")} | {
    "pad_type": ""
}
_HOLES: Final = ("hole", "hole_h", "hole_w")
_FUSED: Final = "fuse_type"
"""What Intel's and naibaf7's forks write in a layer that runs those that followed too."""
_MEANT: Final = {
    ("batch_norm_param", "scale_bias", False): (
        "scales and shifts too (scale_bias: true); stock Caffe's BatchNorm cannot",
        "write a Scale layer with bias_term: true behind it",
    ),
    ("dropout_param", "scale_train", True): (
        "scales when testing (scale_train: false); stock Caffe's Dropout does when training",
        "write a Power layer with a scale of 1 - dropout_ratio in its place",
    ),
    ("dropout_param", "sample_weights_test", False): (
        "drops when testing too (sample_weights_test: true); stock Caffe's Dropout does not",
        "take the field out for a network that drops when training only",
    ),
    ("concat_param", "per_fla_fuse", False): (
        "permutes and flattens its bottoms (per_fla_fuse: true); stock Caffe's Concat cannot",
        "write a Permute with order: [0, 2, 3, 1] and a Flatten before it, for each bottom",
    ),
}
"""Fields by parent, name, and whether they are false: the problem, and how to solve it."""
_FALSE: Final = frozenset({"false", "False", "f", "0"})
_TRUE: Final = frozenset({"true", "True", "t", "1"})

_Layer = caffe.LayerParameter | caffe.V1LayerParameter


class _Refused(Exception):
    """A problem, and how to solve it."""


def has_meaning(field: UnknownField) -> bool:
    """Return whether stock Caffe would run another network without this field."""
    return bool(_beyond_stock(field)) or field.name in _fields(field.parent)


def _beyond_stock(field: UnknownField) -> tuple[str, str] | None:
    """Return what a field makes its layer do that stock Caffe cannot, and the way out."""
    if field.name == _FUSED and field.value != "UNFUSED":
        problem = f"runs other layers inside ({_FUSED}: {field.value[:40]}); stock Caffe cannot"
        return problem, "write these as layers of their own"
    written = (field.parent, field.name, field.value in _FALSE)
    return _MEANT.get(written) if field.value in _FALSE | _TRUE else None


def _fields(parent: str) -> tuple[str, ...]:
    if parent == "pooling_param":
        return ("ceil_mode", *_PADS)
    return (*_PADS, *_HOLES) if parent == "convolution_param" else ()


def as_stock(
    fields: Sequence[UnknownField],
    layer_of: Callable[[UnknownField], _Layer | None],
    path: Path | str,
    *,
    as_paper: bool,
) -> list[str]:
    """Write fields, all of which `has_meaning`, into the layers that have them.

    `layer_of` finds the layer of a field, to be changed in place; `as_paper` takes
    `ceil_mode: false` out, as the paper did.

    Returns:
        One sentence for each kind of change, however often it occurred.

    Raises:
        InvalidInputError: Stock Caffe has no such network; the error names `path`.
    """
    messages: defaultdict[tuple[tuple[str, int], str], list[UnknownField]] = defaultdict(list)
    for field in fields:
        messages[field.within, field.parent].append(field)
    done: Counter[tuple[str, str, str]] = Counter()
    lines: dict[tuple[str, str, str], int] = {}
    for (_, parent), own in messages.items():
        layer = layer_of(own[0])
        if layer is None:
            continue
        try:
            _refuse(own)
            changes = [
                *_in_pooling(layer, own, as_paper=as_paper),
                *_pads(layer, own),
                *_holes(layer, own),
            ]
        except _Refused as refused:
            place = (
                topology.place(layer)
                if isinstance(layer, caffe.LayerParameter)
                else f"layer '{layer.name}'"
            )
            problem, hint = refused.args
            raise InvalidInputError.at(path, place, problem, hint=hint) from None
        for before, after in changes:
            key = (parent, before, after)
            done[key] += 1
            lines.setdefault(key, own[0].line)
    return [_sentence(*key, count, lines[key]) for key, count in done.items()]


def _sentence(parent: str, before: str, after: str, count: int, line: int) -> str:
    where = f"line {line}" if count == 1 else f"{count} times, first on line {line}"
    if after.startswith(("round_mode", "pad_", "dilation")):
        return f"wrote '{before}' of {parent} ({where}) as '{after}'"
    return f"took out '{before}' of {parent} ({where}): {after}"


_Changes = list[tuple[str, str]]
"""The fields as they were, and those written instead, or what it means that they are gone."""


def _refuse(own: Sequence[UnknownField]) -> None:
    for field in own:
        if problem := _beyond_stock(field):
            raise _Refused(*problem)


def _in_pooling(layer: _Layer, own: Sequence[UnknownField], *, as_paper: bool) -> _Changes:
    changes = []
    for field in own:
        if field.name != "ceil_mode":
            continue
        if field.value not in _FALSE | _TRUE:
            raise _Refused(f"ceil_mode is {field.value!r}", "write true or false")
        pool, floor = layer.pooling_param, field.value in _FALSE
        mode = caffe.PoolingParameter.FLOOR if floor else caffe.PoolingParameter.CEIL
        if pool.HasField("round_mode") and pool.round_mode != mode:
            raise _Refused("has ceil_mode and another round_mode", "keep one of them")
        before = f"ceil_mode: {field.value}"
        if not floor:
            changes.append((before, "stock Caffe rounds sizes up anyway"))
        elif as_paper:
            changes.append((before, f"{ROUNDS_UP}, as in the paper; its author rounds them down"))
        else:
            pool.round_mode = mode
            changes.append((before, "round_mode: FLOOR"))
    return changes


def _pads(layer: _Layer, own: Sequence[UnknownField]) -> _Changes:
    given = [field for field in own if field.name in _PADS]
    if not given:
        return []
    message = getattr(layer, given[0].parent)
    sizes = dict.fromkeys(_SIDES, 0)
    for field in given:
        if (size := _number(field)) and field.name == "pad_type":
            raise _Refused(
                f"pads by pad_type: {field.value}, which stock Caffe lacks",
                "give pad_h and pad_w, and train the network with them",
            )
        if field.name != "pad_type":
            sizes[_PADS[field.name]] = size
    left, right, top, bottom = sizes.values()
    if (left, top) != (right, bottom):
        raise _Refused(
            f"pads {left} left, {right} right, {top} above and {bottom} below, but stock Caffe "
            "pads both sides alike",
            "give pad_h and pad_w, and train the network with them",
        )
    before = " ".join(f"{field.name}: {field.value}" for field in given)
    for name in ("pad", "pad_h", "pad_w"):
        own_pad = getattr(message, name)
        if any(own_pad) if name == "pad" and given[0].parent == "convolution_param" else own_pad:
            raise _Refused(f"has {name} and {before}", "keep one of them")
        message.ClearField(name)
    message.pad_h, message.pad_w = top, left
    return [(before, f"pad_h: {top} pad_w: {left}")]


def _holes(layer: _Layer, own: Sequence[UnknownField]) -> _Changes:
    given = {field.name: _number(field) for field in own if field.name in _HOLES}
    if not given:
        return []
    conv = layer.convolution_param
    if conv.dilation or ("hole" in given and len(given) > 1):
        raise _Refused("has hole and another dilation", "keep one of them")
    size = given.get("hole", 1)
    dilation = {given.get("hole_h", size): 0, given.get("hole_w", size): 0}
    conv.dilation.extend(
        dilation if len(dilation) == 1 else [given.get("hole_h", size), given.get("hole_w", size)]
    )
    before = " ".join(f"{name}: {value}" for name, value in given.items())
    return [(before, " ".join(f"dilation: {value}" for value in conv.dilation))]


def _number(field: UnknownField) -> int:
    if field.value.isascii() and field.value.isdigit() and len(field.value) < 10:
        return int(field.value)
    raise _Refused(f"{field.name} is {field.value[:20]!r}", "write a whole number below 10^9")

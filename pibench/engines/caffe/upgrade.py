"""Turn networks of older forms into the current one, as stock Caffe does when it reads them.

The forms are 2014's `layers { type: CONVOLUTION }` (V1), and 2013's `layers { layer { type: "conv"
} }` (V0), whose padding layers become the pad of the layers after them. All of it follows
src/caffe/util/upgrade_proto.cpp. The legacy `input` is left to `topology`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes.rules import DATA_TYPES, RULES, UNSUPPORTED
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from google.protobuf.message import Message


def upgrade(net: caffe.NetParameter, path: Path | str, order: Sequence[str] = ()) -> int:
    """Turn every `layers` of `net` into a `layer`, in place; return how many there were.

    `order` has the top-level messages in the order of the text ("layer" or "layers"), for files
    that mix both, which stock Caffe refuses.

    Raises:
        InvalidInputError: Stock Caffe would abort on the form of 2013 in the file, `path`.
    """
    if any(old.HasField("layer") for old in net.layers):
        return _upgrade_v0(net, path)
    upgraded = [_of_v1(layer) for layer in net.layers]
    if not upgraded:
        return 0
    old, new = iter(upgraded), iter(list(net.layer))
    merged = [next(old if name == "layers" else new, None) for name in order]
    layers = [layer for layer in (*merged, *old, *new) if layer is not None]
    net.ClearField("layers")
    net.ClearField("layer")
    net.layer.extend(layers)
    return len(upgraded)


# V1


def _of_v1(old: caffe.V1LayerParameter) -> caffe.LayerParameter:
    kind = caffe.V1LayerParameter.LayerType.Name(old.type)
    new = caffe.LayerParameter(name=old.name, type=_current_type(kind))
    for field, value in old.ListFields():
        if field.name in ("name", "type", "param"):
            continue
        if field.name in new.DESCRIPTOR.fields_by_name:
            _set(new, field.name, value)
    _convert_param_specs(old, new)
    for source in (new.data_param, new.image_data_param, new.window_data_param):
        # Caffe moves it (UpgradeNetDataTransformation), and ignores it in a current layer.
        if crop := source.crop_size:
            new.transform_param.crop_size = crop
    return new


def _convert_param_specs(
    old: caffe.V1LayerParameter | caffe.V0LayerParameter, new: caffe.LayerParameter
) -> None:
    """Convert blobs_lr, weight_decay, names and share modes of the parameters to `param`."""
    names = old.param if isinstance(old, caffe.V1LayerParameter) else ()
    modes = old.blob_share_mode if isinstance(old, caffe.V1LayerParameter) else ()
    count = max(len(names), len(modes), len(old.blobs_lr), len(old.weight_decay))
    for index in range(count):
        spec = new.param.add()
        if index < len(names):
            spec.name = names[index]
        if index < len(modes):
            strict = modes[index] == caffe.V1LayerParameter.STRICT
            spec.share_mode = caffe.ParamSpec.STRICT if strict else caffe.ParamSpec.PERMISSIVE
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]


def _current_type(kind: str) -> str:
    """Return the type string for a value of V1LayerParameter's enum; empty if there is none."""
    if kind == "SOFTMAX_LOSS":
        return "SoftmaxWithLoss"
    types = {name.lower(): name for name in (*RULES, *DATA_TYPES, *UNSUPPORTED)}
    return types.get(kind.replace("_", "").lower(), "")


# V0

_FILLED: Final = ("num_output", "biasterm", "weight_filler", "bias_filler")
_READ: Final = ("source", "batchsize")
_V0_TYPES: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    **{
        kind.lower(): (kind, "", ())
        for kind in ("Accuracy", "BNLL", "Flatten", "Im2col", "ReLU", "Sigmoid", "Softmax",
                     "Split", "TanH")
    },
    "concat": ("Concat", "concat_param", ("concat_dim",)),
    "conv": (
        "Convolution", "convolution_param", (*_FILLED, "pad", "kernelsize", "group", "stride"),
    ),
    "data": ("Data", "data_param", (*_READ, "rand_skip")),
    "dropout": ("Dropout", "dropout_param", ("dropout_ratio",)),
    "euclidean_loss": ("EuclideanLoss", "", ()),
    "hdf5_data": ("HDF5Data", "hdf5_data_param", _READ),
    "hdf5_output": ("HDF5Output", "", ()),
    "images": (
        "ImageData", "image_data_param",
        (*_READ, "rand_skip", "shuffle_images", "new_height", "new_width"),
    ),
    "infogain_loss": ("InfogainLoss", "infogain_loss_param", ("source",)),
    "innerproduct": ("InnerProduct", "inner_product_param", _FILLED),
    "lrn": ("LRN", "lrn_param", ("local_size", "alpha", "beta", "k")),
    "multinomial_logistic_loss": ("MultinomialLogisticLoss", "", ()),
    "pool": ("Pooling", "pooling_param", ("pad", "kernelsize", "stride", "pool")),
    "softmax_loss": ("SoftmaxWithLoss", "", ()),
    "window_data": ("WindowData", "window_data_param", _READ),
}  # fmt: skip
"""Type, parameter message and the fields that it takes, by the type of 2013."""

_RENAMED: Final = {
    "batchsize": "batch_size",
    "biasterm": "bias_term",
    "cropsize": "crop_size",
    "kernelsize": "kernel_size",
    "meanfile": "mean_file",
    "shuffle_images": "shuffle",
}
_TRANSFORM: Final = ("scale", "meanfile", "cropsize", "mirror")


def _upgrade_v0(net: caffe.NetParameter, path: Path | str) -> int:
    """Upgrade a whole file of 2013; as in Caffe, a layer that is not of 2013 loses its type."""
    count = len(net.layers)
    upgraded = [_of_v0(old, path) for old in _padded(net, path)]
    # Caffe copies no other field, neither `input_shape` nor rules.
    kept = caffe.NetParameter(layer=upgraded)
    kept.input.extend(net.input)
    kept.input_dim.extend(net.input_dim)
    if net.HasField("name"):
        kept.name = net.name
    if net.HasField("force_backward"):
        kept.force_backward = net.force_backward
    net.CopyFrom(kept)
    return count


def _padded(net: caffe.NetParameter, path: Path | str) -> list[caffe.V1LayerParameter]:
    """Return the layers without padding layers; the layers that read one get its pad."""
    makers: dict[str, caffe.V1LayerParameter | None] = dict.fromkeys(net.input)
    layers = []
    for connection in net.layers:
        own = caffe.V1LayerParameter()
        own.CopyFrom(connection)
        if own.layer.type != "padding":
            layers.append(own)
        for index, name in enumerate(connection.bottom):
            if name not in makers:
                raise _refused(
                    path, own, f"bottom '{name}' is written by no earlier layer", "correct its name"
                )
            maker = makers[name]
            if maker is None or maker.layer.type != "padding":
                continue
            plain = len(own.bottom) == len(maker.bottom) == len(maker.top) == 1
            if own.layer.type not in ("conv", "pool") or not plain:
                raise _refused(
                    path,
                    own,
                    f"reads padding layer '{maker.layer.name}', which only a conv or pool can, "
                    "with one bottom",
                    "give the pad to the layer that needs it",
                )
            own.layer.pad = maker.layer.pad
            own.bottom[index] = maker.bottom[0]
        makers.update(dict.fromkeys(connection.top, connection))
    return layers


def _of_v0(connection: caffe.V1LayerParameter, path: Path | str) -> caffe.LayerParameter:
    old = connection.layer
    new = caffe.LayerParameter(bottom=connection.bottom, top=connection.top)
    if old.HasField("name"):
        new.name = old.name
    if not old.HasField("type"):
        return new
    if old.type not in _V0_TYPES:
        raise _refused(
            path,
            connection,
            f"stock Caffe knows no layer type '{old.type}' of 2013",
            "write the file in the current form, layer { type: ... }",
        )
    new.type, parameter, fields = _V0_TYPES[old.type]
    for field, value in old.ListFields():
        if field.name in fields:
            _set(getattr(new, parameter), _RENAMED.get(field.name, field.name), value)
        elif field.name in _TRANSFORM:
            _set(new.transform_param, _RENAMED.get(field.name, field.name), value)
    new.blobs.extend(old.blobs)
    _convert_param_specs(old, new)
    return new


def _set(message: Message, name: str, value: object) -> None:
    """Set a field, which may be repeated, in the current form alone too, or a message."""
    there = getattr(message, name)
    if hasattr(there, "extend"):
        there.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(there, "CopyFrom"):
        there.CopyFrom(value)
    else:
        setattr(message, name, value)


def _refused(
    path: Path | str, layer: caffe.V1LayerParameter, problem: str, hint: str
) -> InvalidInputError:
    return InvalidInputError.at(path, f"layer '{layer.layer.name}'", problem, hint=hint)

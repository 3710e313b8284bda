"""Build Caffe networks fluently: one call, one layer (or the usual pair or triple).

Every method that makes a layer returns the name of its top blob. Its bottom is by default the last
top. Activations are N x C x H x W.

No fillers are written: parameters then start as zeros (Scale as ones), which takes the same memory
as any other start and no time for random numbers.
"""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from pibench.engines.caffe import caffe_pb2 as caffe

Size = int | tuple[int, int]
"""Kernel, pad or stride: one number for both axes, or (height, width)."""


class Window(TypedDict, total=False):
    """What a convolution may have besides its kernel: stride 1, no padding and one group are usual.

    Its bottom is the last top by default.
    """

    stride: int
    pad: Size
    group: int
    bottom: str | None


class NetBuilder:
    """The layers of one network, starting from its image input."""

    def __init__(self, name: str, *, size: int) -> None:
        """Start a network called `name` with input `data` of 1 x 3 x size x size."""
        self.net = caffe.NetParameter(name=name)
        self.last = "data"
        shape = caffe.BlobShape(dim=[1, 3, size, size])
        self._append(
            caffe.LayerParameter(
                name="data",
                type="Input",
                top=["data"],
                input_param=caffe.InputParameter(shape=[shape]),
            )
        )

    def _append(self, layer: caffe.LayerParameter) -> str:
        self.net.layer.append(layer)
        self.last = layer.top[0]
        return self.last

    def _layer(
        self, kind: str, name: str, bottoms: list[str], top: str | None = None
    ) -> caffe.LayerParameter:
        return caffe.LayerParameter(name=name, type=kind, bottom=bottoms, top=[top or name])

    # Layers with parameters

    def conv(
        self,
        name: str,
        outputs: int,
        kernel: Size,
        *,
        bias: bool = True,
        **window: Unpack[Window],
    ) -> str:
        """Add a convolution with `outputs` filters; depthwise if `group` equals the inputs."""
        layer = self._layer("Convolution", name, [window.get("bottom") or self.last])
        pad, stride, group = window.get("pad", 0), window.get("stride", 1), window.get("group", 1)
        conv = layer.convolution_param
        conv.num_output = outputs
        if not bias:
            conv.bias_term = False
        if isinstance(kernel, int):
            conv.kernel_size.append(kernel)
        else:
            conv.kernel_h, conv.kernel_w = kernel
        if isinstance(pad, tuple):
            conv.pad_h, conv.pad_w = pad
        elif pad:
            conv.pad.append(pad)
        if stride != 1:
            conv.stride.append(stride)
        if group != 1:
            conv.group = group
        return self._append(layer)

    def fc(self, name: str, outputs: int, *, bias: bool = True) -> str:
        """Add a fully connected layer over all of C x H x W."""
        layer = self._layer("InnerProduct", name, [self.last])
        layer.inner_product_param.num_output = outputs
        if not bias:
            layer.inner_product_param.bias_term = False
        return self._append(layer)

    def bn_scale(
        self,
        bn: str,
        scale: str,
        *,
        top: str | None = None,
        eps: float | None = None,
        global_stats: bool = True,
    ) -> str:
        """Add BatchNorm, then Scale with bias in place on it: together a usual batch norm.

        It works in place on the bottom unless `top` names another blob. `global_stats` writes
        use_global_stats: stored statistics even in the training phase.
        """
        layer = self._layer("BatchNorm", bn, [self.last], top or self.last)
        if global_stats:
            layer.batch_norm_param.use_global_stats = True
        if eps is not None:
            layer.batch_norm_param.eps = eps
        normalised = self._append(layer)
        layer = self._layer("Scale", scale, [normalised], normalised)
        layer.scale_param.bias_term = True
        return self._append(layer)

    # Activations

    def relu(self, name: str, *, top: str | None = None) -> str:
        """Add a rectifier, in place unless `top` names another blob."""
        return self._append(self._layer("ReLU", name, [self.last], top or self.last))

    def dropout(self, name: str, ratio: float = 0.5) -> str:
        """Add dropout in place: it does nothing in the test phase."""
        layer = self._layer("Dropout", name, [self.last], self.last)
        layer.dropout_param.dropout_ratio = ratio
        return self._append(layer)

    def lrn(self, name: str) -> str:
        """Add local response normalisation over 5 channels, alpha 1e-4, beta 0.75 (the default)."""
        layer = self._layer("LRN", name, [self.last])
        layer.lrn_param.local_size = 5
        layer.lrn_param.alpha = 1e-4
        return self._append(layer)

    def softmax(self) -> str:
        """Add a softmax over the channels, called `prob`."""
        return self._append(self._layer("Softmax", "prob", [self.last]))

    # Pooling

    def pool(
        self,
        name: str,
        method: Literal["MAX", "AVE"],
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        floor: bool = False,
        bottom: str | None = None,
    ) -> str:
        """Add a pooling; sizes are rounded up, as Caffe does, unless `floor` is set."""
        layer = self._layer("Pooling", name, [bottom or self.last])
        pool = layer.pooling_param
        pool.pool = getattr(caffe.PoolingParameter, method)
        pool.kernel_size = kernel
        if stride != 1:
            pool.stride = stride
        if pad:
            pool.pad = pad
        if floor:
            pool.round_mode = caffe.PoolingParameter.FLOOR
        return self._append(layer)

    def global_pool(self, name: str) -> str:
        """Add an average over H x W of any size."""
        layer = self._layer("Pooling", name, [self.last])
        layer.pooling_param.pool = caffe.PoolingParameter.AVE
        layer.pooling_param.global_pooling = True
        return self._append(layer)

    # Joining branches

    def concat(self, name: str, bottoms: list[str]) -> str:
        """Add a concatenation along the channels."""
        return self._append(self._layer("Concat", name, bottoms))

    def add(self, name: str, bottoms: list[str], *, coefficients: list[float] | None = None) -> str:
        """Add an element-wise sum, weighted if `coefficients` (one for each bottom) are given."""
        layer = self._layer("Eltwise", name, bottoms)
        layer.eltwise_param.operation = caffe.EltwiseParameter.SUM
        layer.eltwise_param.coeff.extend(coefficients or [])
        return self._append(layer)

    # Frequent groups of layers

    def conv_relu(
        self, name: str, relu: str, outputs: int, kernel: Size, **window: Unpack[Window]
    ) -> str:
        """Add a convolution with bias and a rectifier in place."""
        self.conv(name, outputs, kernel, **window)
        return self.relu(relu)

    def conv_bn(
        self,
        name: str,
        outputs: int,
        kernel: Size,
        *,
        eps: float | None = None,
        relu: bool = True,
        **window: Unpack[Window],
    ) -> str:
        """Add a convolution without bias, batch norm and (by default) a rectifier, all in place.

        The layers are called NAME, NAME_bn, NAME_scale and NAME_relu.
        """
        self.conv(name, outputs, kernel, bias=False, **window)
        self.bn_scale(f"{name}_bn", f"{name}_scale", eps=eps)
        return self.relu(f"{name}_relu") if relu else self.last

    def classifier(self, name: str) -> caffe.NetParameter:
        """Add a fully connected classifier and its softmax; return the finished network."""
        self.fc(name, 1000)
        self.softmax()
        return self.net

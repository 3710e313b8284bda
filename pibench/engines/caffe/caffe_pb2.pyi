"""Types of the messages and fields that pibench names; a test compares them with the schema.

Not every field of `caffe.proto` is here: add a line when code names another.
"""

from collections.abc import Iterable
from typing import ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as Messages
from google.protobuf.internal.containers import RepeatedScalarFieldContainer as Values
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

DESCRIPTOR: FileDescriptor
Phase: EnumTypeWrapper
TRAIN: int
TEST: int

class BlobShape(Message):
    dim: Values[int]
    def __init__(self, dim: Iterable[int] = ...) -> None: ...

class BlobProto(Message):
    shape: BlobShape
    data: Values[float]
    diff: Values[float]
    double_data: Values[float]
    num: int
    channels: int
    height: int
    width: int
    def __init__(
        self,
        *,
        shape: BlobShape = ...,
        data: Iterable[float] = ...,
        double_data: Iterable[float] = ...,
        num: int = ...,
        channels: int = ...,
        height: int = ...,
        width: int = ...,
    ) -> None: ...

class FillerParameter(Message):
    type: str
    value: float
    min: float
    max: float
    mean: float
    std: float
    sparse: int

class NetParameter(Message):
    name: str
    input: Values[str]
    input_shape: Messages[BlobShape]
    input_dim: Values[int]
    force_backward: bool
    state: NetState
    layer: Messages[LayerParameter]
    layers: Messages[V1LayerParameter]
    def __init__(self, *, name: str = ..., layer: Iterable[LayerParameter] = ...) -> None: ...

class NetState(Message):
    phase: int
    level: int
    stage: Values[str]

class NetStateRule(Message):
    phase: int
    min_level: int
    max_level: int
    stage: Values[str]
    not_stage: Values[str]

class ParamSpec(Message):
    STRICT: ClassVar[int]
    PERMISSIVE: ClassVar[int]
    name: str
    share_mode: int
    lr_mult: float
    decay_mult: float

class LayerParameter(Message):
    name: str
    type: str
    bottom: Values[str]
    top: Values[str]
    phase: int
    loss_weight: Values[float]
    param: Messages[ParamSpec]
    blobs: Messages[BlobProto]
    propagate_down: Values[bool]
    include: Messages[NetStateRule]
    exclude: Messages[NetStateRule]
    transform_param: TransformationParameter
    python_param: PythonParameter
    accuracy_param: AccuracyParameter
    argmax_param: ArgMaxParameter
    batch_norm_param: BatchNormParameter
    bias_param: BiasParameter
    clip_param: ClipParameter
    concat_param: ConcatParameter
    convolution_param: ConvolutionParameter
    crop_param: CropParameter
    data_param: DataParameter
    dropout_param: DropoutParameter
    dummy_data_param: DummyDataParameter
    eltwise_param: EltwiseParameter
    elu_param: ELUParameter
    embed_param: EmbedParameter
    exp_param: ExpParameter
    flatten_param: FlattenParameter
    image_data_param: ImageDataParameter
    infogain_loss_param: InfogainLossParameter
    inner_product_param: InnerProductParameter
    input_param: InputParameter
    log_param: LogParameter
    lrn_param: LRNParameter
    memory_data_param: MemoryDataParameter
    mvn_param: MVNParameter
    parameter_param: ParameterParameter
    pooling_param: PoolingParameter
    power_param: PowerParameter
    prelu_param: PReLUParameter
    recurrent_param: RecurrentParameter
    reduction_param: ReductionParameter
    relu_param: ReLUParameter
    reshape_param: ReshapeParameter
    scale_param: ScaleParameter
    softmax_param: SoftmaxParameter
    spp_param: SPPParameter
    slice_param: SliceParameter
    swish_param: SwishParameter
    threshold_param: ThresholdParameter
    tile_param: TileParameter
    window_data_param: WindowDataParameter
    def __init__(
        self,
        *,
        name: str = ...,
        type: str = ...,  # noqa: A002
        bottom: Iterable[str] = ...,
        top: Iterable[str] = ...,
        blobs: Iterable[BlobProto] = ...,
        input_param: InputParameter = ...,
    ) -> None: ...

class TransformationParameter(Message):
    scale: float
    crop_size: int
    force_gray: bool
    force_color: bool
    mean_value: Values[float]

class AccuracyParameter(Message):
    top_k: int
    axis: int

class ArgMaxParameter(Message):
    out_max_val: bool
    top_k: int
    axis: int

class ClipParameter(Message):
    min: float
    max: float

class ConcatParameter(Message):
    axis: int
    concat_dim: int

class BatchNormParameter(Message):
    use_global_stats: bool
    eps: float

class BiasParameter(Message):
    axis: int
    num_axes: int

class ConvolutionParameter(Message):
    num_output: int
    bias_term: bool
    pad: Values[int]
    kernel_size: Values[int]
    stride: Values[int]
    dilation: Values[int]
    pad_h: int
    pad_w: int
    kernel_h: int
    kernel_w: int
    group: int
    weight_filler: FillerParameter
    engine: int
    axis: int

class CropParameter(Message):
    axis: int
    offset: Values[int]

class DataParameter(Message):
    source: str
    batch_size: int
    scale: float
    crop_size: int

class DropoutParameter(Message):
    dropout_ratio: float

class DummyDataParameter(Message):
    data_filler: Messages[FillerParameter]
    shape: Messages[BlobShape]
    num: Values[int]
    channels: Values[int]
    height: Values[int]
    width: Values[int]

class EltwiseParameter(Message):
    PROD: ClassVar[int]
    SUM: ClassVar[int]
    MAX: ClassVar[int]
    operation: int
    coeff: Values[float]

class ELUParameter(Message):
    alpha: float

class EmbedParameter(Message):
    num_output: int
    input_dim: int
    bias_term: bool

class ExpParameter(Message):
    base: float
    scale: float
    shift: float

class FlattenParameter(Message):
    axis: int
    end_axis: int

class ImageDataParameter(Message):
    source: str
    batch_size: int
    new_height: int
    new_width: int
    is_color: bool
    scale: float
    crop_size: int

class InfogainLossParameter(Message):
    source: str
    axis: int

class InnerProductParameter(Message):
    num_output: int
    bias_term: bool
    axis: int
    transpose: bool
    weight_filler: FillerParameter
    bias_filler: FillerParameter

class InputParameter(Message):
    shape: Messages[BlobShape]
    def __init__(self, shape: Iterable[BlobShape] = ...) -> None: ...

class LogParameter(Message):
    base: float
    scale: float
    shift: float

class LRNParameter(Message):
    ACROSS_CHANNELS: ClassVar[int]
    WITHIN_CHANNEL: ClassVar[int]
    local_size: int
    alpha: float
    beta: float
    norm_region: int
    k: float
    engine: int

class MemoryDataParameter(Message):
    batch_size: int
    channels: int
    height: int
    width: int

class MVNParameter(Message):
    normalize_variance: bool
    across_channels: bool
    eps: float

class ParameterParameter(Message):
    shape: BlobShape

class PoolingParameter(Message):
    MAX: ClassVar[int]
    AVE: ClassVar[int]
    STOCHASTIC: ClassVar[int]
    CEIL: ClassVar[int]
    FLOOR: ClassVar[int]
    pool: int
    pad: int
    pad_h: int
    pad_w: int
    kernel_size: int
    kernel_h: int
    kernel_w: int
    stride: int
    engine: int
    global_pooling: bool
    round_mode: int

class ReductionParameter(Message):
    SUM: ClassVar[int]
    ASUM: ClassVar[int]
    SUMSQ: ClassVar[int]
    MEAN: ClassVar[int]
    operation: int
    axis: int
    coeff: float

class ReLUParameter(Message):
    negative_slope: float

class ReshapeParameter(Message):
    shape: BlobShape
    axis: int
    num_axes: int

class ScaleParameter(Message):
    axis: int
    num_axes: int
    filler: FillerParameter
    bias_term: bool

class SliceParameter(Message):
    axis: int
    slice_point: Values[int]
    slice_dim: int

class SoftmaxParameter(Message):
    engine: int
    axis: int

class SwishParameter(Message):
    beta: float

class ThresholdParameter(Message):
    threshold: float

class TileParameter(Message):
    axis: int
    tiles: int

class WindowDataParameter(Message):
    source: str
    scale: float
    batch_size: int
    crop_size: int

class SPPParameter(Message):
    MAX: ClassVar[int]
    STOCHASTIC: ClassVar[int]
    pyramid_height: int
    pool: int
    engine: int

class V1LayerParameter(Message):
    LayerType: EnumTypeWrapper
    STRICT: ClassVar[int]
    name: str
    type: int
    bottom: Values[str]
    top: Values[str]
    include: Messages[NetStateRule]
    exclude: Messages[NetStateRule]
    blobs: Messages[BlobProto]
    convolution_param: ConvolutionParameter
    pooling_param: PoolingParameter
    param: Values[str]
    blob_share_mode: Values[int]
    blobs_lr: Values[float]
    weight_decay: Values[float]
    layer: V0LayerParameter

class V0LayerParameter(Message):
    name: str
    type: str
    pad: int
    blobs: Messages[BlobProto]
    blobs_lr: Values[float]
    weight_decay: Values[float]

class PythonParameter(Message):
    module: str
    layer: str
    param_str: str

class RecurrentParameter(Message):
    num_output: int
    weight_filler: FillerParameter
    bias_filler: FillerParameter
    expose_hidden: bool

class PowerParameter(Message):
    power: float
    scale: float
    shift: float

class PReLUParameter(Message):
    channel_shared: bool

/*
 * The library as one translation unit: Caffe's headers take most of the time of compiling a layer.
 */
#include "activations.cc"
#include "axpy.cc"
#include "bn.cc"
#include "box_output.cc"
#include "continuation_indicator.cc"
#include "crop_center.cc"
#include "ctc_greedy_decoder.cc"
#include "depthwise_convolution.cc"
#include "detection_output.cc"
#include "interp.cc"
#include "lstm.cc"
#include "mul.cc"
#include "normalize.cc"
#include "permute.cc"
#include "prior_box.cc"
#include "proposal.cc"
#include "psroi_pooling.cc"
#include "reorg.cc"
#include "resize.cc"
#include "reverse.cc"
#include "roi_pooling.cc"
#include "shuffle_channel.cc"
#include "spatial_dropout.cc"
#include "squeeze.cc"
#include "upsample.cc"
#include "yolo_detection_output.cc"

/* What a compiler's start files would bring: the library is linked without the host's. */
extern "C" {
__attribute__((visibility("hidden"))) void* __dso_handle = &__dso_handle;
}

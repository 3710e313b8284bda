/*
 * Depthwise convolution, one filter for each channel. Both forks read stock's convolution_param.
 * DepthwiseConvolution is stock's grouped convolution under another name, as its fork has it on a
 * CPU. ConvolutionDepthwise has no `group` in its network file: here it gets one group a channel.
 */
#include "caffe/layers/conv_layer.hpp"

#include "layer.h"

namespace pibench {

class ConvolutionDepthwise : public caffe::ConvolutionLayer<float> {
 public:
  using caffe::ConvolutionLayer<float>::ConvolutionLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override {
    layer_param_.mutable_convolution_param()->set_group(bottom[0]->channels());
    caffe::ConvolutionLayer<float>::LayerSetUp(bottom, top);
  }
};

static Registration<caffe::ConvolutionLayer<float>> grouped("DepthwiseConvolution");
static Registration<ConvolutionDepthwise> depthwise("ConvolutionDepthwise");

}  // namespace pibench

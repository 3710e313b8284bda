/*
 * SpatialDropout of ENet, a Python layer there: whole channels are dropped in training, and what
 * is left is divided by the part that is kept, outside of training too.
 */
#include "caffe/util/math_functions.hpp"
#include "layer.h"

namespace pibench {

class SpatialDropout : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->ReshapeLike(*bottom[0]);
    kept_.resize(bottom[0]->count(0, 2), 1);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const float part = 1 - fields_.number("p", 0.5f);
    if (fields_.flag("train", false))
      caffe::caffe_rng_bernoulli(int(kept_.size()), part, kept_.data());
    scale(bottom[0]->cpu_data(), part, *bottom[0], top[0]->mutable_cpu_data());
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float part = 1 - fields_.number("p", 0.5f);
    scale(top[0]->cpu_diff(), part, *bottom[0], bottom[0]->mutable_cpu_diff());
  }

 private:
  void scale(const float* from, float part, const Blob& blob, float* to) const {
    const int size = blob.count(2);
    for (int i = 0; i < blob.count(); ++i) to[i] = kept_[i / size] ? from[i] / part : 0;
  }

  std::vector<int> kept_;
};

static Registration<SpatialDropout> spatial_dropout("SpatialDropout");

}  // namespace pibench

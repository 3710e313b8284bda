/*
 * ContinuationIndicator: LSTM's second bottom, 0 where a sequence starts and 1 after it. The number of
 * sequences is given, or that of an axis of the bottom.
 */
#include "layer.h"

namespace pibench {

class ContinuationIndicator : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int sequences = fields_.has("batch_size") ? fields_.integer("batch_size", 0)
                                                    : bottom[0]->shape(fields_.integer("axis", 0));
    top[0]->Reshape(std::vector<int>{fields_.integer("time_step", 0), sequences});
  }

  void Forward_cpu(const Blobs&, const Blobs& top) override {
    float* y = top[0]->mutable_cpu_data();
    for (int i = 0; i < top[0]->count(); ++i) y[i] = i < top[0]->shape(1) ? 0.f : 1.f;
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}
};

static Registration<ContinuationIndicator> indicator("ContinuationIndicator");

}  // namespace pibench

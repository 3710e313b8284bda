/* ContinuationIndicator: LSTM's second bottom, 0 where a sequence starts and 1 after it. */
#include "layer.h"

namespace pibench {

class ContinuationIndicator : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs&, const Blobs& top) override {
    top[0]->Reshape(
        std::vector<int>{fields_.integer("time_step", 0), fields_.integer("batch_size", 0)});
  }

  void Forward_cpu(const Blobs&, const Blobs& top) override {
    float* y = top[0]->mutable_cpu_data();
    for (int i = 0; i < top[0]->count(); ++i) y[i] = i < top[0]->shape(1) ? 0.f : 1.f;
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}
};

static Registration<ContinuationIndicator> indicator("ContinuationIndicator");

}  // namespace pibench

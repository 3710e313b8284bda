/*
 * CTCGreedyDecoder of text recognition forks: the likeliest class of each step, repetitions and blanks
 * left out. A row of the top is a sequence, -1 after its end. With a second bottom, of marks such as
 * ContinuationIndicator's, a sequence ends before the first step but its own first that has none.
 */
#include "layer.h"

namespace pibench {

class CTCGreedyDecoder : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    if (bottom.size() > 1)
      CHECK_EQ(bottom[1]->count(), bottom[0]->count(0, 2)) << "a mark for each step";
    top[0]->Reshape(bottom[0]->shape(1), bottom[0]->shape(0), 1, 1);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int steps = bottom[0]->shape(0), batch = bottom[0]->shape(1), classes = bottom[0]->shape(2);
    const int given = fields_.integer("blank_index", 0), blank = given < 0 ? classes - 1 : given;
    const bool merges = fields_.flag("ctc_merge_repeated", true);
    const float* marks = bottom.size() > 1 ? bottom[1]->cpu_data() : NULL;
    float* y = top[0]->mutable_cpu_data();
    std::fill(y, y + top[0]->count(), -1.f);
    for (int n = 0; n < batch; ++n) {
      float* next = y + n * steps;
      for (int t = 0, before = -1; t < steps; ++t) {
        const float* x = bottom[0]->cpu_data() + (t * batch + n) * classes;
        const int best = int(std::max_element(x, x + classes) - x);
        if (best != blank && !(merges && best == before)) *next++ = float(best);
        before = best;
        if (marks && t + 1 < steps && marks[(t + 1) * batch + n] == 0) break;
      }
    }
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}
};

static Registration<CTCGreedyDecoder> ctc_greedy_decoder("CTCGreedyDecoder");

}  // namespace pibench

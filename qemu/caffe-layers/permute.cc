/*
 * Permute of the SSD fork (arXiv 1512.02325): axis i of the top is axis order[i] of the bottom.
 * Transpose of text recognizers is the same, with every axis named, and always copies.
 */
#include "layer.h"

namespace pibench {

class Permute : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs&) override {
    order_.clear();
    const bool copies = layer_param_.type() == "Transpose";
    for (float axis : fields_.numbers(copies ? "dim" : "order")) order_.push_back(int(axis));
    /* Axes without an order follow in theirs. */
    for (int axis = 0; axis < bottom[0]->num_axes(); ++axis)
      if (std::find(order_.begin(), order_.end(), axis) == order_.end()) order_.push_back(axis);
    CHECK_EQ(int(order_.size()), bottom[0]->num_axes()) << "order has an axis twice, or too many";
    moves_ = copies || !std::is_sorted(order_.begin(), order_.end());
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    std::vector<int> shape;
    steps_.clear();
    for (int axis : order_) {
      shape.push_back(bottom[0]->shape(axis));
      steps_.push_back(bottom[0]->count(axis + 1));
    }
    top[0]->Reshape(shape);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    if (!moves_) return top[0]->ShareData(*bottom[0]);
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    each(top[0]->shape(), [&](int i, int j) { y[i] = x[j]; });
  }

  void Backward_cpu(const Blobs& top, const Wanted&, const Blobs& bottom) override {
    if (!moves_) return bottom[0]->ShareDiff(*top[0]);
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    each(top[0]->shape(), [&](int i, int j) { dx[j] = dy[i]; });
  }

 private:
  /* Calls `move` with each index of the top and that of the bottom. */
  template <typename Move>
  void each(const std::vector<int>& shape, Move move) const {
    const int last = int(shape.size()) - 1;
    int rows = 1;
    for (int axis = 0; axis < last; ++axis) rows *= shape[axis];
    std::vector<int> at(shape.size(), 0);
    for (int row = 0, i = 0; row < rows; ++row) {
      int j = 0;
      for (int axis = 0; axis < last; ++axis) j += at[axis] * steps_[axis];
      for (int k = 0; k < shape[last]; ++k, ++i, j += steps_[last]) move(i, j);
      for (int axis = last - 1; axis >= 0 && ++at[axis] == shape[axis]; --axis) at[axis] = 0;
    }
  }

  bool moves_;
  std::vector<int> order_, steps_;
};

static Registration<Permute> permute("Permute");
static Registration<Permute> transpose("Transpose");

}  // namespace pibench

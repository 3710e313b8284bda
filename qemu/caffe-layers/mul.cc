/*
 * Mul: the bottom times a second one, or times learned values of shape mul_shape. An axis of size 1,
 * or one that is missing in front, is repeated. The fork has no backward pass.
 */
#include "layer.h"

namespace pibench {

class Mul : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs&) override {
    if (bottom.size() > 1) return;
    std::vector<int> shape;
    for (float size : fields_.numbers("mul_shape")) shape.push_back(int(size));
    blobs_.resize(1);
    blobs_[0].reset(new Blob(shape));
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const Blob& by = factor(bottom);
    const int axes = std::max(bottom[0]->num_axes(), by.num_axes());
    std::vector<int> shape;
    for (int axis = 0; axis < axes; ++axis) {
      const int one = size(*bottom[0], axis, axes), other = size(by, axis, axes);
      CHECK(one == other || one == 1 || other == 1) << "axis " << axis << ": " << one << ", " << other;
      shape.push_back(std::max(one, other));
    }
    top[0]->Reshape(shape);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const Blob& by = factor(bottom);
    const float *x = bottom[0]->cpu_data(), *z = by.cpu_data();
    float* y = top[0]->mutable_cpu_data();
    for (int i = 0; i < top[0]->count(); ++i)
      y[i] = x[from(*top[0], i, *bottom[0])] * z[from(*top[0], i, by)];
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

 private:
  const Blob& factor(const Blobs& bottom) const {
    return bottom.size() > 1 ? *bottom[1] : *blobs_[0];
  }

  /* The size of an axis of a blob that has as many axes as the top, those in front of size 1. */
  static int size(const Blob& blob, int axis, int axes) {
    axis -= axes - blob.num_axes();
    return axis < 0 ? 1 : blob.shape(axis);
  }

  /* The index in a blob that belongs to an index of the top. */
  static int from(const Blob& top, int i, const Blob& blob) {
    int index = 0;
    for (int axis = 0; axis < top.num_axes(); ++axis) {
      const int inner = top.count(axis + 1), of = size(blob, axis, top.num_axes());
      index = index * of + (of == 1 ? 0 : i / inner);
      i %= inner;
    }
    return index;
  }
};

static Registration<Mul> mul("Mul");

}  // namespace pibench

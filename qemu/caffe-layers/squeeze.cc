/* Squeeze: the bottom without the axes of size 1, or without those that are named. */
#include "layer.h"

namespace pibench {

class Squeeze : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const std::vector<float> named = fields_.numbers("axis");
    std::vector<bool> goes(bottom[0]->num_axes(), named.empty());
    for (float axis : named) goes[bottom[0]->CanonicalAxisIndex(int(axis))] = true;
    std::vector<int> shape;
    for (int axis = 0; axis < bottom[0]->num_axes(); ++axis) {
      const int size = bottom[0]->shape(axis);
      CHECK(named.empty() || !goes[axis] || size == 1) << "axis " << axis << " has size " << size;
      if (size != 1 || !goes[axis]) shape.push_back(size);
    }
    top[0]->Reshape(shape);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    top[0]->ShareData(*bottom[0]);
  }
  void Backward_cpu(const Blobs& top, const Wanted&, const Blobs& bottom) override {
    bottom[0]->ShareDiff(*top[0]);
  }
};

static Registration<Squeeze> squeeze("Squeeze");

}  // namespace pibench

/* Axpy of SENet (arXiv 1709.01507): a x + y, with one a for each channel. */
#include "layer.h"

namespace pibench {

class Axpy : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    CHECK_EQ(bottom[0]->count(), bottom[1]->count(0, 2)) << "the first bottom has a channel each";
    CHECK(bottom[1]->shape() == bottom[2]->shape()) << "the last two bottoms differ in shape";
    top[0]->ReshapeLike(*bottom[1]);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int places = bottom[1]->count(2);
    const float *a = bottom[0]->cpu_data(), *x = bottom[1]->cpu_data(), *y = bottom[2]->cpu_data();
    float* z = top[0]->mutable_cpu_data();
    for (int i = 0; i < top[0]->count(); ++i) z[i] = a[i / places] * x[i] + y[i];
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    const int places = bottom[1]->count(2);
    const float *a = bottom[0]->cpu_data(), *x = bottom[1]->cpu_data(), *dz = top[0]->cpu_diff();
    if (wanted[0]) {
      float* da = bottom[0]->mutable_cpu_diff();
      std::fill(da, da + bottom[0]->count(), 0.f);
      for (int i = 0; i < top[0]->count(); ++i) da[i / places] += dz[i] * x[i];
    }
    if (wanted[1]) {
      float* dx = bottom[1]->mutable_cpu_diff();
      for (int i = 0; i < top[0]->count(); ++i) dx[i] = dz[i] * a[i / places];
    }
    if (wanted[2]) std::copy(dz, dz + top[0]->count(), bottom[2]->mutable_cpu_diff());
  }
};

static Registration<Axpy> axpy("Axpy");

}  // namespace pibench

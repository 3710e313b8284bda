/*
 * Upsample of SegNet's fork: puts each value where the mask says, which is the second top of a
 * Pooling layer: the index of the largest value in its image.
 */
#include "layer.h"

namespace pibench {

class Upsample : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int scale = fields_.integer("scale", 2);
    CHECK(bottom[0]->shape() == bottom[1]->shape()) << "the mask has another shape";
    top[0]->Reshape(bottom[0]->num(), bottom[0]->channels(),
                    fields_.integer("upsample_h", bottom[0]->height() * scale),
                    fields_.integer("upsample_w", bottom[0]->width() * scale));
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const float *x = bottom[0]->cpu_data(), *mask = bottom[1]->cpu_data();
    const int from = bottom[0]->count(2), to = top[0]->count(2);
    float* y = top[0]->mutable_cpu_data();
    std::fill(y, y + top[0]->count(), 0.f);
    for (int i = 0; i < bottom[0]->count(); ++i) {
      const int place = int(mask[i]);
      CHECK(place >= 0 && place < to) << "the mask is outside of the top: upsample_h, upsample_w";
      y[i / from * to + place] = x[i];
    }
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float *dy = top[0]->cpu_diff(), *mask = bottom[1]->cpu_data();
    const int from = bottom[0]->count(2), to = top[0]->count(2);
    float* dx = bottom[0]->mutable_cpu_diff();
    for (int i = 0; i < bottom[0]->count(); ++i) dx[i] = dy[i / from * to + int(mask[i])];
  }
};

static Registration<Upsample> upsample("Upsample");

}  // namespace pibench

/*
 * Upsample of two families of forks. With a mask (SegNet, ENet) it puts each value where the mask
 * says, which is the second top of a Pooling layer: the index of the largest value in its image.
 * Without a mask (the YOLO forks) it repeats each value. Unpooling (DeconvNet, arXiv 1505.04366) is
 * the former.
 */
#include "layer.h"

namespace pibench {

class Upsample : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int scale = fields_.integer("scale", 2);
    if (bottom.size() > 1)
      CHECK(bottom[0]->num() == bottom[1]->num() && bottom[0]->count(2) == bottom[1]->count(2) &&
            bottom[0]->channels() <= bottom[1]->channels())
          << "the mask has another shape";
    const int height = bottom[0]->height() * fields_.integer("scale_h", scale) -
                       fields_.flag("pad_out_h", false);
    const int width =
        bottom[0]->width() * fields_.integer("scale_w", scale) - fields_.flag("pad_out_w", false);
    top[0]->Reshape(bottom[0]->num(), bottom[0]->channels(), size('h', height), size('w', width));
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    if (bottom.size() == 1) {
      for (int i = 0; i < top[0]->count(); ++i) y[i] = x[repeated(*bottom[0], *top[0], i)];
      return;
    }
    const float* mask = bottom[1]->cpu_data();
    const int from = bottom[0]->count(2), to = top[0]->count(2);
    std::fill(y, y + top[0]->count(), 0.f);
    for (int i = 0; i < bottom[0]->count(); ++i) {
      const int place = place_of(bottom, mask, i);
      CHECK(place >= 0 && place < to) << "the mask is outside of the top: upsample_h, upsample_w";
      y[i / from * to + place] = x[i];
    }
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    if (bottom.size() == 1) {
      std::fill(dx, dx + bottom[0]->count(), 0.f);
      for (int i = 0; i < top[0]->count(); ++i) dx[repeated(*bottom[0], *top[0], i)] += dy[i];
      return;
    }
    const float* mask = bottom[1]->cpu_data();
    const int from = bottom[0]->count(2), to = top[0]->count(2);
    for (int i = 0; i < bottom[0]->count(); ++i)
      dx[i] = dy[i / from * to + place_of(bottom, mask, i)];
  }

 private:
  /* The mask may have more maps, whose last ones are not used. */
  static int place_of(const Blobs& bottom, const float* mask, int i) {
    const int image = i / bottom[0]->count(1);
    const int more = bottom[1]->count(1) - bottom[0]->count(1);
    return is_memory_only() ? 0 : int(mask[i + image * more]);
  }

  int size(char side, int otherwise) const {
    const int unpooled = fields_.integer("unpool_size", otherwise);
    return fields_.integer(std::string("upsample_") + side,
                           fields_.integer(std::string("unpool_") + side, unpooled));
  }

  static int repeated(const Blob& bottom, const Blob& top, int i) {
    const int x = i % top.width() * bottom.width() / top.width();
    const int y = i / top.width() % top.height() * bottom.height() / top.height();
    return (i / top.count(2) * bottom.height() + y) * bottom.width() + x;
  }
};

static Registration<Upsample> upsample("Upsample");
static Registration<Upsample> unpooling("Unpooling"), un_pooling("UnPooling");

}  // namespace pibench

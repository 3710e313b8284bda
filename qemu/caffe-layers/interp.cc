/*
 * Interp of DeepLab's and PSPNet's forks: bilinear, the corners of the top on those of the bottom.
 * Pads are 0 or less: they cut. With `use_blob_size` the size is that of the second bottom.
 */
#include "layer.h"

namespace pibench {

class Interp : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int after = -fields_.integer("pad_end", 0);
    before_ = -fields_.integer("pad_beg", 0);
    CHECK(before_ >= 0 && after >= 0) << "pad_beg and pad_end are 0 or less";
    height_ = bottom[0]->height() - before_ - after;
    width_ = bottom[0]->width() - before_ - after;
    if (fields_.flag("use_blob_size", false))
      top[0]->Reshape(bottom[0]->num(), bottom[0]->channels(), bottom[1]->height(),
                      bottom[1]->width());
    else
      top[0]->Reshape(bottom[0]->num(), bottom[0]->channels(), size_of(height_, "height"),
                      size_of(width_, "width"));
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    std::fill(y, y + top[0]->count(), 0.f);
    each(*bottom[0], *top[0], [&](int i, int j, float weight) { y[i] += weight * x[j]; });
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    std::fill(dx, dx + bottom[0]->count(), 0.f);
    each(*bottom[0], *top[0], [&](int i, int j, float weight) { dx[j] += weight * dy[i]; });
  }

 private:
  int size_of(int size, const char* name) const {
    if (fields_.has("shrink_factor")) size = (size - 1) / fields_.integer("shrink_factor", 1) + 1;
    if (fields_.has("zoom_factor")) size += (size - 1) * (fields_.integer("zoom_factor", 1) - 1);
    return fields_.integer(name, size);
  }

  /* Calls `act` with each index of the top, and the four of the bottom with their weights. */
  template <typename Act>
  void each(const Blob& bottom, const Blob& top, Act act) const {
    const int rows = bottom.height(), columns = bottom.width();
    const float step_y = step(height_, top.height()), step_x = step(width_, top.width());
    for (int map = 0, i = 0; map < top.count(0, 2); ++map)
      for (int h = 0; h < top.height(); ++h)
        for (int w = 0; w < top.width(); ++w, ++i) {
          const float y = step_y * float(h), x = step_x * float(w);
          const int y0 = int(y), x0 = int(x);
          const int down = y0 < height_ - 1 ? columns : 0, right = x0 < width_ - 1 ? 1 : 0;
          const float below = y - float(y0), beside = x - float(x0);
          const int j = (map * rows + before_ + y0) * columns + before_ + x0;
          act(i, j, (1 - below) * (1 - beside));
          act(i, j + right, (1 - below) * beside);
          act(i, j + down, below * (1 - beside));
          act(i, j + down + right, below * beside);
        }
  }

  static float step(int from, int to) { return to > 1 ? float(from - 1) / float(to - 1) : 0; }

  int before_, height_, width_;
};

static Registration<Interp> interp("Interp");

}  // namespace pibench

/*
 * ResizeBilinear and ResizeNearestNeighbor of Synopsys' fork, by TensorFlow's definitions. The axes
 * are NHWC unless data_format says NCHW. The fork has no backward pass.
 */
#include "layer.h"

namespace pibench {

class Resize : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  /* Where an output lies between two inputs. */
  struct Place {
    int before, after;
    float part; /* of `after` */
  };

  virtual Place place(int i, float step, int size) const = 0;

  bool is(const char* name) const { return fields_.flag(name, false); }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    CHECK_EQ(bottom[0]->num_axes(), 4) << "needs four axes";
    first_ = fields_.word("data_format", "NHWC") == "NHWC" ? 1 : 2;
    std::vector<int> shape = bottom[0]->shape();
    shape[first_] = scaled(shape[first_], "output_height", "scale_height");
    shape[first_ + 1] = scaled(shape[first_ + 1], "output_width", "scale_width");
    top[0]->Reshape(shape);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const std::vector<Place> rows = places(*bottom[0], *top[0], first_);
    const std::vector<Place> columns = places(*bottom[0], *top[0], first_ + 1);
    const int inner = bottom[0]->count(first_ + 2), row = bottom[0]->count(first_ + 1);
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    for (int map = 0; map < bottom[0]->count(0, first_); ++map, x += bottom[0]->count(first_))
      for (const Place& down : rows)
        for (const Place& right : columns)
          for (int i = 0; i < inner; ++i) {
            const float above = mix(x + down.before * row + i, right, inner);
            const float below = mix(x + down.after * row + i, right, inner);
            *y++ = above + (below - above) * down.part;
          }
  }

  void Backward_cpu(const Blobs&, const Wanted& wanted, const Blobs&) override {
    if (wanted[0]) NOT_IMPLEMENTED;
  }

 private:
  int scaled(int size, const char* output, const char* scale) const {
    const int asked = fields_.integer(output, int(std::floor(float(size) * fields_.number(scale, 1))));
    CHECK_GT(asked, 0) << output << " leaves nothing";
    return asked;
  }

  std::vector<Place> places(const Blob& bottom, const Blob& top, int axis) const {
    const int from = bottom.shape(axis), to = top.shape(axis);
    const float step = is("align_corners") && to > 1 ? float(from - 1) / float(to - 1)
                                                     : float(from) / float(to);
    std::vector<Place> found;
    for (int i = 0; i < to; ++i) found.push_back(place(i, step, from));
    return found;
  }

  static float mix(const float* row, const Place& right, int inner) {
    const float one = row[right.before * inner];
    return one + (row[right.after * inner] - one) * right.part;
  }

  int first_; /* the axis of the height */
};

class ResizeBilinear : public Resize {
 public:
  using Resize::Resize;

 protected:
  Place place(int i, float step, int size) const override {
    const bool centers = is("half_pixel_centers") || is("pytorch_half_pixel");
    const float at = centers ? (float(i) + 0.5f) * step - 0.5f : float(i) * step;
    return Place{std::max(int(std::floor(at)), 0), std::min(int(std::ceil(at)), size - 1),
                 at - std::floor(at)};
  }
};

class ResizeNearestNeighbor : public Resize {
 public:
  using Resize::Resize;

 protected:
  Place place(int i, float step, int size) const override {
    float at = float(i) * step;
    if (is("half_pixel_centers") || is("half_pixel_onnx")) at += 0.5f * step;
    if (is("half_pixel_onnx")) at -= 0.5f;
    const int nearest = int(is("align_corners") ? std::round(at) : std::floor(at));
    const int kept = std::max(std::min(nearest, size - 1), 0);
    return Place{kept, kept, 0};
  }
};

static Registration<ResizeBilinear> resize_bilinear("ResizeBilinear");
static Registration<ResizeNearestNeighbor> resize_nearest("ResizeNearestNeighbor");

}  // namespace pibench

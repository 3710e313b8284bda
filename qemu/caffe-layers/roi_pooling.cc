/* ROIPooling of Fast R-CNN (arXiv 1504.08083): the largest value in each cell of a region's grid. */
#include <cfloat>

#include "boxes.h"
#include "layer.h"

namespace pibench {

class ROIPooling : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    height_ = fields_.integer("pooled_h", 0);
    width_ = fields_.integer("pooled_w", 0);
    scale_ = fields_.number("spatial_scale", 1);
    pad_ratio_ = fields_.number("pad_ratio", 0);
    CHECK(height_ > 0 && width_ > 0) << "pooled_h and pooled_w are missing";
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->Reshape(bottom[1]->num(), bottom[0]->channels(), height_, width_);
    largest_.Reshape(top[0]->shape());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int rows = bottom[0]->height(), columns = bottom[0]->width();
    const float *x = bottom[0]->cpu_data(), *region = bottom[1]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    int* largest = largest_.mutable_cpu_data();
    for (int r = 0; r < bottom[1]->num(); ++r, region += 5) {
      const int image = image_of(region, bottom[0]->num());
      /* MS-CNN's regions are wider than the boxes, by this part of their size on each side. */
      const float more_x = (region[3] - region[1] + 1) * pad_ratio_;
      const float more_y = (region[4] - region[2] + 1) * pad_ratio_;
      const int x0 = scaled(region[1] - more_x), y0 = scaled(region[2] - more_y);
      const int wide = std::max(scaled(region[3] + more_x) - x0 + 1, 1);
      const int high = std::max(scaled(region[4] + more_y) - y0 + 1, 1);
      const float cell_y = float(high) / float(height_), cell_x = float(wide) / float(width_);
      for (int c = 0; c < bottom[0]->channels(); ++c) {
        const int map = (image * bottom[0]->channels() + c) * rows * columns;
        for (int h = 0; h < height_; ++h)
          for (int w = 0; w < width_; ++w, ++y, ++largest) {
            const int above = cut(int(std::floor(float(h) * cell_y)) + y0, rows);
            const int below = cut(int(std::ceil(float(h + 1) * cell_y)) + y0, rows);
            const int left = cut(int(std::floor(float(w) * cell_x)) + x0, columns);
            const int right = cut(int(std::ceil(float(w + 1) * cell_x)) + x0, columns);
            *y = below > above && right > left ? -FLT_MAX : 0;
            *largest = -1;
            for (int i = above; i < below; ++i)
              for (int j = left; j < right; ++j) {
                const int at = map + i * columns + j;
                if (x[at] > *y) {
                  *y = x[at];
                  *largest = at;
                }
              }
          }
      }
    }
  }

  /* The fork's has a backward pass for GPUs alone. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

 private:
  int scaled(float at) const { return int(std::round(at * scale_)); }
  static int cut(int at, int size) { return std::min(std::max(at, 0), size); }

  int height_, width_;
  float scale_, pad_ratio_;
  caffe::Blob<int> largest_; /* where a value is from; the fork has it for its backward pass */
};

static Registration<ROIPooling> roi_pooling("ROIPooling");

}  // namespace pibench

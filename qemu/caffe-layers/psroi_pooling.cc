/*
 * PSROIPooling of R-FCN (arXiv 1605.06409): the mean in each cell of a region's grid, taken from
 * the maps that belong to that cell.
 */
#include "boxes.h"
#include "layer.h"

namespace pibench {

class PSROIPooling : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    outputs_ = fields_.integer("output_dim", 0);
    cells_ = fields_.integer("group_size", 0);
    scale_ = fields_.number("spatial_scale", 1);
    CHECK(outputs_ > 0 && cells_ > 0) << "output_dim and group_size are missing";
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    CHECK_EQ(bottom[0]->channels(), outputs_ * cells_ * cells_) << "output_dim * group_size^2";
    top[0]->Reshape(bottom[1]->num(), outputs_, cells_, cells_);
    map_.Reshape(top[0]->shape());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const Blob& maps = *bottom[0];
    const float *x = maps.cpu_data(), *region = bottom[1]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    int* map = map_.mutable_cpu_data();
    for (int r = 0; r < bottom[1]->num(); ++r, region += 5) {
      const int image = image_of(region, maps.num());
      const float x0 = std::round(region[1]) * scale_, y0 = std::round(region[2]) * scale_;
      const float x1 = (std::round(region[3]) + 1) * scale_;
      const float y1 = (std::round(region[4]) + 1) * scale_;
      const float cell_x = std::max(x1 - x0, 0.1f) / float(cells_);
      const float cell_y = std::max(y1 - y0, 0.1f) / float(cells_);
      for (int output = 0; output < outputs_; ++output)
        for (int h = 0; h < cells_; ++h)
          for (int w = 0; w < cells_; ++w, ++y, ++map) {
            *map = (output * cells_ + h) * cells_ + w;
            const float* place = x + maps.offset(image, *map);
            const int above = cut(int(std::floor(float(h) * cell_y + y0)), maps.height());
            const int below = cut(int(std::ceil(float(h + 1) * cell_y + y0)), maps.height());
            const int left = cut(int(std::floor(float(w) * cell_x + x0)), maps.width());
            const int right = cut(int(std::ceil(float(w + 1) * cell_x + x0)), maps.width());
            const int places = std::max(below - above, 0) * std::max(right - left, 0);
            float sum = 0;
            for (int i = above; i < below; ++i)
              for (int j = left; j < right; ++j) sum += place[i * maps.width() + j];
            *y = places ? sum / float(places) : 0;
          }
    }
  }

  /* The fork's has a backward pass for GPUs alone. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

 private:
  static int cut(int at, int size) { return std::min(std::max(at, 0), size); }

  int outputs_, cells_;
  float scale_;
  caffe::Blob<int> map_; /* of which map a value is; the fork has it for its backward pass */
};

static Registration<PSROIPooling> psroi_pooling("PSROIPooling");

}  // namespace pibench

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
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    int* map = map_.mutable_cpu_data();
    each(bottom, [&](int i, const Cell& cell) {
      float sum = 0;
      cell.each_place([&](int j) { sum += x[j]; });
      y[i] = cell.places() ? sum / float(cell.places()) : 0;
      map[i] = cell.channel;
    });
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    std::fill(dx, dx + bottom[0]->count(), 0.f);
    each(bottom, [&](int i, const Cell& cell) {
      cell.each_place([&](int j) { dx[j] += dy[i] / float(cell.places()); });
    });
  }

 private:
  struct Cell {
    int channel, start, columns, above, below, left, right;
    int places() const { return std::max(below - above, 0) * std::max(right - left, 0); }
    template <typename Act>
    void each_place(Act act) const {
      for (int h = above; h < below; ++h)
        for (int w = left; w < right; ++w) act(start + h * columns + w);
    }
  };

  template <typename Act>
  void each(const Blobs& bottom, Act act) const {
    const Blob& maps = *bottom[0];
    const float* region = bottom[1]->cpu_data();
    for (int r = 0, i = 0; r < bottom[1]->num(); ++r, region += 5) {
      const int image = image_of(region, maps.num());
      const float x0 = std::round(region[1]) * scale_, y0 = std::round(region[2]) * scale_;
      const float x1 = (std::round(region[3]) + 1) * scale_;
      const float y1 = (std::round(region[4]) + 1) * scale_;
      const float cell_x = std::max(x1 - x0, 0.1f) / float(cells_);
      const float cell_y = std::max(y1 - y0, 0.1f) / float(cells_);
      for (int output = 0; output < outputs_; ++output)
        for (int h = 0; h < cells_; ++h)
          for (int w = 0; w < cells_; ++w, ++i) {
            Cell cell;
            cell.channel = (output * cells_ + h) * cells_ + w;
            cell.start = maps.offset(image, cell.channel);
            cell.columns = maps.width();
            cell.above = cut(int(std::floor(float(h) * cell_y + y0)), maps.height());
            cell.below = cut(int(std::ceil(float(h + 1) * cell_y + y0)), maps.height());
            cell.left = cut(int(std::floor(float(w) * cell_x + x0)), maps.width());
            cell.right = cut(int(std::ceil(float(w + 1) * cell_x + x0)), maps.width());
            act(i, cell);
          }
    }
  }

  static int cut(int at, int size) { return std::min(std::max(at, 0), size); }

  int outputs_, cells_;
  float scale_;
  caffe::Blob<int> map_; /* of which map a value is; the fork has it for its backward pass */
};

static Registration<PSROIPooling> psroi_pooling("PSROIPooling");

}  // namespace pibench

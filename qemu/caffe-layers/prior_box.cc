/*
 * PriorBox of the SSD fork (arXiv 1512.02325): default boxes around each place of a feature map,
 * and after them their variances. PriorBoxClustered of Intel's fork has the boxes' widths and heights.
 * With a density (FaceBoxes, arXiv 1708.05234), a size has a grid of boxes around each place.
 */
#include "layer.h"

namespace pibench {

class PriorBox : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    if (layer_param_.type() == "PriorBoxClustered") {
      const std::vector<float> widths = fields_.numbers("width"), heights = fields_.numbers("height");
      CHECK(!widths.empty() && widths.size() == heights.size()) << "width and height: as many";
      for (size_t i = 0; i < widths.size(); ++i) add(widths[i], heights[i]);
    } else {
      add_ratios();
    }
    variances_ = fields_.numbers("variance");
    if (variances_.empty()) variances_.push_back(0.1f);
    if (variances_.size() == 1) variances_.resize(4, variances_[0]);
    CHECK_EQ(int(variances_.size()), 4) << "variance: one, or four";
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int boxes = bottom[0]->height() * bottom[0]->width() * int(boxes_.size());
    top[0]->Reshape(std::vector<int>{1, 2, boxes * 4});
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int width = bottom[0]->width(), height = bottom[0]->height();
    const int size = fields_.integer("img_size", 0);
    image_width_ = fields_.integer("img_w", size);
    image_height_ = fields_.integer("img_h", size);
    if (!image_width_ || !image_height_) {
      image_width_ = bottom[1]->width();
      image_height_ = bottom[1]->height();
    }
    const float step = fields_.number("step", 0);
    float step_x = fields_.number("step_w", step), step_y = fields_.number("step_h", step);
    if (!step_x || !step_y) {
      step_x = float(image_width_) / float(width);
      step_y = float(image_height_) / float(height);
    }
    const float offset = fields_.number("offset", 0.5f);
    float* const start = top[0]->mutable_cpu_data();
    float* next = start;
    for (int h = 0; h < height; ++h)
      for (int w = 0; w < width; ++w)
        for (const Default& one : boxes_)
          next = box((float(w) + offset + one.x) * step_x, (float(h) + offset + one.y) * step_y,
                     one.width, one.height, next);
    if (fields_.flag("clip", false))
      for (float* value = start; value < next; ++value)
        *value = std::min(std::max(*value, 0.f), 1.f);
    for (float* const end = start + top[0]->count(); next < end; next += 4)
      std::copy(variances_.begin(), variances_.end(), next);
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}

 private:
  struct Default {
    float width, height; /* in pixels */
    float x, y;          /* from the middle of the place, in steps */
  };

  void add(float width, float height) { boxes_.push_back(Default{width, height, 0, 0}); }

  /* As in FaceBoxes, a box then is a pixel smaller than its size. */
  void add_grid(int size, int density) {
    for (int i = 0; i < density; ++i)
      for (int j = 0; j < density; ++j)
        boxes_.push_back(Default{float(size - 1), float(size - 1), float(j - density / 2) / density,
                                 float(i - density / 2) / density});
  }

  void add_ratios() {
    const std::vector<float> larger = fields_.numbers("max_size"), sizes = fields_.numbers("min_size");
    const std::vector<float> densities = fields_.numbers("density");
    CHECK(!sizes.empty()) << "min_size is missing";
    CHECK(larger.empty() || larger.size() == sizes.size()) << "max_size: as many as min_size";
    std::vector<float> ratios(1, 1.f);
    for (float ratio : fields_.numbers("aspect_ratio")) {
      const bool is_known = std::any_of(ratios.begin(), ratios.end(), [&](float other) {
        return std::fabs(ratio - other) < 1e-6;
      });
      if (is_known) continue;
      ratios.push_back(ratio);
      if (fields_.flag("flip", true)) ratios.push_back(1.f / ratio);
    }
    for (size_t s = 0; s < sizes.size(); ++s) {
      /* The fork cuts sizes to whole pixels. */
      const int size = int(sizes[s]);
      if (s < densities.size())
        add_grid(size, int(densities[s]));
      else
        add(float(size), float(size));
      if (!larger.empty()) {
        const float between = float(std::sqrt(double(size * int(larger[s]))));
        add(between, between);
      }
      for (size_t r = 1; r < ratios.size(); ++r)
        add(float(size) * std::sqrt(ratios[r]), float(size) / std::sqrt(ratios[r]));
    }
  }

  float* box(float x, float y, float width, float height, float* next) const {
    *next++ = float((x - width / 2.) / image_width_);
    *next++ = float((y - height / 2.) / image_height_);
    *next++ = float((x + width / 2.) / image_width_);
    *next++ = float((y + height / 2.) / image_height_);
    return next;
  }

  std::vector<Default> boxes_;
  std::vector<float> variances_;
  int image_width_, image_height_;
};

static Registration<PriorBox> prior_box("PriorBox");
static Registration<PriorBox> prior_box_clustered("PriorBoxClustered");

}  // namespace pibench

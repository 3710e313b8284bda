/*
 * PriorBox of the SSD fork (arXiv 1512.02325): default boxes around each place of a feature map,
 * and after them their variances.
 */
#include "layer.h"

namespace pibench {

class PriorBox : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    /* The fork cuts sizes to whole pixels. */
    for (float size : fields_.numbers("min_size")) sizes_.push_back(int(size));
    for (float size : fields_.numbers("max_size")) larger_.push_back(int(size));
    CHECK(!sizes_.empty()) << "min_size is missing";
    CHECK(larger_.empty() || larger_.size() == sizes_.size()) << "max_size: as many as min_size";
    ratios_.push_back(1.f);
    for (float ratio : fields_.numbers("aspect_ratio")) {
      const bool is_known = std::any_of(ratios_.begin(), ratios_.end(), [&](float other) {
        return std::fabs(ratio - other) < 1e-6;
      });
      if (is_known) continue;
      ratios_.push_back(ratio);
      if (fields_.flag("flip", true)) ratios_.push_back(1.f / ratio);
    }
    variances_ = fields_.numbers("variance");
    if (variances_.empty()) variances_.push_back(0.1f);
    if (variances_.size() == 1) variances_.resize(4, variances_[0]);
    CHECK_EQ(int(variances_.size()), 4) << "variance: one, or four";
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    const int at_each_place = int(ratios_.size() * sizes_.size() + larger_.size());
    const int boxes = bottom[0]->height() * bottom[0]->width() * at_each_place;
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
        next = boxes_at((float(w) + offset) * step_x, (float(h) + offset) * step_y, next);
    if (fields_.flag("clip", false))
      for (float* value = start; value < next; ++value)
        *value = std::min(std::max(*value, 0.f), 1.f);
    for (float* const end = start + top[0]->count(); next < end; next += 4)
      std::copy(variances_.begin(), variances_.end(), next);
  }

  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}

 private:
  float* boxes_at(float x, float y, float* next) const {
    for (size_t s = 0; s < sizes_.size(); ++s) {
      next = box(x, y, float(sizes_[s]), float(sizes_[s]), next);
      if (!larger_.empty()) {
        const float between = float(std::sqrt(double(sizes_[s] * larger_[s])));
        next = box(x, y, between, between, next);
      }
      for (size_t r = 1; r < ratios_.size(); ++r) {
        const float root = std::sqrt(ratios_[r]);
        next = box(x, y, float(sizes_[s]) * root, float(sizes_[s]) / root, next);
      }
    }
    return next;
  }

  float* box(float x, float y, float width, float height, float* next) const {
    *next++ = float((x - width / 2.) / image_width_);
    *next++ = float((y - height / 2.) / image_height_);
    *next++ = float((x + width / 2.) / image_width_);
    *next++ = float((y + height / 2.) / image_height_);
    return next;
  }

  std::vector<int> sizes_, larger_; /* pixels */
  std::vector<float> ratios_, variances_;
  int image_width_, image_height_;
};

static Registration<PriorBox> prior_box("PriorBox");

}  // namespace pibench

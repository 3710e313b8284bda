/*
 * Proposal of Faster R-CNN (arXiv 1506.01497): anchors moved by the network's deltas become regions
 * of the image, the best of them that do not overlap. A row of the top is image, x1, y1, x2, y2.
 */
#include "boxes.h"
#include "layer.h"

namespace pibench {

class Proposal : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    stride_ = fields_.integer("feat_stride", 16);
    size_ = fields_.number("base_size", 16);
    least_ = fields_.number("min_size", 16);
    most_before_ = fields_.integer("pre_nms_topn", 6000);
    most_ = fields_.integer("post_nms_topn", 300);
    overlap_ = fields_.number("nms_thresh", 0.7f);
    std::vector<float> ratios = fields_.numbers("ratio"), scales = fields_.numbers("scale");
    if (ratios.empty()) ratios = {0.5f, 1.f, 2.f};
    if (scales.empty()) scales = {8.f, 16.f, 32.f};
    const float middle = (size_ - 1) / 2;
    for (float ratio : ratios) {
      const float width = std::round(std::sqrt(size_ * size_ / ratio));
      const float height = std::round(width * ratio);
      for (float scale : scales) {
        const float x = (width * scale - 1) / 2, y = (height * scale - 1) / 2;
        anchors_.push_back(Box{middle - x, middle - y, middle + x, middle + y});
      }
    }
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    CHECK_EQ(bottom[0]->num(), 1) << "one image at a time";
    CHECK_EQ(bottom[0]->channels(), int(2 * anchors_.size())) << "two scores for each anchor";
    CHECK_EQ(bottom[1]->channels(), int(4 * anchors_.size())) << "four deltas for each anchor";
    top[0]->Reshape(std::vector<int>{most_, 5});
    if (top.size() > 1) top[1]->Reshape(std::vector<int>{most_, 1});
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const std::vector<Scored> kept = suppressed(candidates(bottom));
    const int rows = is_memory_only() ? most_ : std::max(int(kept.size()), 1);
    top[0]->Reshape(std::vector<int>{rows, 5});
    float* y = top[0]->mutable_cpu_data();
    std::fill(y, y + top[0]->count(), 0.f);
    for (size_t i = 0; i < kept.size(); ++i) {
      const Box& box = kept[i].box;
      const float row[5] = {0.f, box.x1, box.y1, box.x2, box.y2};
      std::copy(row, row + 5, y + 5 * i);
    }
    if (top.size() < 2) return;
    top[1]->Reshape(std::vector<int>{rows, 1});
    top[1]->mutable_cpu_data()[0] = 0;
    for (size_t i = 0; i < kept.size(); ++i) top[1]->mutable_cpu_data()[i] = kept[i].score;
  }

  /* Regions are constants to the layers behind them. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override {}

 private:
  std::vector<Scored> candidates(const Blobs& bottom) const {
    const int height = bottom[0]->height(), width = bottom[0]->width(), places = height * width;
    /* The second half of the scores is that of objects. */
    const float* score = bottom[0]->cpu_data() + anchors_.size() * places;
    const float *delta = bottom[1]->cpu_data(), *image = bottom[2]->cpu_data();
    const float image_height = image[0], image_width = image[1], scale = image[2];
    std::vector<Scored> found;
    found.reserve(anchors_.size() * places);
    for (int h = 0; h < height; ++h)
      for (int w = 0; w < width; ++w)
        for (size_t a = 0; a < anchors_.size(); ++a) {
          const int place = h * width + w;
          const Box& anchor = anchors_[a];
          const float wide = anchor.x2 - anchor.x1 + 1, high = anchor.y2 - anchor.y1 + 1;
          const float* d = delta + 4 * a * places + place;
          const float x = anchor.x1 + float(w * stride_) + wide / 2 + d[0] * wide;
          const float y = anchor.y1 + float(h * stride_) + high / 2 + d[places] * high;
          const float new_wide = std::exp(d[2 * places]) * wide;
          const float new_high = std::exp(d[3 * places]) * high;
          const Box box = {inside(x - new_wide / 2, image_width),
                           inside(y - new_high / 2, image_height),
                           inside(x + new_wide / 2, image_width),
                           inside(y + new_high / 2, image_height)};
          if (box.x2 - box.x1 + 1 >= least_ * scale && box.y2 - box.y1 + 1 >= least_ * scale)
            found.push_back(Scored{score[a * places + place], int(found.size()), box});
        }
    return found;
  }

  std::vector<Scored> suppressed(std::vector<Scored> found) const {
    keep_best(&found, most_before_);
    std::vector<Scored> kept;
    for (const Scored& one : found) {
      if (most_ > 0 && int(kept.size()) == most_) break;
      if (std::all_of(kept.begin(), kept.end(), [&](const Scored& other) {
            return overlap(other.box, one.box, 1) <= overlap_;
          }))
        kept.push_back(one);
    }
    return kept;
  }

  static float inside(float at, float size) { return std::max(std::min(at, size - 1), 0.f); }

  int stride_, most_before_, most_;
  float size_, least_, overlap_;
  std::vector<Box> anchors_;
};

static Registration<Proposal> proposal("Proposal");

}  // namespace pibench

/*
 * DetectionOutput of the SSD fork (arXiv 1512.02325): decodes locations against the default boxes,
 * then suppresses what overlaps, class by class. A row of the top is image, label, confidence and
 * the corners of a box. With the bottoms of RefineDet (arXiv 1711.06897), a first stage says which
 * boxes are no objects, and moves the default boxes.
 */
#include <cfloat>

#include "boxes.h"
#include "layer.h"

namespace pibench {

class DetectionOutput : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    classes_ = fields_.integer("num_classes", 0);
    CHECK_GT(classes_, 0) << "num_classes is missing";
    shared_ = fields_.flag("share_location", true);
    background_ = fields_.integer("background_label_id", 0);
    in_target_ = fields_.flag("variance_encoded_in_target", false);
    code_ = fields_.word("code_type", "CORNER");
    least_ = fields_.number("confidence_threshold", -FLT_MAX);
    keep_ = fields_.integer("keep_top_k", -1);
    overlap_ = fields_.number("nms_param.nms_threshold", 0.3f);
    most_ = fields_.integer("nms_param.top_k", -1);
    eta_ = fields_.number("nms_param.eta", 1.f);
    objectness_ = fields_.number("objectness_score", 0.01f);
    clip_ = fields_.flag("clip", false);
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    priors_ = bottom[2]->height() / 4;
    CHECK_EQ(bottom[0]->count(1), priors_ * (shared_ ? 1 : classes_) * 4) << "locations";
    CHECK_EQ(bottom[1]->count(1), priors_ * classes_) << "confidences";
    if (bottom.size() > 3) CHECK_EQ(bottom[3]->count(), bottom[0]->num() * priors_ * 2) << "objects";
    if (bottom.size() > 4) CHECK_EQ(bottom[4]->count(), bottom[0]->num() * priors_ * 4) << "moves";
    top[0]->Reshape(std::vector<int>{1, 1, 1, 7});
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    std::vector<float> rows;
    for (int image = 0; image < bottom[0]->num(); ++image)
      detect(bottom, image, &rows);
    if (rows.empty()) /* no blob is empty: a row of -1 for each image */
      for (int image = 0; image < bottom[0]->num(); ++image) {
        rows.push_back(float(image));
        rows.insert(rows.end(), 6, -1.f);
      }
    top[0]->Reshape(std::vector<int>{1, 1, int(rows.size() / 7), 7});
    std::copy(rows.begin(), rows.end(), top[0]->mutable_cpu_data());
  }

  /* The fork has none either. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

 private:
  struct Found {
    float score;
    int label, number; /* that of the default box */
  };
  static bool is_better(const Found& a, const Found& b) { return a.score > b.score; }

  static const float* of_image(const Blobs& bottom, size_t number, int image) {
    if (number >= bottom.size()) return NULL;
    return bottom[number]->cpu_data() + image * (bottom[number]->count() / bottom[0]->num());
  }

  /* The default boxes, moved by the first stage where there is one. */
  std::vector<Box> defaults(const float* prior, const float* moves) const {
    std::vector<Box> boxes;
    boxes.reserve(priors_);
    for (int p = 0; p < priors_; ++p) {
      const float* at = prior + 4 * p;
      const Box box = {at[0], at[1], at[2], at[3]};
      boxes.push_back(moves ? decode(box, at + 4 * priors_, moves + 4 * p) : box);
    }
    return boxes;
  }

  void detect(const Blobs& bottom, int image, std::vector<float>* rows) const {
    const float *location = of_image(bottom, 0, image), *prior = bottom[2]->cpu_data();
    const std::vector<Box> start = defaults(prior, of_image(bottom, 4, image));
    const int sets = shared_ ? 1 : classes_;
    std::vector<std::vector<Box>> boxes(sets);
    std::vector<Found> kept;
    for (int label = 0; label < classes_; ++label) {
      if (label == background_) continue;
      const int set = shared_ ? 0 : label;
      boxes[set].reserve(priors_);
      for (int p = int(boxes[set].size()); p < priors_; ++p)
        boxes[set].push_back(
            clipped(decode(start[p], prior + 4 * (priors_ + p), location + 4 * (p * sets + set))));
      suppress(of_image(bottom, 1, image), of_image(bottom, 3, image), label, boxes[set], &kept);
    }
    if (keep_ >= 0 && int(kept.size()) > keep_) {
      std::stable_sort(kept.begin(), kept.end(), is_better);
      kept.resize(keep_);
      std::stable_sort(kept.begin(), kept.end(),
                       [](const Found& a, const Found& b) { return a.label < b.label; });
    }
    for (const Found& found : kept) {
      const Box& box = boxes[shared_ ? 0 : found.label][found.number];
      const float row[7] = {float(image), float(found.label), found.score,
                            box.x1,       box.y1,             box.x2,
                            box.y2};
      rows->insert(rows->end(), row, row + 7);
    }
  }

  Box decode(const Box& prior, const float* variance, const float* location) const {
    float v[4];
    for (int i = 0; i < 4; ++i) v[i] = location[i] * (in_target_ ? 1.f : variance[i]);
    const float width = prior.x2 - prior.x1, height = prior.y2 - prior.y1;
    if (code_ == "CENTER_SIZE") {
      const float x = v[0] * width + (prior.x1 + prior.x2) / 2;
      const float y = v[1] * height + (prior.y1 + prior.y2) / 2;
      const float wide = std::exp(v[2]) * width, high = std::exp(v[3]) * height;
      return Box{x - wide / 2, y - high / 2, x + wide / 2, y + high / 2};
    }
    const bool by_size = code_ == "CORNER_SIZE";
    const float x_unit = by_size ? width : 1.f, y_unit = by_size ? height : 1.f;
    return Box{prior.x1 + v[0] * x_unit, prior.y1 + v[1] * y_unit, prior.x2 + v[2] * x_unit,
               prior.y2 + v[3] * y_unit};
  }

  /* OpenCV's field `clip`: a box ends at the edges of the image, before any is suppressed. */
  Box clipped(const Box& box) const {
    if (!clip_) return box;
    const auto inside = [](float at) { return std::min(std::max(at, 0.f), 1.f); };
    return Box{inside(box.x1), inside(box.y1), inside(box.x2), inside(box.y2)};
  }

  void suppress(const float* confidence, const float* objects, int label,
                const std::vector<Box>& boxes, std::vector<Found>* kept) const {
    std::vector<Found> candidates;
    candidates.reserve(priors_);
    for (int p = 0; p < priors_; ++p) {
      const bool is_object = !objects || objects[2 * p + 1] >= objectness_;
      const float score = is_object ? confidence[p * classes_ + label] : label ? 0.f : 1.f;
      if (score > least_) candidates.push_back(Found{score, label, p});
    }
    if (most_ == 0) return;
    keep_best(&candidates, most_);
    const size_t first = kept->size();
    float threshold = overlap_;
    for (const Found& candidate : candidates) {
      const bool is_new = std::all_of(kept->begin() + first, kept->end(), [&](const Found& other) {
        return overlap(boxes[candidate.number], boxes[other.number]) <= threshold;
      });
      if (!is_new) continue;
      kept->push_back(candidate);
      if (eta_ < 1 && threshold > 0.5f) threshold *= eta_;
    }
  }

  bool shared_, in_target_, clip_;
  int classes_, background_, keep_, most_, priors_;
  float least_, overlap_, eta_, objectness_;
  std::string code_;
};

static Registration<DetectionOutput> detection_output("DetectionOutput");

}  // namespace pibench

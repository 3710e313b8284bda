/*
 * Proposals of MS-CNN (arXiv 1607.07155) and Cascade R-CNN (arXiv 1712.00726): regions of the image
 * around fields of fixed sizes, the best of them that do not overlap. A row of the first top is image,
 * x1, y1, x2, y2; the second top adds the score. DecodeBBox moves regions by a stage's deltas.
 */
#include <cfloat>
#include <cstring>

#include "boxes.h"
#include "layer.h"

namespace pibench {

/* A delta by bbox_reg_param: its standard deviation and mean, by default 1 and 0. */
class Deltas {
 public:
  explicit Deltas(const Fields& fields, const std::string& message)
      : means_(fields.numbers(message + "bbox_mean")), stds_(fields.numbers(message + "bbox_std")) {
    if (means_.empty() || stds_.empty()) {
      means_.assign(4, 0.f);
      stds_.assign(4, 1.f);
    }
    CHECK(means_.size() == 4 && stds_.size() == 4) << "bbox_mean and bbox_std: four of both";
  }
  float operator()(float value, int i) const { return value * stds_[i] + means_[i]; }

 private:
  std::vector<float> means_, stds_;
};

class BoxOutput : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs&, const Blobs&) override {
    least_score_ = fields_.number("fg_thr", 0);
    overlap_ = fields_.number("iou_thr", 0.5f);
    mode_ = fields_.word("nms_type", "IOU");
    least_size_ = fields_.number("min_size", 15);
    most_before_ = fields_.integer("max_nms_num", 0);
    most_ = fields_.integer("max_post_nms_num", 0);
    const float shift = fields_.number("field_xyr", 2), scale = fields_.number("field_whr", 2);
    most_shift_ = 1 / shift;
    most_scale_ = std::log(scale);
    set_up_fields();
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    places_ = 0;
    for (size_t i = 0; i < bottom.size(); i += maps_each())
      places_ += bottom[i]->num() / images(bottom) * bottom[i]->height() * bottom[i]->width();
    reshape(top, images(bottom) * bound());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    std::vector<float> rows;
    rows.reserve(6 * images(bottom) * std::min(bound(), places_));
    for (int image = 0; image < images(bottom); ++image) {
      std::vector<Scored> found;
      found.reserve(places_);
      collect(bottom, image, &found);
      for (const Scored& one : suppressed(std::move(found))) {
        const Box& box = one.box;
        const float row[6] = {float(image), box.x1, box.y1, box.x2, box.y2, one.score};
        rows.insert(rows.end(), row, row + 6);
      }
    }
    const int found = int(rows.size() / 6);
    /* No blob is empty: the forks put a small region in its place, without a score. */
    const int count = is_memory_only() ? images(bottom) * bound() : std::max(found, 1);
    reshape(top, count);
    for (size_t k = 0; k < top.size(); ++k) {
      const int wide = 5 + int(k);
      float* y = top[k]->mutable_cpu_data();
      std::fill(y, y + top[k]->count(), 0.f);
      for (int i = 0; i < std::min(found, count); ++i)
        std::copy(&rows[6 * i], &rows[6 * i] + wide, y + wide * i);
      if (!found && !k) y[1] = y[2] = 1, y[3] = y[4] = 10;
    }
  }

  /* The forks have none either. */
  void Backward_cpu(const Blobs&, const Wanted& wanted, const Blobs&) override {
    for (bool is_wanted : wanted)
      if (is_wanted) NOT_IMPLEMENTED;
  }

  virtual void set_up_fields() {
    heights_ = fields_.numbers("field_h");
    widths_ = fields_.numbers("field_w");
    strides_ = fields_.numbers("downsample_rate");
  }
  virtual int images(const Blobs& bottom) const { return bottom[0]->num(); }
  virtual size_t maps_each() const { return 1; }
  /* What corners that belong to their box add to its size. */
  virtual float extra() const { return 0; }

  virtual void collect(const Blobs& bottom, int image, std::vector<Scored>* found) {
    const Deltas deltas(fields_, "bbox_reg_param.");
    for (size_t m = 0; m < bottom.size(); ++m) {
      const int height = bottom[m]->height(), width = bottom[m]->width(), places = height * width;
      const int classes = bottom[m]->channels() - 4;
      const float* x = bottom[m]->cpu_data() + bottom[m]->offset(image);
      for (int at = 0; at < places; ++at) {
        float score = -FLT_MAX;
        for (int k = 1; k < classes; ++k) score = std::max(score, x[k * places + at]);
        score -= x[at];
        if (score < least_score_) continue;
        Box box = decoded(deltas, x + classes * places + at, places, widths_[m], heights_[m],
                          at % width, at / width, strides_[m]);
        /* MS-CNN cuts the corner, and then the size that the box had. */
        const float wide = box.x2 - box.x1, high = box.y2 - box.y1;
        box.x1 = std::max(box.x1, 0.f);
        box.y1 = std::max(box.y1, 0.f);
        box.x2 = box.x1 + std::min(wide, float(int(float(width) * strides_[m])) - box.x1);
        box.y2 = box.y1 + std::min(high, float(int(float(height) * strides_[m])) - box.y1);
        keep(score, box, found);
      }
    }
  }

  void keep(float score, const Box& box, std::vector<Scored>* found) const {
    if (box.x2 - box.x1 + extra() >= least_size_ && box.y2 - box.y1 + extra() >= least_size_)
      found->push_back(Scored{score, int(found->size()), box});
  }

  Box decoded(const Deltas& deltas, const float* d, int places, float field_width,
              float field_height, int column, int row, float stride) const {
    const float x = cut(deltas(d[0], 0), most_shift_) * field_width + (float(column) + 0.5f) * stride;
    const float y =
        cut(deltas(d[places], 1), most_shift_) * field_height + (float(row) + 0.5f) * stride;
    const float wide = field_width * std::exp(cut(deltas(d[2 * places], 2), most_scale_));
    const float high = field_height * std::exp(cut(deltas(d[3 * places], 3), most_scale_));
    return Box{x - wide / 2, y - high / 2, x + wide / 2 - extra(), y + high / 2 - extra()};
  }

  std::vector<float> heights_, widths_, strides_;
  float least_score_;

 private:
  static float cut(float value, float most) { return std::min(std::max(value, -most), most); }

  int bound() const { return most_ ? most_ : most_before_ ? most_before_ : places_; }

  static void reshape(const Blobs& top, int rows) {
    for (size_t i = 0; i < top.size(); ++i)
      top[i]->Reshape(std::vector<int>{rows, 5 + int(i), 1, 1});
  }

  float shared(const Box& a, const Box& b) const {
    const float area_a = area(a, extra()), area_b = area(b, extra());
    if (!area_a || !area_b) return 0;
    const Box both = {std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2),
                      std::min(a.y2, b.y2)};
    const float common = both.y1 == both.y2 ? 0 : area(both, extra());
    if (mode_ == "IOMU") return common / std::min(area_a, area_b);
    if (mode_ == "IOFU") return common / area_a;
    return common / (area_a + area_b - common);
  }

  std::vector<Scored> suppressed(std::vector<Scored> found) const {
    keep_best(&found, most_before_);
    std::vector<Scored> kept;
    kept.reserve(std::min(bound(), int(found.size())));
    for (const Scored& one : found) {
      if (most_ && int(kept.size()) == most_) break;
      if (std::all_of(kept.begin(), kept.end(), [&](const Scored& other) {
            return shared(other.box, one.box) <= overlap_;
          }))
        kept.push_back(one);
    }
    return kept;
  }

  int most_before_, most_, places_;
  float least_size_, overlap_, most_shift_, most_scale_;
  std::string mode_;
};

/* Cascade R-CNN: pairs of scores and deltas, whose first axis has a field of each image after another. */
class BoxGroupOutput : public BoxOutput {
 public:
  using BoxOutput::BoxOutput;

 protected:
  void set_up_fields() override {
    heights_ = fields_.numbers("box_group_param.field_h");
    widths_ = fields_.numbers("box_group_param.field_w");
    strides_ = fields_.numbers("box_group_param.stride");
  }
  /* As many fields in each group: pibench checks it. */
  int fields_each() const { return int(widths_.size() / strides_.size()); }
  int images(const Blobs& bottom) const override { return bottom[0]->num() / fields_each(); }
  size_t maps_each() const override { return 2; }
  float extra() const override { return 1; }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    BoxOutput::Reshape(bottom, top);
    for (size_t g = 0; g < bottom.size() / 2; ++g) {
      if (boxes_.size() == g) boxes_.push_back(boost::shared_ptr<Blob>(new Blob));
      boxes_[g]->ReshapeLike(*bottom[2 * g + 1]);
    }
  }

  void collect(const Blobs& bottom, int image, std::vector<Scored>* found) override {
    const Deltas deltas(fields_, "bbox_reg_param.");
    for (size_t g = 0; g < bottom.size() / 2; ++g) {
      const Blob &scores = *bottom[2 * g], &moves = *bottom[2 * g + 1];
      const int height = scores.height(), width = scores.width(), places = height * width;
      float* kept = boxes_[g]->mutable_cpu_data();
      for (int k = 0; k < fields_each(); ++k) {
        const int map = image * fields_each() + k;
        const float* score = scores.cpu_data() + scores.offset(map);
        const float* move = moves.cpu_data() + moves.offset(map);
        for (int at = 0; at < places; ++at) {
          Box box = decoded(deltas, move + at, places, widths_[g * fields_each() + k],
                            heights_[g * fields_each() + k], at % width, at / width, strides_[g]);
          std::memcpy(kept + moves.offset(map) + 4 * at, &box, sizeof box);
          if (1 - score[at] < least_score_) continue;
          box.x1 = std::max(box.x1, 0.f);
          box.y1 = std::max(box.y1, 0.f);
          box.x2 = std::min(box.x2, float(width) * strides_[g]);
          box.y2 = std::min(box.y2, float(height) * strides_[g]);
          keep(1 - score[at], box, found);
        }
      }
    }
  }

 private:
  std::vector<boost::shared_ptr<Blob>> boxes_; /* every box, as the fork keeps them */
};

class DecodeBBox : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    CHECK_EQ(bottom[0]->count(), 8 * bottom[0]->num()) << "deltas of two classes";
    CHECK_EQ(bottom[1]->count(), 5 * bottom[0]->num()) << "a region for each";
    moved_.ReshapeLike(*bottom[0]);
    top[0]->ReshapeLike(*bottom[1]);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const Deltas deltas(fields_, "");
    const float *delta = bottom[0]->cpu_data(), *region = bottom[1]->cpu_data();
    float* moved = moved_.mutable_cpu_data();
    std::vector<float> rows;
    rows.reserve(bottom[1]->count());
    for (int r = 0; r < bottom[0]->num(); ++r, delta += 8, moved += 8, region += 5) {
      const float wide = region[3] - region[1] + 1, high = region[4] - region[2] + 1;
      for (int c = 0; c < 8; c += 4) {
        const float new_wide = wide * std::exp(deltas(delta[c + 2], 2));
        const float new_high = high * std::exp(deltas(delta[c + 3], 3));
        const float x = deltas(delta[c], 0) * wide + (region[1] + region[3]) / 2;
        const float y = deltas(delta[c + 1], 1) * high + (region[2] + region[4]) / 2;
        moved[c] = x - (new_wide - 1) / 2;
        moved[c + 1] = y - (new_high - 1) / 2;
        moved[c + 2] = moved[c] + new_wide - 1;
        moved[c + 3] = moved[c + 1] + new_high - 1;
      }
      /* Training drops regions without a size. */
      const bool is_dropped = phase_ == caffe::TRAIN && !is_memory_only() &&
                              (moved[4] > moved[6] || moved[5] > moved[7]);
      if (is_dropped) continue;
      rows.push_back(region[0]);
      rows.insert(rows.end(), moved + 4, moved + 8);
    }
    CHECK(!rows.empty()) << "every region is without a size";
    std::vector<int> shape = bottom[1]->shape();
    shape[0] = int(rows.size() / 5);
    top[0]->Reshape(shape);
    std::copy(rows.begin(), rows.end(), top[0]->mutable_cpu_data());
  }

  /* The fork has none either. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

 private:
  Blob moved_;
};

static Registration<BoxOutput> box_output("BoxOutput");
static Registration<BoxGroupOutput> box_group_output("BoxGroupOutput");
static Registration<DecodeBBox> decode_bbox("DecodeBBox");

}  // namespace pibench

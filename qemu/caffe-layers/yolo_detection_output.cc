/*
 * The heads of YOLO 2 (arXiv 1612.08242) and YOLO 3 (arXiv 1804.02767) as the MobileNet-YOLO forks
 * name them. A row of the top is image, label from 1 on, confidence and the corners of a box, all
 * relative to the image.
 */
#include "boxes.h"
#include "layer.h"

namespace pibench {

inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

class YoloHead : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  struct Found {
    float score;
    int label;
    Box box;
  };

  void LayerSetUp(const Blobs&, const Blobs&) override {
    classes_ = fields_.integer("num_classes", 20);
    least_ = fields_.number("confidence_threshold", 0.01f);
    overlap_ = fields_.number("nms_threshold", 0.45f);
    anchors_ = fields_.numbers("biases");
  }

  void Reshape(const Blobs&, const Blobs& top) override {
    top[0]->Reshape(std::vector<int>{1, 1, 1, 7});
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    std::vector<float> rows;
    for (int image = 0; image < bottom[0]->num(); ++image) {
      std::vector<Found> found = candidates(bottom, image), kept;
      std::stable_sort(found.begin(), found.end(),
                       [](const Found& a, const Found& b) { return a.score > b.score; });
      std::vector<std::vector<Box>> of_label(classes_);
      for (const Found& one : found) {
        std::vector<Box>& boxes = of_label[one.label];
        if (std::all_of(boxes.begin(), boxes.end(),
                        [&](const Box& other) { return overlap(other, one.box) <= overlap_; })) {
          boxes.push_back(one.box);
          kept.push_back(one);
        }
      }
      for (const Found& one : kept) {
        const float row[7] = {float(image), float(one.label + 1), one.score,  one.box.x1,
                              one.box.y1,   one.box.x2,           one.box.y2};
        rows.insert(rows.end(), row, row + 7);
      }
    }
    if (rows.empty()) /* no blob is empty: a row of -1 for each image */
      for (int image = 0; image < bottom[0]->num(); ++image) {
        rows.push_back(float(image));
        rows.insert(rows.end(), 6, -1.f);
      }
    top[0]->Reshape(std::vector<int>{1, 1, int(rows.size() / 7), 7});
    std::copy(rows.begin(), rows.end(), top[0]->mutable_cpu_data());
  }

  /* The forks have none either. */
  void Backward_cpu(const Blobs&, const Wanted&, const Blobs&) override { NOT_IMPLEMENTED; }

  /* Without values every place would have a box of every class. */
  bool is_box(float score) const { return score > least_ && !is_memory_only(); }

  virtual std::vector<Found> candidates(const Blobs& bottom, int image) = 0;

  /* `value` is the first of a box's values at a place; the others follow a map apart. */
  Box box_at(const float* value, int map, int column, int row, int columns, int rows, float wide,
             float high) const {
    const float x = (float(column) + sigmoid(value[0])) / float(columns);
    const float y = (float(row) + sigmoid(value[map])) / float(rows);
    const float width = std::exp(value[2 * map]) * wide;
    const float height = std::exp(value[3 * map]) * high;
    return Box{x - width / 2, y - height / 2, x + width / 2, y + height / 2};
  }

  int classes_;
  float least_, overlap_;
  std::vector<float> anchors_; /* width, height, width, height, ... */
};

/* YOLO 2: anchors in cells, a softmax over the classes, the best class of each box. */
class YoloDetectionOutput : public YoloHead {
 public:
  using YoloHead::YoloHead;

 protected:
  std::vector<Found> candidates(const Blobs& bottom, int image) override {
    std::vector<Found> found;
    for (const Blob* one : bottom) find(*one, image, &found);
    return found;
  }

 private:
  void find(const Blob& bottom, int image, std::vector<Found>* found) const {
    const int boxes = fields_.integer("num_box", 5), rows = bottom.height();
    const int columns = bottom.width(), map = rows * columns, values = 5 + classes_;
    CHECK_EQ(bottom.channels(), boxes * values) << "num_box * (5 + num_classes)";
    CHECK_EQ(int(anchors_.size()), 2 * boxes) << "biases: two for each box";
    for (int place = 0; place < map; ++place)
      for (int box = 0; box < boxes; ++box) {
        const float* value = bottom.cpu_data() + bottom.offset(image, box * values) + place;
        const float* scores = value + 5 * map;
        int best = 0;
        float sum = 0;
        for (int c = 1; c < classes_; ++c)
          if (scores[c * map] > scores[best * map]) best = c;
        for (int c = 0; c < classes_; ++c) sum += std::exp(scores[c * map] - scores[best * map]);
        const float score = sigmoid(value[4 * map]) / sum;
        if (is_box(score))
          found->push_back(Found{score, best,
                                 box_at(value, map, place % columns, place / columns, columns, rows,
                                        anchors_[2 * box] / float(columns),
                                        anchors_[2 * box + 1] / float(rows))});
      }
  }
};

/* YOLO 3: several bottoms, anchors in pixels, a sigmoid for each class. */
class Yolov3DetectionOutput : public YoloHead {
 public:
  using YoloHead::YoloHead;

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    YoloHead::Reshape(bottom, top);
    /* The forks keep the activations of the largest bottom. */
    for (const Blob* one : bottom)
      if (one->count() > activated_.count()) activated_.ReshapeLike(*one);
  }

  std::vector<Found> candidates(const Blobs& bottom, int image) override {
    const std::vector<float> masks = fields_.numbers("mask"), scales = fields_.numbers("anchors_scale");
    const int boxes = fields_.integer("num_box", 3), values = 5 + classes_;
    CHECK_EQ(scales.size(), bottom.size()) << "anchors_scale: one for each bottom";
    CHECK_EQ(masks.size(), bottom.size() * boxes) << "mask: num_box for each bottom";
    std::vector<Found> found;
    for (size_t b = 0; b < bottom.size(); ++b) {
      const int rows = bottom[b]->height(), columns = bottom[b]->width(), map = rows * columns;
      CHECK_EQ(bottom[b]->channels(), boxes * values) << "num_box * (5 + num_classes)";
      activated_.ReshapeLike(*bottom[b]);
      float* activated = activated_.mutable_cpu_data();
      for (int place = 0; place < map; ++place)
        for (int box = 0; box < boxes; ++box) {
          const int at = bottom[b]->offset(image, box * values) + place;
          const float* value = bottom[b]->cpu_data() + at;
          for (int v = 0; v < values; ++v)
            activated[at + v * map] = v == 2 || v == 3 ? value[v * map] : sigmoid(value[v * map]);
          const size_t anchor = 2 * size_t(masks[b * boxes + box]);
          CHECK_LT(anchor + 1, anchors_.size()) << "mask is beyond biases";
          const Box where = box_at(value, map, place % columns, place / columns, columns, rows,
                                   anchors_[anchor] / (float(columns) * scales[b]),
                                   anchors_[anchor + 1] / (float(rows) * scales[b]));
          for (int c = 0; c < classes_; ++c) {
            const float score = activated[at + 4 * map] * activated[at + (5 + c) * map];
            if (is_box(score)) found.push_back(Found{score, c, where});
          }
        }
    }
    return found;
  }

 private:
  Blob activated_;
};

static Registration<YoloDetectionOutput> yolo_2("YoloDetectionOutput");
static Registration<Yolov3DetectionOutput> yolo_3("Yolov3DetectionOutput");

}  // namespace pibench

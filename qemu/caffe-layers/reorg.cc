/*
 * Reorg of YOLO 2 (arXiv 1612.08242): places of a stride x stride block become channels. Darknet
 * reads the bottom as a map of channels / stride^2, each stride times as high and wide.
 */
#include "layer.h"

namespace pibench {

class Reorg : public Rearrangement {
 public:
  using Rearrangement::Rearrangement;

 protected:
  std::vector<int> shape_of(const Blob& bottom) const override {
    const int stride = fields_.integer("stride", 1);
    return std::vector<int>{bottom.num(), bottom.channels() * stride * stride,
                            bottom.height() / stride, bottom.width() / stride};
  }

  int from(const Blob& bottom, const Blob&, int i) const override {
    const int stride = fields_.integer("stride", 1), image = bottom.count(1), j = i % image;
    const int width = bottom.width(), height = bottom.height();
    const int x = j % width, y = j / width % height, c = j / (width * height);
    const int deep = bottom.channels() / (stride * stride), offset = c / deep;
    const int row = (c % deep) * height * stride + y * stride + offset / stride;
    return i / image * image + row * width * stride + x * stride + offset % stride;
  }
};

static Registration<Reorg> reorg("Reorg");

}  // namespace pibench

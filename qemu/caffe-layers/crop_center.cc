/* CropCenter: cuts crop_size values off both ends of each axis. */
#include "layer.h"

namespace pibench {

class CropCenter : public Rearrangement {
 public:
  using Rearrangement::Rearrangement;

 protected:
  std::vector<int> shape_of(const Blob& bottom) const override {
    const std::vector<float> cuts = fields_.numbers("crop_size");
    CHECK_EQ(int(cuts.size()), bottom.num_axes()) << "crop_size: one for each axis";
    std::vector<int> shape = bottom.shape();
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      shape[axis] -= 2 * int(cuts[axis]);
      CHECK_GT(shape[axis], 0) << "crop_size leaves nothing of axis " << axis;
    }
    return shape;
  }

  int from(const Blob& bottom, const Blob& top, int i) const override {
    const std::vector<float> cuts = fields_.numbers("crop_size");
    int index = 0;
    for (int axis = 0; axis < top.num_axes(); ++axis) {
      const int inner = top.count(axis + 1);
      index += (i / inner + int(cuts[axis])) * bottom.count(axis + 1);
      i %= inner;
    }
    return index;
  }
};

static Registration<CropCenter> crop_center("CropCenter");

}  // namespace pibench

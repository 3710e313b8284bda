/* ShuffleChannel of ShuffleNet (arXiv 1707.01083): takes one channel of each group in turn. */
#include "layer.h"

namespace pibench {

class ShuffleChannel : public Rearrangement {
 public:
  using Rearrangement::Rearrangement;

 protected:
  int from(const Blob& bottom, const Blob&, int i) const override {
    const int channels = bottom.shape(1), places = bottom.count(2);
    const int groups = fields_.integer("group", 1), each = channels / groups;
    const int image = i / (channels * places), c = i / places % channels;
    return (image * channels + c % groups * each + c / groups) * places + i % places;
  }
};

static Registration<ShuffleChannel> shuffle_channel("ShuffleChannel");

}  // namespace pibench

/* Reverse: an axis, by default the first, from its end to its start. */
#include "layer.h"

namespace pibench {

class Reverse : public Rearrangement {
 public:
  using Rearrangement::Rearrangement;

 protected:
  int from(const Blob& bottom, const Blob&, int i) const override {
    const int axis = fields_.integer("axis", 0), size = bottom.shape(axis);
    const int inner = bottom.count(axis + 1), at = i / inner % size;
    return i + (size - 1 - 2 * at) * inner;
  }
};

static Registration<Reverse> reverse("Reverse");

}  // namespace pibench

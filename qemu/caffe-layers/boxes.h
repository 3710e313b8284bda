/* Boxes of detectors by their corners, and the suppression of those that overlap. */
#pragma once

#include "layer.h"

namespace pibench {

struct Box {
  float x1, y1, x2, y2;
};

/* `extra` is 1 where corners are pixels that belong to the box, as in R-CNN, and 0 otherwise. */
inline float area(const Box& box, float extra = 0) {
  if (box.x2 < box.x1 || box.y2 < box.y1) return 0;
  return (box.x2 - box.x1 + extra) * (box.y2 - box.y1 + extra);
}

/* The image that a region is of: its first number. */
inline int image_of(const float* region, int images) {
  const int image = is_memory_only() ? 0 : int(region[0]);
  CHECK(image >= 0 && image < images) << "a region is of image " << region[0] << " of " << images;
  return image;
}

/* Intersection over union. */
inline float overlap(const Box& a, const Box& b, float extra = 0) {
  if (b.x1 > a.x2 || b.x2 < a.x1 || b.y1 > a.y2 || b.y2 < a.y1) return 0;
  const Box both = {std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2),
                    std::min(a.y2, b.y2)};
  const float shared = area(both, extra);
  return shared / (area(a, extra) + area(b, extra) - shared);
}

}  // namespace pibench

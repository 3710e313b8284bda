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

/*
 * The image that a region is of: its first number. The forks end at one that there is not; here it
 * counts as the nearest, since inputs are random numbers.
 */
inline int image_of(const float* region, int images) {
  return region[0] >= 1 ? int(std::min(region[0], float(images - 1))) : 0;
}

/* A candidate, and its number among them. */
struct Scored {
  float score;
  int number;
  Box box;
};

/* Leaves the best, the earlier one of equals first; needs no memory. At most `most`, if not 0. */
template <class Candidate>
void keep_best(std::vector<Candidate>* found, int most) {
  const size_t kept = most > 0 ? std::min(found->size(), size_t(most)) : found->size();
  /* Unlike std::sort, it stays within the vector where scores are no numbers. */
  std::partial_sort(found->begin(), found->begin() + kept, found->end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.score > b.score || (a.score == b.score && a.number < b.number);
                    });
  found->resize(kept);
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

/*
 * Normalize of the SSD fork, from ParseNet (arXiv 1506.04579): divides by the L2 norm of the
 * channels at each place, or of the whole image, and scales each channel.
 */
#include "layer.h"

namespace pibench {

class Normalize : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs&) override {
    whole_ = fields_.flag("across_spatial", true);
    shared_ = fields_.flag("channel_shared", true);
    epsilon_ = fields_.number("eps", 1e-10f);
    if (!blobs_.empty()) return;
    const std::vector<int> shape(shared_ ? 0 : 1, bottom[0]->channels());
    blobs_.resize(1);
    blobs_[0].reset(new Blob(shape));
    fields_.fill("scale_filler", 1.f, blobs_[0].get());
    param_propagate_down_.resize(1, true);
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->ReshapeLike(*bottom[0]);
    norms_.Reshape(bottom[0]->num(), 1, whole_ ? 1 : bottom[0]->height(),
                   whole_ ? 1 : bottom[0]->width());
    squares_.Reshape(1, bottom[0]->channels(), bottom[0]->height(), bottom[0]->width());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int channels = bottom[0]->channels(), places = bottom[0]->count(2);
    const float* scale = blobs_[0]->cpu_data();
    for (int image = 0; image < bottom[0]->num(); ++image) {
      const float* x = bottom[0]->cpu_data() + bottom[0]->offset(image);
      float* y = top[0]->mutable_cpu_data() + bottom[0]->offset(image);
      float* norm = norms_.mutable_cpu_data() + norms_.offset(image);
      float* square = squares_.mutable_cpu_data();
      for (int i = 0; i < channels * places; ++i) square[i] = x[i] * x[i];
      std::fill(norm, norm + norms_.count(1), epsilon_);
      for (int i = 0; i < channels * places; ++i) norm[whole_ ? 0 : i % places] += square[i];
      for (int i = 0; i < norms_.count(1); ++i) norm[i] = std::sqrt(norm[i]);
      for (int i = 0; i < channels * places; ++i)
        y[i] = x[i] / norm[whole_ ? 0 : i % places] * scale[shared_ ? 0 : i / places];
    }
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    const int channels = bottom[0]->channels(), places = bottom[0]->count(2);
    const float* scale = blobs_[0]->cpu_data();
    for (int image = 0; image < bottom[0]->num(); ++image) {
      const float* x = bottom[0]->cpu_data() + bottom[0]->offset(image);
      const float* dy = top[0]->cpu_diff() + bottom[0]->offset(image);
      const float* norm = norms_.cpu_data() + norms_.offset(image);
      if (param_propagate_down_[0]) {
        float* dscale = blobs_[0]->mutable_cpu_diff();
        for (int i = 0; i < channels * places; ++i)
          dscale[shared_ ? 0 : i / places] += dy[i] * x[i] / norm[whole_ ? 0 : i % places];
      }
      if (!wanted[0]) continue;
      float* dx = bottom[0]->mutable_cpu_diff() + bottom[0]->offset(image);
      std::vector<float> dot(norms_.count(1), 0.f);
      for (int i = 0; i < channels * places; ++i)
        dot[whole_ ? 0 : i % places] += scale[shared_ ? 0 : i / places] * dy[i] * x[i];
      for (int i = 0; i < channels * places; ++i) {
        const int place = whole_ ? 0 : i % places;
        dx[i] = scale[shared_ ? 0 : i / places] * dy[i] / norm[place] -
                x[i] * dot[place] / std::pow(norm[place], 3.f);
      }
    }
  }

 private:
  bool whole_, shared_;
  float epsilon_;
  Blob norms_, squares_; /* the fork has a buffer of an image too */
};

static Registration<Normalize> normalize("Normalize");

}  // namespace pibench

/*
 * BN of two families of forks: SegNet's (scale and shift; with bn_mode INFERENCE they hold the
 * statistics too) and that of PSPNet (slope, bias, mean and variance).
 */
#include "layer.h"

namespace pibench {

class BN : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs&) override {
    const bool segnet =
        fields_.has("bn_mode") || fields_.has("scale_filler") || fields_.has("shift_filler");
    is_folded_ = segnet && fields_.word("bn_mode", "LEARN") == "INFERENCE";
    uses_stored_ = !segnet && (fields_.flag("frozen", false) || phase_ == caffe::TEST);
    epsilon_ = segnet ? 1e-9 : fields_.number("eps", 1e-5f);
    if (blobs_.empty()) {
      blobs_.resize(segnet ? 2 : 4);
      for (auto& blob : blobs_) blob.reset(new Blob(1, bottom[0]->channels(), 1, 1));
      fields_.fill(segnet ? "scale_filler" : "slope_filler", 1.f, blobs_[0].get());
      fields_.fill(segnet ? "shift_filler" : "bias_filler", 0.f, blobs_[1].get());
      if (!segnet) {
        fields_.fill("mean", 0.f, blobs_[2].get());
        fields_.fill("variance", 1.f, blobs_[3].get());
      }
    }
    param_propagate_down_.resize(blobs_.size(), true);
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->ReshapeLike(*bottom[0]);
    normal_.ReshapeLike(*bottom[0]);
    broadcast_.ReshapeLike(*bottom[0]);
    deviation_.resize(bottom[0]->channels());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int channels = bottom[0]->channels(), places = bottom[0]->count(2);
    const float* x = bottom[0]->cpu_data();
    float *y = top[0]->mutable_cpu_data(), *normal = normal_.mutable_cpu_data();
    float* broadcast = broadcast_.mutable_cpu_data();
    const float *scale = blobs_[0]->cpu_data(), *shift = blobs_[1]->cpu_data();
    for (int c = 0; c < channels; ++c) {
      double mean = 0, variance = 1;
      if (uses_stored_) {
        mean = blobs_[2]->cpu_data()[c];
        variance = blobs_[3]->cpu_data()[c];
      } else if (!is_folded_) {
        const int values = bottom[0]->num() * places;
        double squares = 0;
        each(*bottom[0], c, [&](int i) { mean += x[i]; });
        mean /= values;
        each(*bottom[0], c, [&](int i) { squares += (x[i] - mean) * (x[i] - mean); });
        variance = squares / values;
      }
      deviation_[c] = is_folded_ ? 1 : std::sqrt(variance + epsilon_);
      each(*bottom[0], c, [&](int i) {
        normal[i] = float((x[i] - mean) / deviation_[c]);
        broadcast[i] = shift[c];
        y[i] = normal[i] * scale[c] + broadcast[i];
      });
    }
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    const float *dy = top[0]->cpu_diff(), *normal = normal_.cpu_data();
    const float* scale = blobs_[0]->cpu_data();
    const double values = double(bottom[0]->num()) * bottom[0]->count(2);
    float* dx = wanted[0] ? bottom[0]->mutable_cpu_diff() : NULL;
    for (int c = 0; c < bottom[0]->channels(); ++c) {
      double sum = 0, product = 0;
      each(*bottom[0], c, [&](int i) {
        sum += dy[i];
        product += dy[i] * normal[i];
      });
      if (param_propagate_down_[0]) blobs_[0]->mutable_cpu_diff()[c] += float(product);
      if (param_propagate_down_[1]) blobs_[1]->mutable_cpu_diff()[c] += float(sum);
      if (!dx) continue;
      const bool by_batch = !uses_stored_ && !is_folded_;
      const double a = by_batch ? sum / values : 0, b = by_batch ? product / values : 0;
      each(*bottom[0], c, [&](int i) {
        dx[i] = float(scale[c] / deviation_[c] * (dy[i] - a - normal[i] * b));
      });
    }
  }

 private:
  /* Calls `act` with the index of each value of a channel, over all images. */
  template <typename Act>
  static void each(const Blob& blob, int channel, Act act) {
    const int places = blob.count(2);
    for (int image = 0; image < blob.num(); ++image) {
      const int start = (image * blob.channels() + channel) * places;
      for (int i = start; i < start + places; ++i) act(i);
    }
  }

  bool is_folded_, uses_stored_;
  double epsilon_;
  std::vector<double> deviation_;
  Blob normal_, broadcast_; /* the forks have both */
};

static Registration<BN> bn("BN");

}  // namespace pibench

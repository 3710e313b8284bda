/* Activations that stock Caffe does not have: y = f(x), in place where the network says so. */
#include "layer.h"

namespace pibench {

/* F is made of the layer's fields. It has value(x), and slope(x) for the backward pass. */
template <class F>
class Activation : public ForkLayer {
 public:
  explicit Activation(const caffe::LayerParameter& layer) : ForkLayer(layer), f_(fields_) {}

 protected:
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->ReshapeLike(*bottom[0]);
    /* In place, the input is gone when the backward pass needs it. */
    if (bottom[0] == top[0]) input_.ReshapeLike(*bottom[0]);
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int count = bottom[0]->count();
    const float* x = bottom[0]->cpu_data();
    if (F::keeps_input && bottom[0] == top[0])
      std::copy(x, x + count, input_.mutable_cpu_data());
    float* y = top[0]->mutable_cpu_data();
    for (int i = 0; i < count; ++i) y[i] = f_.value(x[i]);
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const bool is_kept = F::keeps_input && bottom[0] == top[0];
    const float* x = is_kept ? input_.cpu_data() : bottom[0]->cpu_data();
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    for (int i = 0; i < bottom[0]->count(); ++i) dx[i] = dy[i] * f_.slope(x[i]);
  }

 private:
  const F f_;
  Blob input_;
};

inline float clip(float x, float least, float most) { return std::min(std::max(x, least), most); }

/*
 * ReLU6 of MobileNet (arXiv 1704.04861), BReLU of DehazeNet (arXiv 1601.07661). The slope can be read
 * off the output.
 */
struct Bounded {
  static const bool keeps_input = false;
  explicit Bounded(const Fields& fields)
      : least_(fields.number("minval", 0)),
        most_(fields.number("maxval", fields.number("threshold", 6))) {}
  float value(float x) const { return clip(x, least_, most_); }
  float slope(float x) const { return x > least_ && x < most_ ? 1.f : 0.f; }

 private:
  float least_, most_;
};

/* MobileNet V3 (arXiv 1905.02244). */
struct HardSigmoid {
  static const bool keeps_input = true;
  explicit HardSigmoid(const Fields&) {}
  static float value(float x) { return clip(x + 3, 0, 6) / 6; }
  static float slope(float x) { return x > -3 && x < 3 ? 1.f / 6 : 0.f; }
};

struct HardSwish {
  static const bool keeps_input = true;
  explicit HardSwish(const Fields&) {}
  static float value(float x) { return x * clip(x + 3, 0, 6) / 6; }
  static float slope(float x) { return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6; }
};

/* arXiv 1908.08681: x tanh(log(1 + e^x)). */
struct Mish {
  static const bool keeps_input = true;
  explicit Mish(const Fields&) {}
  static float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }
  static float value(float x) { return x * std::tanh(softplus(x)); }
  static float slope(float x) {
    const float t = std::tanh(softplus(x)), sigmoid = 1 / (1 + std::exp(-x));
    return t + x * sigmoid * (1 - t * t);
  }
};

static Registration<Activation<Bounded>> relu6("ReLU6"), brelu("BReLU");
static Registration<Activation<HardSigmoid>> hard_sigmoid("HardSigmoid");
static Registration<Activation<HardSwish>> hard_swish("HardSwish");
static Registration<Activation<Mish>> mish("Mish");

}  // namespace pibench

/*
 * What the layers of Caffe's forks share: how they read their fields, and how they enter the
 * registry of the stock Caffe that preloads this library.
 *
 * Stock Caffe cannot read a fork's own parameter message. So pibench writes its text into
 * `python_param`, which only a layer of type Python reads otherwise, in the regular form of
 * protobuf's text on one line:
 *
 *     detection_output_param { nms_param { top_k: 400 } keep_top_k: 200 }
 *     python_param { param_str: "nms_param { top_k: 400 } keep_top_k: 200" }
 */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "caffe/layer.hpp"
#include "caffe/layer_factory.hpp"

namespace pibench {

typedef caffe::Blob<float> Blob;
typedef std::vector<Blob*> Blobs;
typedef std::vector<bool> Wanted; /* of which bottoms the diff is wanted */

class Fields {
 public:
  explicit Fields(const caffe::LayerParameter& layer);

  bool has(const std::string& name) const { return find(name) != NULL; }

  /* The last value of a field, as protobuf takes it. */
  std::string word(const std::string& name, const std::string& otherwise) const;
  float number(const std::string& name, float otherwise) const;
  int integer(const std::string& name, int otherwise) const;
  bool flag(const std::string& name, bool otherwise) const;

  /* All values of a repeated field. */
  std::vector<float> numbers(const std::string& name) const;

  /* Fills a blob as a FillerParameter of that name says, by default with a constant. */
  void fill(const std::string& name, float otherwise, Blob* blob) const;

 private:
  const std::string* find(const std::string& name) const;
  std::vector<std::pair<std::string, std::string>> fields_;
};

/*
 * Whether products and loops are left out (memory-only compute, qemu/blas): values then mean
 * nothing, so that no layer may end because of them, or become small.
 */
inline bool is_memory_only() { return getenv("PIBENCH_BLAS_REPORT") != NULL; }

class ForkLayer : public caffe::Layer<float> {
 public:
  explicit ForkLayer(const caffe::LayerParameter& layer)
      : caffe::Layer<float>(layer), fields_(layer) {}
  const char* type() const override { return layer_param_.type().c_str(); }

 protected:
  const Fields fields_;
};

/* A layer whose every output is one of its inputs: from() says which. */
class Rearrangement : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  virtual std::vector<int> shape_of(const Blob& bottom) const { return bottom.shape(); }
  virtual int from(const Blob& bottom, const Blob& top, int i) const = 0;

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->Reshape(shape_of(*bottom[0]));
  }
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    for (int i = 0; i < top[0]->count(); ++i) y[i] = x[from(*bottom[0], *top[0], i)];
  }
  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    if (!wanted[0]) return;
    const float* dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    std::fill(dx, dx + bottom[0]->count(), 0.f);
    for (int i = 0; i < top[0]->count(); ++i) dx[from(*bottom[0], *top[0], i)] += dy[i];
  }
};

/* Enters a type into the registry, where Caffe has none of that name: it aborts at a second one. */
template <class L>
struct Registration {
  explicit Registration(const char* type) {
    if (!caffe::LayerRegistry<float>::Registry().count(type))
      caffe::LayerRegistry<float>::AddCreator(type, create);
  }
  static boost::shared_ptr<caffe::Layer<float>> create(const caffe::LayerParameter& layer) {
    return boost::shared_ptr<caffe::Layer<float>>(new L(layer));
  }
};

}  // namespace pibench

/*
 * Lstm of text recognition forks: one layer for a whole sequence of T steps x N x inputs, with gates
 * in the order input, forget, output, candidate. A second bottom says where sequences go on.
 */
#include "caffe/util/math_functions.hpp"

#include "layer.h"

namespace pibench {

class Lstm : public ForkLayer {
 public:
  using ForkLayer::ForkLayer;

 protected:
  void LayerSetUp(const Blobs& bottom, const Blobs&) override {
    hidden_ = fields_.integer("num_output", 0);
    inputs_ = bottom[0]->shape(2);
    CHECK_GT(hidden_, 0) << "num_output is missing";
    if (!blobs_.empty()) return;
    for (const std::vector<int>& shape :
         {std::vector<int>{4 * hidden_, inputs_}, std::vector<int>{4 * hidden_, hidden_},
          std::vector<int>{4 * hidden_}})
      blobs_.push_back(boost::shared_ptr<Blob>(new Blob(shape)));
    for (int i = 0; i < 3; ++i) fields_.fill(i < 2 ? "weight_filler" : "bias_filler", 0, blobs_[i].get());
    param_propagate_down_.assign(3, true);
  }

  void Reshape(const Blobs& bottom, const Blobs& top) override {
    steps_ = bottom[0]->shape(0);
    batch_ = bottom[0]->shape(1);
    CHECK_EQ(bottom[0]->count(2), inputs_) << "inputs of each step";
    if (bottom.size() > 1) CHECK_EQ(bottom[1]->count(), steps_ * batch_) << "a mark for each step";
    const std::vector<int> whole = {steps_, batch_, hidden_}, state = {batch_, hidden_};
    top[0]->Reshape(whole);
    cell_.Reshape(whole);
    for (Blob* gates : {&before_, &gate_}) gates->Reshape({steps_, batch_, 4, hidden_});
    for (Blob* blob : {&first_cell_, &first_, &last_cell_, &last_, &moved_}) blob->Reshape(state);
    from_hidden_.Reshape({batch_, 4, hidden_});
    ones_.Reshape({steps_ * batch_});
    caffe::caffe_set(ones_.count(), 1.f, ones_.mutable_cpu_data());
  }

  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    const int state = batch_ * hidden_, rows = steps_ * batch_;
    const float* marks = bottom.size() > 1 ? bottom[1]->cpu_data() : NULL;
    float *y = top[0]->mutable_cpu_data(), *cell = cell_.mutable_cpu_data();
    float *before = before_.mutable_cpu_data(), *gate = gate_.mutable_cpu_data();
    float* from_hidden = from_hidden_.mutable_cpu_data();
    start(&first_cell_, &last_cell_, marks);
    start(&first_, &last_, marks);
    caffe::caffe_cpu_gemm<float>(CblasNoTrans, CblasTrans, rows, 4 * hidden_, inputs_, 1,
                                 bottom[0]->cpu_data(), blobs_[0]->cpu_data(), 0, before);
    caffe::caffe_cpu_gemm<float>(CblasNoTrans, CblasNoTrans, rows, 4 * hidden_, 1, 1,
                                 ones_.cpu_data(), blobs_[2]->cpu_data(), 1, before);
    for (int t = 0; t < steps_; ++t) {
      const float* hidden = t ? y + (t - 1) * state : first_.cpu_data();
      const float* old_cell = t ? cell + (t - 1) * state : first_cell_.cpu_data();
      caffe::caffe_cpu_gemm<float>(CblasNoTrans, CblasTrans, batch_, 4 * hidden_, hidden_, 1, hidden,
                                   blobs_[1]->cpu_data(), 0, from_hidden);
      for (int n = 0; n < batch_; ++n) {
        const bool goes_on = continues(marks, t, n);
        const int row = t * batch_ + n;
        float *in = before + 4 * hidden_ * row, *out = gate + 4 * hidden_ * row;
        if (goes_on)
          for (int i = 0; i < 4 * hidden_; ++i) in[i] += from_hidden[4 * hidden_ * n + i];
        for (int d = 0; d < hidden_; ++d) {
          out[d] = sigmoid(in[d]);
          out[hidden_ + d] = goes_on ? sigmoid(in[hidden_ + d]) : 0;
          out[2 * hidden_ + d] = sigmoid(in[2 * hidden_ + d]);
          out[3 * hidden_ + d] = std::tanh(in[3 * hidden_ + d]);
          const float now =
              out[hidden_ + d] * old_cell[n * hidden_ + d] + out[d] * out[3 * hidden_ + d];
          cell[row * hidden_ + d] = now;
          y[row * hidden_ + d] = out[2 * hidden_ + d] * std::tanh(now);
        }
      }
    }
    const int last = (steps_ - 1) * state;
    caffe::caffe_copy(state, cell + last, last_cell_.mutable_cpu_data());
    caffe::caffe_copy(state, y + last, last_.mutable_cpu_data());
  }

  void Backward_cpu(const Blobs& top, const Wanted& wanted, const Blobs& bottom) override {
    const int state = batch_ * hidden_, rows = steps_ * batch_;
    const float* marks = bottom.size() > 1 ? bottom[1]->cpu_data() : NULL;
    const float *gate = gate_.cpu_data(), *cell = cell_.cpu_data(), *y = top[0]->cpu_data();
    float *dy = top[0]->mutable_cpu_diff(), *dbefore = before_.mutable_cpu_diff();
    float *dgate = gate_.mutable_cpu_diff(), *dcell = cell_.mutable_cpu_diff();
    caffe::caffe_set(rows * hidden_, 0.f, dcell);
    caffe::caffe_copy(state, last_cell_.cpu_diff(), dcell + (steps_ - 1) * state);
    for (int t = steps_ - 1; t >= 0; --t) {
      float* dhidden = t ? dy + (t - 1) * state : first_.mutable_cpu_diff();
      float* dold = t ? dcell + (t - 1) * state : first_cell_.mutable_cpu_diff();
      const float* old_cell = t ? cell + (t - 1) * state : first_cell_.cpu_data();
      for (int n = 0; n < batch_; ++n) {
        const bool goes_on = continues(marks, t, n);
        const int row = t * batch_ + n;
        const float* g = gate + 4 * hidden_ * row;
        float *dg = dgate + 4 * hidden_ * row, *db = dbefore + 4 * hidden_ * row;
        for (int d = 0; d < hidden_; ++d) {
          const float squashed = std::tanh(cell[row * hidden_ + d]), dout = dy[row * hidden_ + d];
          dcell[row * hidden_ + d] += dout * g[2 * hidden_ + d] * (1 - squashed * squashed);
          const float dc = dcell[row * hidden_ + d];
          dold[n * hidden_ + d] = goes_on ? dc * g[hidden_ + d] : 0;
          dg[d] = dc * g[3 * hidden_ + d];
          dg[hidden_ + d] = goes_on ? dc * old_cell[n * hidden_ + d] : 0;
          dg[2 * hidden_ + d] = dout * squashed;
          dg[3 * hidden_ + d] = dc * g[d];
          for (int k = 0; k < 3; ++k)
            db[k * hidden_ + d] =
                dg[k * hidden_ + d] * g[k * hidden_ + d] * (1 - g[k * hidden_ + d]);
          db[3 * hidden_ + d] =
              dg[3 * hidden_ + d] * (1 - g[3 * hidden_ + d] * g[3 * hidden_ + d]);
        }
        const float most = fields_.number("clipping_threshold", 0);
        if (most > 0)
          for (int i = 0; i < 4 * hidden_; ++i) db[i] = std::min(std::max(db[i], -most), most);
      }
      caffe::caffe_cpu_gemm<float>(CblasNoTrans, CblasNoTrans, batch_, hidden_, 4 * hidden_, 1,
                                   dbefore + 4 * t * state, blobs_[1]->cpu_data(), 0,
                                   moved_.mutable_cpu_data());
      for (int n = 0; n < batch_; ++n)
        if (continues(marks, t, n))
          for (int d = 0; d < hidden_; ++d)
            dhidden[n * hidden_ + d] += moved_.cpu_data()[n * hidden_ + d];
    }
    if (param_propagate_down_[0])
      caffe::caffe_cpu_gemm<float>(CblasTrans, CblasNoTrans, 4 * hidden_, inputs_, rows, 1, dbefore,
                                   bottom[0]->cpu_data(), 1, blobs_[0]->mutable_cpu_diff());
    if (param_propagate_down_[1]) {
      caffe::caffe_cpu_gemm<float>(CblasTrans, CblasNoTrans, 4 * hidden_, hidden_, rows - batch_, 1,
                                   dbefore + 4 * state, y, 1, blobs_[1]->mutable_cpu_diff());
      caffe::caffe_cpu_gemm<float>(CblasTrans, CblasNoTrans, 4 * hidden_, hidden_, batch_, 1, dbefore,
                                   first_.cpu_data(), 1, blobs_[1]->mutable_cpu_diff());
    }
    if (param_propagate_down_[2])
      caffe::caffe_cpu_gemv<float>(CblasTrans, rows, 4 * hidden_, 1, dbefore, ones_.cpu_data(), 1,
                                   blobs_[2]->mutable_cpu_diff());
    if (wanted[0])
      caffe::caffe_cpu_gemm<float>(CblasNoTrans, CblasNoTrans, rows, inputs_, 4 * hidden_, 1, dbefore,
                                   blobs_[0]->cpu_data(), 0, bottom[0]->mutable_cpu_diff());
  }

 private:
  static float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

  bool continues(const float* marks, int step, int n) const {
    return marks ? marks[step * batch_ + n] != 0 : step > 0;
  }

  /* A sequence that goes on starts where the last pass ended. */
  static void start(Blob* first, Blob* last, const float* marks) {
    if (marks)
      caffe::caffe_copy(first->count(), last->cpu_data(), first->mutable_cpu_data());
    else
      caffe::caffe_set(first->count(), 0.f, first->mutable_cpu_data());
  }

  int hidden_, inputs_, steps_, batch_;
  Blob before_, gate_, cell_; /* of each step: gates before and after their functions, cells */
  Blob first_, first_cell_, last_, last_cell_, from_hidden_, moved_, ones_;
};

static Registration<Lstm> lstm("Lstm");

}  // namespace pibench

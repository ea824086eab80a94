#pragma once

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "common/direction/cuda/direction_cuda.h"

// A llama of 1.1 B random bfloat16 weights (22 layers of TinyLlama's sizes) for benchmarks on a
// GPU, whose weights may come from where they are stored or be moved as they are read.

namespace rivulet::bench {

inline void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}
inline void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

inline constexpr int64_t kHidden = 2048, kInner = 5632, kHeads = 32, kKvHeads = 4, kHead = 64,
                         kVocabulary = 32000, kChunk = 8000, kChunks = kVocabulary / kChunk,
                         kKv = kKvHeads * kHead;

inline uint16_t* Cells(const at::Tensor& tensor) {
  return static_cast<uint16_t*>(tensor.data_ptr());
}
inline void* Stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// Weights that one product reads: they lie side by side, and are drawn for together.
struct Unit {
  int64_t offset = 0, size = 0;
  std::vector<DevicePart> parts;  // offsets within the unit
};

// Units in the order in which a forward pass reads them: the norms; chunks of the embedding; of
// each layer query-key-value, output, gate-up, down; chunks of the head.
struct Layout {
  explicit Layout(int64_t layer_count) : layers(layer_count) {
    uint32_t tensor = 0;
    Unit norms;
    for (int64_t norm = 0; norm < 2 * layers + 1; ++norm)
      Add(norms, {tensor++, kHidden, 1}, kHidden);
    Close(norms);
    Table(tensor++);
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const std::vector<std::pair<int64_t, int64_t>>& shapes :
           {std::vector<std::pair<int64_t, int64_t>>{
                {kHidden, kHidden}, {kKv, kHidden}, {kKv, kHidden}},
            {{kHidden, kHidden}},
            {{kInner, kHidden}, {kInner, kHidden}},
            {{kHidden, kInner}}}) {
        Unit unit;
        for (const auto& [rows, columns] : shapes) {
          Add(unit, {tensor++, rows, columns}, rows * columns);
        }
        Close(unit);
      }
    }
    Table(tensor++);
    for (const Unit& unit : units) largest = std::max(largest, unit.size);
    for (const Unit& unit : units) {
      for (DevicePart part : unit.parts) {
        part.offset += unit.offset;
        all.push_back(part);
      }
    }
  }

  int64_t layers, size = 0, largest = 0;
  std::vector<Unit> units;
  std::vector<DevicePart> all;

 private:
  void Add(Unit& unit, const TensorPart& part, int64_t count) {
    unit.parts.push_back({part, count, unit.size});
    unit.size += count;
  }
  void Close(Unit unit) {
    unit.offset = size;
    size += unit.size;
    units.push_back(std::move(unit));
  }
  void Table(uint32_t tensor) {
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      Unit unit;
      Add(unit, {tensor, kVocabulary, kHidden, chunk * kChunk * kHidden}, kChunk * kHidden);
      Close(unit);
    }
  }
};

// Where a forward pass gets its weights; units come in order.
class Source {
 public:
  virtual ~Source() = default;
  virtual at::Tensor Next() = 0;  // of the next unit, until the next call
  // Of all chunks of a table at once, or nothing where they come one after the other.
  virtual at::Tensor NextTable() { return {}; }
};

class Stored : public Source {
 public:
  Stored(const Layout& layout, const at::Tensor& flat) : flat_(flat) {
    for (const Unit& unit : layout.units) views_.push_back(flat.narrow(0, unit.offset, unit.size));
  }
  at::Tensor Next() override { return views_[next_++ % views_.size()]; }
  at::Tensor NextTable() override {
    const int64_t from = Next().storage_offset();
    next_ += kChunks - 1;
    return flat_.narrow(0, from, kVocabulary * kHidden);
  }

 private:
  at::Tensor flat_;
  std::vector<at::Tensor> views_;
  size_t next_ = 0;
};

// Weights moved along z as they are read, into a scratch of one unit: nothing is restored, because
// the base is not touched. The update of the step before, if there is one, is done on the way. With
// `ahead`, a second stream draws the next unit meanwhile, into a second scratch.
class Scratch : public Source {
 public:
  Scratch(const Layout& layout, const at::Tensor& flat, bool ahead)
      : layout_(layout), flat_(flat), ahead_(ahead), side_(c10::cuda::getStreamFromPool(true)) {
    norms_ = at::empty({layout.units[0].size}, flat.options());
    for (int slot = 0; slot < (ahead ? 2 : 1); ++slot) {
      slots_[slot] = at::empty({layout.largest}, flat.options());
      Must(cudaEventCreateWithFlags(&ready_[slot], cudaEventDisableTiming));
    }
    Must(cudaEventCreateWithFlags(&used_, cudaEventDisableTiming));
  }

  // For one forward pass at w + scale z, or what `moving` says; it must outlive the pass.
  void Start(const DirectionAddress& z, float scale, const MoveAndPerturb* moving) {
    z_ = z, scale_ = scale, moving_ = moving, next_ = 0;
    if (ahead_) Issue(0);
  }
  at::Tensor Next() override {
    const size_t unit = next_++;
    if (!ahead_) {
      Draw(unit, Stream());
    } else {
      // What the slot's last unit was for stands in the main stream by now.
      if (unit + 1 < layout_.units.size()) Issue(unit + 1);
      Must(cudaStreamWaitEvent(static_cast<cudaStream_t>(Stream()), ready_[unit % 2]));
    }
    return Slot(unit).narrow(0, 0, layout_.units[unit].size);
  }

 private:
  const at::Tensor& Slot(size_t unit) const {
    return unit == 0 ? norms_ : slots_[ahead_ ? unit % 2 : 0];
  }
  void Issue(size_t unit) {
    Must(cudaEventRecord(used_, static_cast<cudaStream_t>(Stream())));
    Must(cudaStreamWaitEvent(side_.stream(), used_));
    Draw(unit, side_.stream());
    Must(cudaEventRecord(ready_[unit % 2], side_.stream()));
  }
  void Draw(size_t index, void* stream) {
    const Unit& unit = layout_.units[index];
    uint16_t* const base = Cells(flat_) + unit.offset;
    uint16_t* const out = Cells(Slot(index));
    if (moving_ != nullptr) {
      Must(MoveAndPerturbCuda(*moving_, unit.parts, base, out, stream));
    } else {
      Must(AddDirectionCuda(z_, unit.parts, scale_, base, out, stream));
    }
  }

  const Layout& layout_;
  at::Tensor flat_, norms_, slots_[2];
  const bool ahead_;
  c10::cuda::CUDAStream side_;
  cudaEvent_t ready_[2] = {}, used_ = nullptr;
  DirectionAddress z_;
  float scale_ = 0;
  const MoveAndPerturb* moving_ = nullptr;
  size_t next_ = 0;
};

// Low-rank adapters of all products of the layers, r = 16, in one buffer: per product, A then B.
inline constexpr int64_t kRank = 16;

class Model {
 public:
  Model(const Layout& layout, int64_t batch, int64_t length)
      : layout_(layout), batch_(batch), length_(length) {
    const auto long_cuda = at::TensorOptions().dtype(at::kLong).device(at::kCUDA);
    ids_ = at::randint(kVocabulary, {batch * length}, long_cuda);
    targets_ = at::randint(kVocabulary, {batch * length}, long_cuda);
    const auto float_cuda = at::TensorOptions().dtype(at::kFloat).device(at::kCUDA);
    const at::Tensor frequency = at::pow(10000.0, at::arange(0, kHead, 2, float_cuda) / -kHead);
    const at::Tensor angle = at::outer(at::arange(length, float_cuda), frequency);
    const at::Tensor both = at::cat({angle, angle}, 1).unsqueeze(1);  // [length, 1, head]
    cosine_ = at::cos(both).to(at::kBFloat16);
    sine_ = at::sin(both).to(at::kBFloat16);
  }

  // Mean loss over all tokens, on the device. `adapters`: [] or the flat buffer of AdapterParts.
  at::Tensor Loss(Source& weights, const at::Tensor& adapters = {}) const {
    const at::Tensor norms = weights.Next().view({2 * layout_.layers + 1, kHidden});
    at::Tensor x = Embedded(weights);
    int64_t at = 0;
    for (int64_t layer = 0; layer < layout_.layers; ++layer) {
      const at::Tensor h = at::rms_norm(x, {kHidden}, norms[2 * layer], 1e-5);
      const at::Tensor qkv = Product(h, weights.Next(), kHidden, {kHidden, kKv, kKv}, adapters, at);
      const auto heads = [&](int64_t from, int64_t count) {
        return qkv.narrow(1, from, count * kHead).view({batch_, length_, count, kHead});
      };
      const at::Tensor q = Rotated(heads(0, kHeads)), k = Rotated(heads(kHidden, kKvHeads));
      const at::Tensor attended = at::scaled_dot_product_attention(
          q.transpose(1, 2), k.transpose(1, 2), heads(kHidden + kKv, kKvHeads).transpose(1, 2), {},
          0.0, true, std::nullopt, true);
      x.add_(Product(attended.transpose(1, 2).reshape({-1, kHidden}), weights.Next(), kHidden,
                     {kHidden}, adapters, at));
      const at::Tensor h2 = at::rms_norm(x, {kHidden}, norms[2 * layer + 1], 1e-5);
      const at::Tensor both = Product(h2, weights.Next(), kHidden, {kInner, kInner}, adapters, at);
      const at::Tensor gated =
          at::silu(both.narrow(1, 0, kInner)).mul_(both.narrow(1, kInner, kInner));
      x.add_(Product(gated, weights.Next(), kInner, {kHidden}, adapters, at));
    }
    return LossOf(at::rms_norm(x, {kHidden}, norms[2 * layout_.layers], 1e-5), weights);
  }

  static std::vector<DevicePart> AdapterParts(int64_t layers) {
    std::vector<DevicePart> parts;
    int64_t offset = 0;
    const auto add = [&](int64_t rows, int64_t columns) {
      parts.push_back(
          {{static_cast<uint32_t>(parts.size()), rows, columns}, rows * columns, offset});
      offset += rows * columns;
    };
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const auto& [in, outs] :
           std::vector<std::pair<int64_t, std::vector<int64_t>>>{{kHidden, {kHidden, kKv, kKv}},
                                                                 {kHidden, {kHidden}},
                                                                 {kHidden, {kInner, kInner}},
                                                                 {kInner, {kHidden}}}) {
        for (size_t map = 0; map < outs.size(); ++map) add(kRank, in);
        for (int64_t out : outs) add(out, kRank);
      }
    }
    return parts;
  }

  // Multiply-adds of the products twice, as usual; attention's are left out.
  double Flops() const {
    return 2.0 * batch_ * length_ * static_cast<double>(layout_.size - kVocabulary * kHidden);
  }

 private:
  at::Tensor Embedded(Source& weights) const {
    const at::Tensor table = weights.NextTable();
    if (table.defined()) return at::embedding(table.view({kVocabulary, kHidden}), ids_);
    at::Tensor x;
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      const at::Tensor rows = weights.Next().view({kChunk, kHidden});
      const at::Tensor local = ids_ - chunk * kChunk;
      const at::Tensor inside = at::logical_and(local >= 0, local < kChunk).unsqueeze(1);
      const at::Tensor part = at::embedding(rows, local.clamp(0, kChunk - 1)).mul_(inside);
      x = chunk == 0 ? part : x.add_(part);
    }
    return x;
  }
  // h W^T for matrices W with `outs` rows each, stacked; adapters' A are stacked too.
  at::Tensor Product(const at::Tensor& h, const at::Tensor& weight, int64_t in,
                     const std::vector<int64_t>& outs, const at::Tensor& adapters,
                     int64_t& at) const {
    at::Tensor y = at::matmul(h, weight.view({-1, in}).t());
    if (!adapters.defined()) return y;
    const int64_t maps = static_cast<int64_t>(outs.size());
    const at::Tensor a = adapters.narrow(0, at, maps * kRank * in).view({maps * kRank, in});
    at += a.numel();
    const at::Tensor low = at::matmul(h, a.t());
    int64_t from = 0;
    for (int64_t map = 0; map < maps; ++map) {
      const at::Tensor b = adapters.narrow(0, at, outs[map] * kRank).view({outs[map], kRank});
      at += b.numel();
      y.narrow(1, from, outs[map]).add_(at::matmul(low.narrow(1, map * kRank, kRank), b.t()));
      from += outs[map];
    }
    return y;
  }
  at::Tensor Rotated(const at::Tensor& heads) const {
    const at::Tensor turned =
        at::cat({heads.narrow(3, kHead / 2, kHead / 2).neg(), heads.narrow(3, 0, kHead / 2)}, 3);
    return (heads * cosine_).add_(turned.mul_(sine_));
  }
  // Over chunks of the vocabulary, so that logits in binary32 stay small.
  at::Tensor LossOf(const at::Tensor& h, Source& weights) const {
    std::vector<at::Tensor> sums;
    at::Tensor hit;
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      const at::Tensor logits =
          at::matmul(h, weights.Next().view({kChunk, kHidden}).t()).to(at::kFloat);
      sums.push_back(at::logsumexp(logits, {1}));
      const at::Tensor local = targets_ - chunk * kChunk;
      const at::Tensor inside = at::logical_and(local >= 0, local < kChunk);
      const at::Tensor picked =
          logits.gather(1, local.clamp(0, kChunk - 1).unsqueeze(1)).squeeze(1) * inside;
      hit = chunk == 0 ? picked : hit.add_(picked);
    }
    return (at::logsumexp(at::stack(sums), {0}) - hit).mean();
  }

  const Layout& layout_;
  const int64_t batch_, length_;
  at::Tensor ids_, targets_, cosine_, sine_;
};

}  // namespace rivulet::bench

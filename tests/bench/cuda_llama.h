#pragma once

#include "tests/bench/cuda_layout.h"
#include "tests/bench/cuda_rank_one.h"

// A llama of 1.1 B random bfloat16 weights for benchmarks on a GPU, whose weights may come from
// where they are stored, be moved as they are read, or stay where they are beside a direction of
// rank one.

namespace rivulet::bench {

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

  // The same batch `lanes` times over.
  Model InLanes(int64_t lanes) const {
    Model model = *this;
    model.lanes_ = lanes;
    model.batch_ = batch_ * lanes;
    model.ids_ = ids_.repeat({lanes});
    model.targets_ = targets_.repeat({lanes});
    return model;
  }

  // Mean loss over all tokens of each lane, on the device. `adapters`: [] or the flat buffer of
  // AdapterParts.
  at::Tensor Loss(Source& weights, const at::Tensor& adapters = {}) const {
    const at::Tensor norms = weights.Next().view({2 * layout_.layers + 1, kHidden});
    at::Tensor x = Embedded(weights);
    int64_t at = 0;
    for (int64_t layer = 0; layer < layout_.layers; ++layer) {
      const at::Tensor h = at::rms_norm(x, {kHidden}, norms[2 * layer], 1e-5);
      const at::Tensor qkv = Product(h, weights.Next(), kHidden, {kHidden, kKv, kKv}, adapters, at);
      x.add_(Product(Attended(qkv), weights.Next(), kHidden, {kHidden}, adapters, at));
      const at::Tensor h2 = at::rms_norm(x, {kHidden}, norms[2 * layer + 1], 1e-5);
      const at::Tensor both = Product(h2, weights.Next(), kHidden, {kInner, kInner}, adapters, at);
      x.add_(Product(Gated(both), weights.Next(), kInner, {kHidden}, adapters, at));
    }
    const at::Tensor h = at::rms_norm(x, {kHidden}, norms[2 * layout_.layers], 1e-5);
    return LossOf([&] { return at::matmul(h, weights.Next().view({kChunk, kHidden}).t()); });
  }

  // The same at w + scale z, a scale for each lane, weights and z apart.
  at::Tensor LossBeside(Source& weights, const RankOneFactors& z,
                        const std::vector<float>& scales) const {
    const Beside beside{z, scales, batch_ * length_ / lanes_};
    const int64_t count = 2 * layout_.layers + 1;
    at::Tensor norms = weights.Next().view({count, 1, kHidden});
    std::vector<at::Tensor> moved;
    for (const float scale : scales) {
      moved.push_back(at::add(norms, z.Norms().view({count, 1, kHidden}), scale));
    }
    norms = at::cat(moved, 1);  // [norms, lanes, hidden]
    at::Tensor x = at::embedding(weights.NextTable().view({kVocabulary, kHidden}), ids_);
    x.addmm_(beside.Scaled(z.TableLeft(1).index_select(0, ids_)), z.Right(1).t());
    size_t unit = 1 + kChunks;
    for (int64_t layer = 0; layer < layout_.layers; ++layer) {
      const at::Tensor h = NormOfLanes(x, norms[2 * layer]);
      const at::Tensor attended = Attended(beside.Product(h, weights.Next(), unit++));
      x.add_(beside.Product(attended, weights.Next(), unit++));
      const at::Tensor h2 = NormOfLanes(x, norms[2 * layer + 1]);
      const at::Tensor gated = Gated(beside.Product(h2, weights.Next(), unit++));
      x.add_(beside.Product(gated, weights.Next(), unit++));
    }
    const at::Tensor h = NormOfLanes(x, norms[2 * layout_.layers]);
    return LossOf([&] { return beside.Product(h, weights.Next(), unit++); });
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
  // Products with weights that stay where they are: h W^T + scale (h b) a^T, the rows of each lane
  // at its own scale.
  struct Beside {
    const RankOneFactors& z;
    const std::vector<float>& scales;
    int64_t rows;  // of a lane

    at::Tensor Scaled(const at::Tensor& low) const {
      for (size_t lane = 0; lane < scales.size(); ++lane) {
        low.narrow(0, static_cast<int64_t>(lane) * rows, rows).mul_(scales[lane]);
      }
      return low;
    }
    // The term of rank one goes in first: a product adds to what is there at the end of each tile.
    at::Tensor Product(const at::Tensor& h, const at::Tensor& weight, size_t unit) const {
      const at::Tensor low = Scaled(at::matmul(h, z.Right(unit)));
      at::Tensor y = at::matmul(low, z.Left(unit).t());
      return y.addmm_(h, weight.view({-1, h.size(1)}).t());
    }
  };

  // norms [lanes, hidden]
  at::Tensor NormOfLanes(const at::Tensor& x, const at::Tensor& norms) const {
    if (lanes_ == 1) return at::rms_norm(x, {kHidden}, norms[0], 1e-5);
    at::Tensor h = at::rms_norm(x, {kHidden}, {}, 1e-5);
    h.view({lanes_, -1, kHidden}).mul_(norms.unsqueeze(1));
    return h;
  }
  at::Tensor Attended(const at::Tensor& qkv) const {
    const auto heads = [&](int64_t from, int64_t count) {
      return qkv.narrow(1, from, count * kHead).view({batch_, length_, count, kHead});
    };
    const at::Tensor q = Rotated(heads(0, kHeads)), k = Rotated(heads(kHidden, kKvHeads));
    const at::Tensor attended = at::scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), heads(kHidden + kKv, kKvHeads).transpose(1, 2), {},
        0.0, true, std::nullopt, true);
    return attended.transpose(1, 2).reshape({-1, kHidden});
  }
  static at::Tensor Gated(const at::Tensor& both) {
    return at::silu(both.narrow(1, 0, kInner)).mul_(both.narrow(1, kInner, kInner));
  }
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
  // Over chunks of the vocabulary, which `next` gives, so that logits in binary32 stay small.
  template <typename Next>
  at::Tensor LossOf(Next next) const {
    std::vector<at::Tensor> sums;
    at::Tensor hit;
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      const at::Tensor logits = next().to(at::kFloat);
      sums.push_back(at::logsumexp(logits, {1}));
      const at::Tensor local = targets_ - chunk * kChunk;
      const at::Tensor inside = at::logical_and(local >= 0, local < kChunk);
      const at::Tensor picked =
          logits.gather(1, local.clamp(0, kChunk - 1).unsqueeze(1)).squeeze(1) * inside;
      hit = chunk == 0 ? picked : hit.add_(picked);
    }
    const at::Tensor losses = at::logsumexp(at::stack(sums), {0}) - hit;
    return lanes_ == 1 ? losses.mean() : losses.view({lanes_, -1}).mean(1);
  }

  const Layout& layout_;
  int64_t batch_, length_, lanes_ = 1;
  at::Tensor ids_, targets_, cosine_, sine_;
};

}  // namespace rivulet::bench

#pragma once

#include <algorithm>
#include <vector>

#include "common/direction/low_rank.h"
#include "tests/bench/cuda_layout.h"

// Directions of rank one over the llama of cuda_layout.h that stay outside its weights: z = a b^T
// of each matrix as two vectors of signs on the device.

namespace rivulet::bench {

// The factors of one direction for every unit, in blocks of 8 columns of which unused ones are 0,
// so that a product with them is one of cuBLAS's usual ones.
class RankOneFactors {
 public:
  static constexpr int64_t kWidth = 8;

  explicit RankOneFactors(const Layout& layout) : layout_(layout) {
    std::vector<int64_t> places;  // of each sign in the blocks
    const auto add = [&](int64_t from, int64_t rows, int64_t column) {
      for (int64_t row = 0; row < rows; ++row) places.push_back((from + row) * kWidth + column);
    };
    for (const Unit& unit : layout.units) {
      const DevicePart& first = unit.parts[0];
      if (first.part.columns == 1) {  // the norms: z itself
        norms_ = unit.size;
        blocks_.push_back({});
        continue;
      }
      const int64_t columns = first.part.columns, maps = static_cast<int64_t>(unit.parts.size());
      // Chunks of a table share the right factor before the first, and lie one after the other.
      const bool goes_on = first.part.first > 0;
      Block block{0, unit.size / columns, goes_on ? blocks_.back().right : rows_, columns};
      if (!goes_on) {
        for (int64_t map = 0; map < maps; ++map) add(rows_, columns, map);
        rows_ += columns;
      }
      block.left = rows_;
      for (int64_t map = 0; map < maps; ++map) {
        const int64_t count = unit.parts[map].count / columns;
        add(rows_, count, map);
        rows_ += count;
      }
      blocks_.push_back(block);
    }
    const auto bf16 = at::TensorOptions().dtype(at::kBFloat16);
    const int64_t signs = static_cast<int64_t>(places.size());
    for (at::Tensor& slot : host_) {
      slot = at::empty({norms_ + signs}, bf16.pinned_memory(true));
    }
    signs_ = at::empty({norms_ + signs}, bf16.device(at::kCUDA));
    blocks_on_device_ = at::zeros({rows_ * kWidth}, bf16.device(at::kCUDA));
    places_ = at::tensor(places, at::kLong).to(at::kCUDA);
  }

  // Draws a direction on the host, for the next Upload. What the host does while the device
  // computes costs nothing, so this belongs behind the launches of a pass. A slot is written again
  // two calls later: between them the caller has waited for the device.
  void Draw(const DirectionAddress& z) {
    slot_ = 1 - slot_;
    uint16_t* to = Cells(host_[slot_]);
    const LowRankDirection direction = LowRankDirectionOf(z.settings, z.root, z.index);
    const auto write = [&to](const std::vector<float>& signs, int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i) *to++ = signs[i] > 0 ? 0x3F80 : 0xBF80;
    };
    for (const Unit& unit : layout_.units) {
      if (unit.parts[0].part.columns == 1) {
        for (const DevicePart& part : unit.parts) {
          std::vector<float> values(static_cast<size_t>(part.count));
          direction.Fill(part.part, values);
          write(values, 0, part.count);
        }
        continue;
      }
      std::vector<LowRankFactors> factors;
      for (const DevicePart& part : unit.parts) {
        TensorPart whole = part.part;
        whole.first = 0;
        factors.push_back(direction.Factors(whole));
      }
      const int64_t columns = unit.parts[0].part.columns;
      if (unit.parts[0].part.first == 0) {
        for (const LowRankFactors& of_map : factors) write(of_map.right, 0, columns);
      }
      for (size_t map = 0; map < factors.size(); ++map) {
        const DevicePart& part = unit.parts[map];
        write(factors[map].left, part.part.first / columns, part.count / columns);
      }
    }
  }
  void Upload() {
    signs_.copy_(host_[slot_], true);
    blocks_on_device_.index_copy_(0, places_, signs_.narrow(0, norms_, signs_.numel() - norms_));
  }

  at::Tensor Norms() const { return signs_.narrow(0, 0, norms_); }
  // [rows of the unit's maps, 8] and [columns, 8]: column k is the factor of map k.
  at::Tensor Left(size_t unit) const { return Rows(blocks_[unit].left, blocks_[unit].rows); }
  at::Tensor Right(size_t unit) const { return Rows(blocks_[unit].right, blocks_[unit].columns); }
  // Of a whole table, whose first chunk is `unit`.
  at::Tensor TableLeft(size_t unit) const { return Rows(blocks_[unit].left, kVocabulary); }

  // w = fma(move, z, w) for all units, rounded once to bfloat16: one pass over the weights, and the
  // bits of AddDirectionCuda.
  void Move(const at::Tensor& flat, float move) const {
    flat.narrow(0, 0, norms_).add_(Norms(), move);
    for (size_t unit = 1; unit < layout_.units.size(); ++unit) {
      const Block& block = blocks_[unit];
      flat.narrow(0, layout_.units[unit].offset, layout_.units[unit].size)
          .view({block.rows, block.columns})
          .addmm_(Left(unit), Right(unit).t(), 1, move);
    }
  }

 private:
  struct Block {
    int64_t left = 0, rows = 0, right = 0, columns = 0;  // in rows of 8
  };
  at::Tensor Rows(int64_t from, int64_t count) const {
    return blocks_on_device_.narrow(0, from * kWidth, count * kWidth).view({count, kWidth});
  }

  const Layout& layout_;
  std::vector<Block> blocks_;  // by unit
  int64_t norms_ = 0, rows_ = 0;
  at::Tensor host_[2], signs_, blocks_on_device_, places_;
  int slot_ = 0;
};

}  // namespace rivulet::bench

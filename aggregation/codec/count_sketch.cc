#include "aggregation/codec/count_sketch.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "aggregation/codec/kernels.h"
#include "aggregation/codec/linear.h"

namespace rivulet {
namespace {

constexpr size_t kMostRows = 15;
// Numbers that are looked up in one row before the next: its pages stay known.
constexpr size_t kSketchChunk = 16384;

struct Place {
  uint32_t column;
  uint32_t sign;  // in bit 31
};
Place PlaceOf(uint64_t hash, uint32_t columns) {
  const auto top = static_cast<uint32_t>(hash >> 32);
  return {static_cast<uint32_t>((uint64_t{top >> 1} * columns) >> 31), top << 31};
}

float Signed(float value, uint32_t sign) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ sign);
}

// Sorts column by column, as far as the median of each needs it; returns the row that holds it.
const float* MiddleRow(float* rows, size_t count_of_rows, size_t count) {
  for (size_t sorted = 0; sorted <= count_of_rows / 2; ++sorted) {
    for (size_t row = count_of_rows - 1; row > sorted; --row) {
      float* const upper = rows + row * kSketchChunk;
      codec_kernels::Order(upper - kSketchChunk, upper, count);
    }
  }
  return rows + count_of_rows / 2 * kSketchChunk;
}

class CountSketch : public LinearStage {
 public:
  CountSketch(uint32_t rows, uint32_t columns, uint64_t root, uint64_t index) : columns_(columns) {
    for (uint32_t row = 0; row < rows; ++row) hashes_.push_back(SketchHashOf(root, index, row));
  }

  std::string_view name() const override { return "count-sketch"; }
  size_t OutputSize(size_t) const override { return hashes_.size() * columns_; }

  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (out.size() != OutputSize(0)) std::abort();
    std::fill(out.begin(), out.end(), 0.0f);
    float* table = out.data();
    for (const SketchHash& each : hashes_) {
      uint64_t hash = each.offset;
      for (const float value : flat) {
        const Place place = PlaceOf(hash, columns_);
        table[place.column] += Signed(value, place.sign);
        hash += each.multiplier;
      }
      table += columns_;
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (mean.size() != OutputSize(0)) std::abort();
    std::vector<float> estimates(hashes_.size() * kSketchChunk);
    for (size_t first = 0; first < flat.size(); first += kSketchChunk) {
      const size_t count = std::min(kSketchChunk, flat.size() - first);
      for (size_t row = 0; row < hashes_.size(); ++row) {
        const float* const table = mean.data() + row * columns_;
        float* const to = estimates.data() + row * kSketchChunk;
        uint64_t hash = hashes_[row].multiplier * first + hashes_[row].offset;
        for (size_t at = 0; at < count; ++at) {
          const Place place = PlaceOf(hash, columns_);
          to[at] = Signed(table[place.column], place.sign);
          hash += hashes_[row].multiplier;
        }
      }
      std::copy_n(MiddleRow(estimates.data(), hashes_.size(), count), count, flat.begin() + first);
    }
  }

 private:
  uint32_t columns_;
  std::vector<SketchHash> hashes_;
};

}  // namespace

SketchHash SketchHashOf(uint64_t root, uint64_t index, uint32_t row) {
  const PhiloxBlock block = RandomStream(root, Purpose::kSketch, index).Block(0, row);
  return {uint64_t{block.word[1]} << 32 | block.word[0],
          uint64_t{block.word[3]} << 32 | block.word[2]};
}

uint32_t SketchColumnsFor(size_t d, uint32_t rows, uint32_t columns) {
  if (columns != 0) return columns;
  return static_cast<uint32_t>(std::max<size_t>(1, d / (size_t{10} * rows)));
}

std::unique_ptr<LinearStage> NewCountSketch(uint32_t rows, uint32_t columns, uint64_t root,
                                            uint64_t index) {
  if (rows < 1 || rows > kMostRows || rows % 2 == 0 || columns < 1 || columns > 1u << 31) {
    std::abort();
  }
  return std::make_unique<CountSketch>(rows, columns, root, index);
}

}  // namespace rivulet

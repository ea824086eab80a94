#include "common/direction/flipped.h"

#include <algorithm>
#include <vector>

#include "common/direction/kernels.h"

namespace rivulet {
namespace {

// Signs first, first + 1, ... of the stream as +1 and -1.
std::vector<float> SignsFrom(const RandomStream& stream, uint32_t tensor, int64_t first,
                             int64_t count) {
  const auto from = static_cast<uint64_t>(first), end = from + static_cast<uint64_t>(count);
  const uint64_t blocks = (end - 1) / 128 - from / 128 + 1;
  std::vector<uint32_t> words(4 * blocks + 1);  // a word is read beyond
  direction_kernels::FillWords(stream, tensor, from / 128, {words.data(), 4 * blocks});
  std::vector<float> signs(static_cast<size_t>(count));
  direction_kernels::FillSigns(words.data(), from % 128, false, signs);
  return signs;
}

}  // namespace

FlippedDirection::FlippedDirection(const DirectionSettings& settings, uint64_t root, uint64_t index)
    : base_(root, Purpose::kBaseTensor, index / static_cast<uint64_t>(settings.renewal)),
      rows_(root, Purpose::kSignPairs, 2 * index),
      columns_(root, Purpose::kSignPairs, 2 * index + 1) {}

void FlippedDirection::Fill(const TensorPart& part, std::span<float> out) const {
  if (out.empty()) return;
  const int64_t n = part.columns;
  const auto count = static_cast<int64_t>(out.size());
  const int64_t first_row = part.first / n, rows = (part.first + count - 1) / n - first_row + 1;
  const int64_t first_column = rows > 1 ? 0 : part.first % n;
  const std::vector<float> base = SignsFrom(base_, part.tensor, part.first, count);
  const std::vector<float> r = SignsFrom(rows_, part.tensor, first_row, rows);
  const std::vector<float> s = SignsFrom(columns_, part.tensor, first_column, rows > 1 ? n : count);
  int64_t column = part.first % n, row = 0;
  for (int64_t at = 0; at < count; column = 0, ++row) {
    const int64_t taken = std::min(n - column, count - at);
    const float* const signs = s.data() + (column - first_column);
    for (int64_t i = 0; i < taken; ++i) out[at + i] = base[at + i] * r[row] * signs[i];
    at += taken;
  }
}

}  // namespace rivulet

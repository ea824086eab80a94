#pragma once

#include <cstddef>
#include <cstdint>

namespace rivulet {

// Numbers of a count sketch table row: the column and sign of element i come from the upper half of
// multiplier i + offset, modulo 2^64. Strongly universal for i < 2^32 (Dietzfelbinger 1996).
struct SketchHash {
  uint64_t multiplier, offset;
};
SketchHash SketchHashOf(uint64_t root, uint64_t index, uint32_t row);

// Columns for a table of `rows` rows that stands for `d` numbers: a tenth of them over all rows
// unless `columns` says otherwise.
uint32_t SketchColumnsFor(size_t d, uint32_t rows, uint32_t columns);

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <span>

namespace rivulet::kernels {

// The unit of x86-64 processors that multiplies whole tiles (AMX): products of bf16, sums in fp32.

// True when there is one and the system lets this process use it.
bool HasMatrixUnit();

// Holds the calling thread's tile registers; one at a time and thread. Only where HasMatrixUnit().
class MatrixUnit {
 public:
  MatrixUnit();
  ~MatrixUnit();
  MatrixUnit(const MatrixUnit&) = delete;
  MatrixUnit& operator=(const MatrixUnit&) = delete;
};

constexpr int64_t kUnitRows = 32;   // of a result
constexpr int64_t kUnitWords = 16;  // of an inner dimension, at a time

// One summand left * right. 32-bit words of two bf16 values that are neighbours in the inner
// dimension, the earlier one in the lower half.
struct WordSlice {
  const float*
      left;  // [words / kUnitWords, kUnitRows, kUnitWords]: read from the first to the last
  const float* right;  // [words, columns]
  int64_t words;       // a multiple of kUnitWords
};

// c [kUnitRows, columns] = (accumulate ? c : 0) + sum of left * right; columns: 16 or 32. Products
// are added up in the order of the inner dimension, even ones and odd ones of 32 apart. Denormal
// values count as zero. A MatrixUnit must be held.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS.
void MultiplyWords(std::span<const WordSlice> slices, int64_t columns, float* c, int64_t c_stride,
                   bool accumulate);

}  // namespace rivulet::kernels

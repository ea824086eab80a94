#include "common/direction/cuda/draws.cuh"
#include "common/direction/cuda/rank_one_kernels.h"

namespace rivulet::direction_cuda {
namespace {

constexpr int kWidth = 128;   // threads of a block
constexpr int kTogether = 4;  // terms of a thread: bytes of one store
constexpr int kSigns = 32;    // of one word

__device__ char4 Digit(const int (&values)[kTogether], int limb) {
  signed char digit[kTogether];
  for (int t = 0; t < kTogether; ++t) {
    int rest = values[t];
    for (int below = 0; below < limb; ++below) {
      rest = (rest - static_cast<signed char>(rest & 255)) >> 8;
    }
    digit[t] = static_cast<signed char>(rest & 255);
  }
  return make_char4(digit[0], digit[1], digit[2], digit[3]);
}

// A thread takes 4 terms and the 32 signs of one word of each.
template <bool kLeft>
__global__ void BytesKernel(const Term* terms, int terms_count, uint32_t tensor, int64_t first,
                            int64_t count, int8_t* bytes) {
  const int64_t term = (int64_t{blockIdx.x} * kWidth + threadIdx.x) * kTogether;
  if (term >= terms_count) return;
  const int64_t word = first / kSigns + blockIdx.y;
  uint32_t bits[kTogether];
  int32_t value[kTogether];
  for (int t = 0; t < kTogether; ++t) {
    const Term& own = terms[term + t];
    const PhiloxBlock block = BlockOf(kLeft ? own.left : own.right, word / 4, tensor);
    const int at = word % 4;  // no index at run time into registers
    bits[t] = at == 0   ? block.word[0]
              : at == 1 ? block.word[1]
              : at == 2 ? block.word[2]
                        : block.word[3];
    value[t] = kLeft ? own.value : 1;
  }
  for (int sign = 0; sign < kSigns; ++sign) {
    const int64_t row = word * kSigns + sign - first;
    if (row < 0 || row >= count) continue;
    int products[kTogether];
    for (int t = 0; t < kTogether; ++t) products[t] = bits[t] >> sign & 1 ? -value[t] : value[t];
    for (int limb = 0; limb < (kLeft ? kLimbs : 1); ++limb) {
      *reinterpret_cast<char4*>(bytes + (limb * count + row) * terms_count + term) =
          Digit(products, limb);
    }
  }
}

template <bool kLeft>
cudaError_t LaunchBytes(const Term* terms, int terms_count, uint32_t tensor, int64_t first,
                        int64_t count, int8_t* bytes, cudaStream_t stream) {
  const int64_t words = (first + count + kSigns - 1) / kSigns - first / kSigns;
  if (words > 65535) return cudaErrorInvalidValue;
  const dim3 grid((terms_count / kTogether + kWidth - 1) / kWidth, static_cast<unsigned>(words));
  BytesKernel<kLeft><<<grid, kWidth, 0, stream>>>(terms, terms_count, tensor, first, count, bytes);
  return cudaGetLastError();
}

__global__ void AddLimbsKernel(LimbSums from, int exponent, float* w) {
  const int64_t row = blockIdx.y + int64_t{blockIdx.z} * 65535;
  const int64_t column = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= from.rows || column >= from.columns) return;
  const int64_t limb = from.limb;
  const int32_t* const sums = from.sums + row * from.pitch + column;
  const int64_t total = sums[0] + (int64_t{sums[limb]} << 8) + (int64_t{sums[2 * limb]} << 16);
  float& value = w[row * from.columns + column];
  value = __fadd_rn(value, ldexpf(__ll2float_rn(total), exponent));
}

}  // namespace

cudaError_t LaunchLeftBytes(const Term* terms, int terms_count, uint32_t tensor, int64_t first_row,
                            int64_t rows, int8_t* bytes, cudaStream_t stream) {
  return LaunchBytes<true>(terms, terms_count, tensor, first_row, rows, bytes, stream);
}

cudaError_t LaunchRightBytes(const Term* terms, int terms_count, uint32_t tensor, int64_t columns,
                             int8_t* bytes, cudaStream_t stream) {
  return LaunchBytes<false>(terms, terms_count, tensor, 0, columns, bytes, stream);
}

cudaError_t LaunchAddLimbs(const LimbSums& from, int exponent, float* w, cudaStream_t stream) {
  if (from.rows == 0 || from.columns == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>((from.columns + 255) / 256),
                  static_cast<unsigned>(from.rows < 65535 ? from.rows : 65535),
                  static_cast<unsigned>((from.rows + 65534) / 65535));
  AddLimbsKernel<<<grid, 256, 0, stream>>>(from, exponent, w);
  return cudaGetLastError();
}

}  // namespace rivulet::direction_cuda

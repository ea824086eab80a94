#include "peft/kernels/matrix_unit.h"

#include <cstdlib>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rivulet::kernels {

#if defined(__x86_64__) && defined(__linux__)
namespace {

constexpr long kTileData = 18;               // the registers' number among the processor's states
constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM: they are large, so they are
                                             // given to those who ask
constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;  // of edx, leaf 7

bool AskForMatrixUnit() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kBf16) == 0 || (d & kTiles) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};  // of a row
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kEightWholeTiles;

// Assembly, since intrinsics would need every caller compiled for such a processor. Compilers use
// none of these registers on their own.
#define RV_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
#define RV_TILE_LOAD(tile, from, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(stride) : "memory")
#define RV_TILE_STORE(tile, to, stride) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(stride) : "memory")
#define RV_TILE_DOT(sum, left, right) \
  __asm__ volatile("tdpbf16ps %%tmm" #right ", %%tmm" #left ", %%tmm" #sum ::)

constexpr int64_t kTile = 16;  // rows, and words of a row

// Sums are tiles 0 1 (upper rows) and 2 3; left operands 4 and 5, right ones 6 and 7.
template <bool kWide>
void AddSlice(const WordSlice& slice) {
  constexpr int64_t kRowBytes = kUnitWords * static_cast<int64_t>(sizeof(float));
  const int64_t right_stride = kWide ? 2 * kTile : kTile;
  const int64_t right_bytes = right_stride * static_cast<int64_t>(sizeof(float));
  const float* left = slice.left;
  const float* right = slice.right;
  for (int64_t word = 0; word < slice.words; word += kUnitWords) {
    RV_TILE_LOAD(6, right, right_bytes);
    RV_TILE_LOAD(4, left, kRowBytes);
    RV_TILE_DOT(0, 4, 6);
    if constexpr (kWide) {
      RV_TILE_LOAD(7, right + kTile, right_bytes);
      RV_TILE_DOT(1, 4, 7);
    }
    RV_TILE_LOAD(5, left + kTile * kUnitWords, kRowBytes);
    RV_TILE_DOT(2, 5, 6);
    if constexpr (kWide) RV_TILE_DOT(3, 5, 7);
    left += kUnitRows * kUnitWords;
    right += kUnitWords * right_stride;
  }
}

template <bool kWide>
void Multiply(std::span<const WordSlice> slices, float* c, int64_t c_stride, bool accumulate) {
  const int64_t bytes = c_stride * static_cast<int64_t>(sizeof(float));
  float* const lower = c + kTile * c_stride;
  if (accumulate) {
    RV_TILE_LOAD(0, c, bytes);
    RV_TILE_LOAD(2, lower, bytes);
    if constexpr (kWide) {
      RV_TILE_LOAD(1, c + kTile, bytes);
      RV_TILE_LOAD(3, lower + kTile, bytes);
    }
  } else {
    RV_TILE_ZERO(0);
    RV_TILE_ZERO(1);
    RV_TILE_ZERO(2);
    RV_TILE_ZERO(3);
  }
  for (const WordSlice& slice : slices) AddSlice<kWide>(slice);
  RV_TILE_STORE(0, c, bytes);
  RV_TILE_STORE(2, lower, bytes);
  if constexpr (kWide) {
    RV_TILE_STORE(1, c + kTile, bytes);
    RV_TILE_STORE(3, lower + kTile, bytes);
  }
}

#undef RV_TILE_ZERO
#undef RV_TILE_LOAD
#undef RV_TILE_STORE
#undef RV_TILE_DOT

}  // namespace

bool HasMatrixUnit() {
  static const bool has = AskForMatrixUnit();
  return has;
}

MatrixUnit::MatrixUnit() { __asm__ volatile("ldtilecfg %0" ::"m"(kEightWholeTiles)); }
MatrixUnit::~MatrixUnit() { __asm__ volatile("tilerelease" ::); }

void MultiplyWords(std::span<const WordSlice> slices, int64_t columns, float* c, int64_t c_stride,
                   bool accumulate) {
  columns == kTile ? Multiply<false>(slices, c, c_stride, accumulate)
                   : Multiply<true>(slices, c, c_stride, accumulate);
}

#else

bool HasMatrixUnit() { return false; }
MatrixUnit::MatrixUnit() { std::abort(); }
MatrixUnit::~MatrixUnit() = default;
void MultiplyWords(std::span<const WordSlice>, int64_t, float*, int64_t, bool) { std::abort(); }

#endif

}  // namespace rivulet::kernels

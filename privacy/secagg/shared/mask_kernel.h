#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "privacy/secagg/shared/mask_generator.h"

// The loops behind ApplyMasks, by instruction set, for the tests that compare them and the
// benchmark that times them.
namespace rivulet::secagg {

enum class MaskKernel {
  kPortable,  // OpenSSL into a scratch of 16 KiB
  kAesNi,     // 128-bit AES instructions
  kVaes256,   // two blocks an instruction
  kVaes512,   // four
};
inline constexpr MaskKernel kMaskKernels[] = {MaskKernel::kPortable, MaskKernel::kAesNi,
                                              MaskKernel::kVaes256, MaskKernel::kVaes512};

const char* NameOf(MaskKernel kernel);  // "vaes256"
bool IsSupported(MaskKernel kernel);    // by this processor and this build
MaskKernel BestMaskKernel();            // the last supported one; decided once

// ApplyMasks by one kernel, which must be supported.
void ApplyMasksWith(MaskKernel kernel, RingVector& vector, std::span<const Mask> masks,
                    unsigned threads, uint64_t first);

// The counter block before block `block` of a chunk's keystream.
std::array<uint8_t, 16> MaskIv(uint64_t chunk, uint64_t block);

// Round keys of AES-256. Adding the complement of a keystream word and 1 subtracts the word, and
// complementing the last round key complements the keystream: so subtracting costs nothing, the
// ones are added up front (RoundKeyGroup::ones).
struct alignas(16) RoundKeys {
  uint8_t bytes[15][16];
};

// words += the keystreams of all keys + ones, for whole tiles of the kernel.
struct RoundKeyGroup {
  const RoundKeys* keys;
  size_t count;
  uint64_t ones;
};
struct TileRun {
  uint64_t chunk;
  uint32_t block;     // of the chunk's keystream, where `words` begin
  size_t word_bytes;  // 2, 4, 8
  uint8_t* words;     // any alignment
  size_t tiles;
};
using TileLoop = void (*)(const RoundKeyGroup& group, const TileRun& run);

struct TileKernel {
  TileLoop loop = nullptr;  // nullptr: not supported
  size_t tile_bytes = 0;    // a multiple of 16, at most kLargestTile
};
inline constexpr size_t kLargestTile = 512;

// mask_kernel_x86.cc, or mask_kernel_none.cc elsewhere. `kernel` is not kPortable.
TileKernel TileKernelFor(MaskKernel kernel);
// Only with a supported kernel.
void ExpandRoundKeys(const Mask& mask, RoundKeys& keys);

}  // namespace rivulet::secagg

#include "privacy/secagg/shared/mask_generator.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "privacy/crypto/cipher.h"
#include "privacy/secagg/shared/mask_kernel.h"

namespace rivulet::secagg {
namespace {

static_assert(sizeof(Bytes32) == 32, "a mask seed is a whole AES-256 key");

constexpr size_t kScratchBytes = 16 << 10;     // with the vector's part it stays in the L1 cache
constexpr size_t kVectorTileBytes = 64 << 10;  // stays in the L2 cache while the keys go by
constexpr size_t kKeysTogether = 64;           // 15 KiB of round keys stay in the L1 cache
constexpr size_t kContextsTogether = 256;      // of OpenSSL
constexpr size_t kLeastElements = 1 << 16;     // a thread is not worth less

[[noreturn]] void AbortMask(const char* what) {
  std::fprintf(stderr, "rivulet: masks: %s\n", what);
  std::abort();
}

// A part of the vector inside one chunk.
struct Segment {
  uint64_t chunk;
  uint64_t block;  // of the chunk's keystream, where it begins
  std::span<uint8_t> words;
};

// Cuts bytes that begin at element `first` of the whole vector at chunk borders and into parts of
// at most `most` bytes (a multiple of 16); calls each(segment) in order.
template <typename Each>
void ForEachSegment(std::span<uint8_t> bytes, size_t word_bytes, uint64_t first, size_t most,
                    Each&& each) {
  while (!bytes.empty()) {
    const uint64_t inside = first % kChunkElements;
    const size_t left = static_cast<size_t>(kChunkElements - inside) * word_bytes;
    const size_t size = std::min({left, most, bytes.size()});
    each(Segment{first / kChunkElements, inside * word_bytes / 16, bytes.first(size)});
    bytes = bytes.subspan(size);
    first += size / word_bytes;
  }
}

template <typename Word>
void AddOrSubtract(std::span<uint8_t> words, const uint8_t* keystream, bool subtract) {
  const Word sign = static_cast<Word>(-static_cast<Word>(subtract));  // (x ^ -1) - -1 = -x
  auto* out = reinterpret_cast<Word*>(words.data());
  for (size_t index = 0; index < words.size() / sizeof(Word); ++index) {
    Word word;
    std::memcpy(&word, keystream + index * sizeof(Word), sizeof(Word));
    out[index] = static_cast<Word>(out[index] + static_cast<Word>((word ^ sign) - sign));
  }
}

void AddKeystream(std::span<uint8_t> words, size_t word_bytes, const uint8_t* keystream,
                  bool subtract) {
  if (word_bytes == 2) return AddOrSubtract<uint16_t>(words, keystream, subtract);
  if (word_bytes == 4) return AddOrSubtract<uint32_t>(words, keystream, subtract);
  AddOrSubtract<uint64_t>(words, keystream, subtract);
}

void ApplyPortable(std::span<uint8_t> bytes, size_t word_bytes, uint64_t first,
                   std::span<const Mask> masks) {
  alignas(64) uint8_t scratch[kScratchBytes];
  for (size_t group = 0; group < masks.size(); group += kContextsTogether) {
    const auto some = masks.subspan(group, std::min(kContextsTogether, masks.size() - group));
    std::vector<Aes256Ctr> streams;
    for (const Mask& mask : some) streams.emplace_back(mask.seed, MaskIv(0, 0));
    uint64_t chunk = ~uint64_t{0};
    ForEachSegment(bytes, word_bytes, first, kScratchBytes, [&](const Segment& part) {
      const bool seek = part.chunk != chunk;  // else the streams stand where the part begins
      chunk = part.chunk;
      for (size_t index = 0; index < some.size(); ++index) {
        if (seek) streams[index].Seek(MaskIv(part.chunk, part.block));
        streams[index].Keystream({scratch, part.words.size()});
        AddKeystream(part.words, word_bytes, scratch, some[index].subtract);
      }
    });
  }
  OPENSSL_cleanse(scratch, sizeof scratch);
}

// Round keys of all masks, wiped in the end.
class ExpandedMasks {
 public:
  explicit ExpandedMasks(std::span<const Mask> masks) : keys_(masks.size()) {
    for (size_t index = 0; index < masks.size(); ++index) {
      ExpandRoundKeys(masks[index], keys_[index]);
    }
    for (size_t first = 0; first < masks.size(); first += kKeysTogether) {
      const auto some = masks.subspan(first, std::min(kKeysTogether, masks.size() - first));
      const auto negative =
          std::count_if(some.begin(), some.end(), [](const Mask& mask) { return mask.subtract; });
      groups_.push_back({&keys_[first], some.size(), static_cast<uint64_t>(negative)});
    }
  }
  ~ExpandedMasks() { OPENSSL_cleanse(keys_.data(), keys_.size() * sizeof(RoundKeys)); }
  ExpandedMasks(const ExpandedMasks&) = delete;
  ExpandedMasks& operator=(const ExpandedMasks&) = delete;

  const std::vector<RoundKeyGroup>& groups() const { return groups_; }

 private:
  std::vector<RoundKeys> keys_;
  std::vector<RoundKeyGroup> groups_;
};

void ApplyTiles(const TileKernel& kernel, std::span<uint8_t> bytes, size_t word_bytes,
                uint64_t first, const ExpandedMasks& masks) {
  ForEachSegment(bytes, word_bytes, first, kVectorTileBytes, [&](const Segment& part) {
    const size_t tiles = part.words.size() / kernel.tile_bytes;
    const size_t whole = tiles * kernel.tile_bytes;
    const auto rest = part.words.subspan(whole);
    alignas(64) uint8_t last[kLargestTile] = {};
    std::copy(rest.begin(), rest.end(), last);
    const uint32_t block = static_cast<uint32_t>(part.block);
    for (const RoundKeyGroup& group : masks.groups()) {
      kernel.loop(group, {part.chunk, block, word_bytes, part.words.data(), tiles});
      if (rest.empty()) continue;
      const uint32_t after = block + static_cast<uint32_t>(whole / 16);
      kernel.loop(group, {part.chunk, after, word_bytes, last, 1});
    }
    std::copy_n(last, rest.size(), rest.begin());
  });
}

// work(bytes, index of their first element) on equal parts of the vector.
template <typename Work>
void InThreads(RingVector& vector, unsigned threads, uint64_t first, Work&& work) {
  const size_t word_bytes = vector.word_bytes();
  const size_t most = std::max<size_t>(1, vector.size() / kLeastElements);
  const size_t parts = std::clamp<size_t>(threads, 1, most);
  const size_t each = (vector.size() / parts + 63) / 64 * 64;  // elements: whole cipher blocks
  std::vector<std::thread> others;
  for (size_t part = 0; part < parts; ++part) {
    const size_t begin = std::min(vector.size(), part * each);
    const size_t end = part + 1 == parts ? vector.size() : std::min(vector.size(), begin + each);
    const auto bytes = vector.raw().subspan(begin * word_bytes, (end - begin) * word_bytes);
    if (part + 1 == parts) {
      work(bytes, first + begin);
    } else {
      others.emplace_back(work, bytes, first + begin);
    }
  }
  for (std::thread& other : others) other.join();
}

}  // namespace

std::array<uint8_t, 16> MaskIv(uint64_t chunk, uint64_t block) {
  std::array<uint8_t, 16> iv;
  for (int index = 0; index < 8; ++index) {
    iv[7 - index] = static_cast<uint8_t>(chunk >> (8 * index));
    iv[15 - index] = static_cast<uint8_t>(block >> (8 * index));
  }
  return iv;
}

const char* NameOf(MaskKernel kernel) {
  constexpr const char* kNames[] = {"portable", "aesni", "vaes256", "vaes512"};
  return kNames[static_cast<size_t>(kernel)];
}

bool IsSupported(MaskKernel kernel) {
  return kernel == MaskKernel::kPortable || TileKernelFor(kernel).loop != nullptr;
}

MaskKernel BestMaskKernel() {
  static const MaskKernel best = [] {
    MaskKernel chosen = MaskKernel::kPortable;
    for (const MaskKernel kernel : kMaskKernels) {
      if (IsSupported(kernel)) chosen = kernel;
    }
    return chosen;
  }();
  return best;
}

void ApplyMasksWith(MaskKernel kernel, RingVector& vector, std::span<const Mask> masks,
                    unsigned threads, uint64_t first) {
  if (first % 8 != 0) AbortMask("a slice begins inside a cipher block");
  if (masks.empty() || vector.size() == 0) return;
  const size_t word_bytes = vector.word_bytes();
  if (kernel == MaskKernel::kPortable) {
    InThreads(vector, threads, first, [&](std::span<uint8_t> bytes, uint64_t at) {
      ApplyPortable(bytes, word_bytes, at, masks);
    });
    return;
  }
  const TileKernel tiles = TileKernelFor(kernel);
  if (tiles.loop == nullptr) AbortMask("kernel of another processor");
  const ExpandedMasks expanded(masks);
  InThreads(vector, threads, first, [&](std::span<uint8_t> bytes, uint64_t at) {
    ApplyTiles(tiles, bytes, word_bytes, at, expanded);
  });
}

void ApplyMasks(RingVector& vector, std::span<const Mask> masks, unsigned threads, uint64_t first) {
  ApplyMasksWith(BestMaskKernel(), vector, masks, threads, first);
}

uint64_t MaskElement(const Secret32& seed, uint64_t j, uint8_t bits) {
  const size_t word_bytes = WordBytes(bits);
  const uint64_t at = j % kChunkElements * word_bytes;
  Aes256Ctr stream(seed, MaskIv(j / kChunkElements, at / 16));
  uint8_t block[16];
  stream.Keystream(block);
  uint64_t word = 0;
  std::memcpy(&word, block + at % 16, word_bytes);
  return word & ((uint64_t{1} << bits) - 1);
}

uint64_t MaskInnerProduct(const Secret32& seed, const RingVector& vector, size_t count) {
  if (count > vector.size()) AbortMask("more elements than the vector has");
  Aes256Ctr stream(seed, MaskIv(0, 0));
  const uint64_t sum = std::visit(
      [&](const auto& words) {
        using Word = typename std::remove_cvref_t<decltype(words)>::value_type;
        constexpr size_t kTogether = kScratchBytes / sizeof(Word);  // divides a chunk
        Word row[kTogether];
        uint64_t total = 0;
        for (size_t start = 0; start < count; start += kTogether) {
          if (start % kChunkElements == 0) stream.Seek(MaskIv(start / kChunkElements, 0));
          const size_t size = std::min(kTogether, count - start);
          stream.Keystream({reinterpret_cast<uint8_t*>(row), size * sizeof(Word)});
          for (size_t index = 0; index < size; ++index) {
            total += uint64_t{row[index]} * words[start + index];
          }
        }
        return total;
      },
      vector.words());
  return sum & ((uint64_t{1} << vector.bits()) - 1);
}

}  // namespace rivulet::secagg

#include "common/random.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "common/io/sha256.h"

namespace rivulet {
namespace {

// Derivation constant of the stream address: "RVLT".
constexpr uint32_t kMagic = 0x52564C54u;

float FromBits(uint32_t bits) { return std::bit_cast<float>(bits); }

// log(k / 2^24), cos and sin with every rounding fixed: fused multiply-add exactly where written,
// nowhere else (the build sets -ffp-contract=off), so that CPU and CUDA agree to the bit.
struct Pair {
  float first, second;
};
Pair GaussPair(uint32_t a, uint32_t b) {
  static constexpr uint32_t kP[8] = {0x3EAAAAA6, 0xBE8000BF, 0x3E4CD1EA, 0xBE2A505D,
                                     0x3E115118, 0xBE05CD8C, 0x3E0310E9, 0xBDA24D7F};
  static constexpr uint32_t kS[5] = {0x3FC90FDB, 0xBF255DE7, 0x3DA335DD, 0xBB99654F, 0x3925E43E};
  static constexpr uint32_t kC[4] = {0xBF9DE9E6, 0x3E81E0F5, 0xBCAAE5CC, 0x3A6DB268};
  const float f = static_cast<float>((a >> 8) + 1);  // exact, 1 .. 2^24
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  int e = static_cast<int>(bits >> 23) - 127;
  float u = FromBits((bits & 0x7FFFFFu) | 0x3F800000u);
  if (std::bit_cast<uint32_t>(u) >= 0x3FB504F3u) {
    u *= 0.5f;
    ++e;
  }
  const float x = u - 1.0f;
  float p = FromBits(kP[7]);
  for (int term = 6; term >= 0; --term) p = std::fma(p, x, FromBits(kP[term]));
  const float x2 = x * x;
  const float x3 = x2 * x;
  const float log1 = std::fma(x3, p, std::fma(-0.5f, x2, x));
  const float ln = std::fma(static_cast<float>(e - 24), FromBits(0x3F317218), log1);
  const float r = std::sqrt(-2.0f * ln);

  const uint32_t quadrant = b >> 30;
  const int32_t i = 2 * static_cast<int32_t>((b >> 6) & 0xFFFFFFu) + 1 - (1 << 24);
  const float v = static_cast<float>(i) * 0x1p-25f;
  const float t = v * v;
  float sn = FromBits(kS[4]);
  for (int term = 3; term >= 0; --term) sn = std::fma(sn, t, FromBits(kS[term]));
  sn *= v;
  float cs = FromBits(kC[3]);
  for (int term = 2; term >= 0; --term) cs = std::fma(cs, t, FromBits(kC[term]));
  cs = std::fma(cs, t, 1.0f);
  switch (quadrant) {
    case 0:
      return {r * cs, r * sn};
    case 1:
      return {r * -sn, r * cs};
    case 2:
      return {r * -cs, r * -sn};
    default:
      return {r * sn, r * -cs};
  }
}

}  // namespace

RandomStream::RandomStream(uint64_t root, Purpose purpose, uint64_t index) {
  const PhiloxBlock derived =
      Philox({{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
               static_cast<uint32_t>(purpose), kMagic}},
             {{static_cast<uint32_t>(root), static_cast<uint32_t>(root >> 32)}});
  key_ = {{derived.word[0], derived.word[1]}};
  lane_ = derived.word[2];
}

void RandomStream::FillUniform(uint32_t tensor, std::span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const PhiloxBlock block = Block(begin / 4, tensor);
    for (size_t lane = 0; lane < 4 && begin + lane < out.size(); ++lane) {
      const int32_t j = 2 * static_cast<int32_t>(block.word[lane] >> 8) + 1 - (1 << 24);
      out[begin + lane] = static_cast<float>(j) * 0x1p-24f;
    }
  }
}

void RandomStream::FillGauss(uint32_t tensor, std::span<float> out, uint64_t first_block) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const PhiloxBlock block = Block(first_block + begin / 4, tensor);
    const Pair low = GaussPair(block.word[0], block.word[1]);
    const Pair high = GaussPair(block.word[2], block.word[3]);
    const float values[4] = {low.first, low.second, high.first, high.second};
    for (size_t lane = 0; lane < 4 && begin + lane < out.size(); ++lane)
      out[begin + lane] = values[lane];
  }
}

uint32_t RandomCursor::Next() {
  const uint32_t word = stream_.Block(position_ / 4, tensor_).word[position_ % 4];
  ++position_;
  return word;
}

uint32_t RandomCursor::Bounded(uint32_t n) {
  const uint32_t threshold = static_cast<uint32_t>((uint64_t{1} << 32) % n);
  while (true) {
    const uint64_t product = uint64_t{Next()} * n;
    if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
  }
}

std::vector<uint32_t> Permutation(RandomCursor& cursor, uint32_t n) {
  std::vector<uint32_t> items(n);
  for (uint32_t item = 0; item < n; ++item) items[item] = item;
  Shuffle(cursor, std::span(items));
  return items;
}

uint64_t RootOf(uint64_t seed, uint64_t round, std::string_view client) {
  std::string address = "rvl1/root";
  for (uint64_t number : {seed, round}) {
    for (int byte = 0; byte < 8; ++byte) address += static_cast<char>(number >> (8 * byte));
  }
  address += client;
  const Sha256Digest digest = Sha256Of(address);
  uint64_t root = 0;
  for (int byte = 0; byte < 8; ++byte) root |= uint64_t{digest[byte]} << (8 * byte);
  return root;
}

}  // namespace rivulet

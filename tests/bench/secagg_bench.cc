// The arithmetic of secure aggregation, one thread, beside its limit in the same run: masking
// beside AES-256 that never leaves the registers, and beside OpenSSL; packing beside a copy;
// sharing. Prints JSON lines. Not a test.
//   secagg_bench [elements=1048576] [repeats=7]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "privacy/crypto/entropy.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/mask_kernel.h"
#include "privacy/secagg/shared/packing.h"
#include "privacy/secagg/shared/shamir.h"
#include "tests/bench/aes_limit.h"

namespace rivulet::secagg {
namespace {

// Processor time of this thread: on a shared machine, waiting for a turn is not counted.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Work>
double TimeOf(Work&& work) {
  const double start = Seconds();
  work();
  return Seconds() - start;
}

template <typename Work>
double Best(int repeats, Work&& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) best = std::min(best, TimeOf(work));
  return best;
}

std::vector<Mask> NewMasks(size_t count) {
  std::vector<Mask> masks;
  for (size_t each = 0; each < count; ++each) {
    masks.push_back({SystemEntropy().Secret(), each % 2 == 1});
  }
  return masks;
}

// Both kernels and the limit in turn, so that all see the same state of the machine.
void PrintMasking(const char* what, size_t elements, uint8_t bits, size_t count, int repeats) {
  const MaskKernel best = BestMaskKernel();
  const std::vector<Mask> masks = NewMasks(count);
  RingVector vector(bits, elements);
  double ours = 1e30, openssl = 1e30, limit = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    limit = std::min(limit, TimeOf([&] { RunLimit(best); }));
    ours = std::min(ours, TimeOf([&] { ApplyMasksWith(best, vector, masks, 1, 0); }));
    openssl = std::min(openssl,
                       TimeOf([&] { ApplyMasksWith(MaskKernel::kPortable, vector, masks, 1, 0); }));
  }
  const double stream = static_cast<double>(elements * count * WordBytes(bits));
  const double limit_seconds = stream / (LimitBytes(best) / limit);
  const double millions = static_cast<double>(elements) / 1e6;
  std::printf(
      "{\"bench\":\"%s\",\"kernel\":\"%s\",\"elements\":%zu,\"bits\":%d,\"masks\":%zu,"
      "\"melem_per_s\":%.1f,\"keystream_gb_per_s\":%.2f,\"openssl_melem_per_s\":%.1f,"
      "\"in_register_aes256_melem_per_s\":%.1f,\"ratio\":%.2f}\n",
      what, NameOf(best), elements, bits, count, millions / ours, stream / ours / 1e9,
      millions / openssl, millions / limit_seconds, limit_seconds / ours);
}

void PrintPacking(size_t elements, uint8_t bits, int repeats) {
  RingVector vector(bits, elements), sum(bits, elements);
  ApplyMasks(vector, NewMasks(1));
  std::string packed = Pack(vector), copy = packed;
  std::string bytes;
  const double pack = Best(repeats, [&] {
    bytes.clear();
    PackRange(vector, 0, elements, bytes);
  });
  const double add = Best(repeats, [&] {
    if (!sum.AddPacked(packed).ok()) std::abort();
  });
  const double copied = Best(repeats, [&] {
    std::memcpy(copy.data(), packed.data(), packed.size());
    asm volatile("" : : "r"(copy.data()) : "memory");
  });
  const double size = static_cast<double>(packed.size()) / 1e9;
  std::printf(
      "{\"bench\":\"packing\",\"bits\":%d,\"pack_gb_per_s\":%.2f,\"add_packed_gb_per_s\":%.2f,"
      "\"melem_per_s\":%.0f,\"copy_gb_per_s\":%.2f}\n",
      bits, size / pack, size / add, static_cast<double>(elements) / 1e6 / add, size / copied);
}

void PrintSharing(size_t holders, size_t threshold, int repeats) {
  const Secret32 secret = SystemEntropy().Secret();
  std::vector<Share> shares;
  const double split =
      Best(repeats, [&] { shares = Split(secret, holders, threshold, SystemEntropy()); });
  std::vector<uint16_t> xs;
  for (size_t index = 0; index < threshold; ++index) xs.push_back(shares[index].x);
  const double coefficients = Best(repeats, [&] {
    if (!Reconstructor::Make(xs).ok()) std::abort();
  });
  const Reconstructor reconstructor = *Reconstructor::Make(xs);
  const double combine = Best(repeats, [&] {
    if (!(*reconstructor.Combine(std::span(shares).first(threshold)) == secret)) std::abort();
  });
  const size_t wrong = (holders - threshold) / 2;
  for (size_t index = 0; index < wrong; ++index) shares[index].value[index % 32] ^= 1;
  const double correct = Best(1, [&] {
    if (!(CombineWithErrors(shares, threshold)->secret == secret)) std::abort();
  });
  std::printf(
      "{\"bench\":\"sharing\",\"holders\":%zu,\"threshold\":%zu,\"split_ms\":%.3f,"
      "\"coefficients_ms\":%.3f,\"combine_ms\":%.3f,\"correct_%zu_ms\":%.1f}\n",
      holders, threshold, 1e3 * split, 1e3 * coefficients, 1e3 * combine, wrong, 1e3 * correct);
}

void PrintAgreement(int repeats) {
  const X25519Key own(SystemEntropy().Secret());
  const X25519Pair peer = X25519PairOf(SystemEntropy().Secret());
  const double agree = Best(repeats, [&] {
    if (!own.Shared(peer.public_key).ok()) std::abort();
  });
  std::printf("{\"bench\":\"x25519\",\"us\":%.1f}\n", 1e6 * agree);
}

// The masked sum is the plain sum, with the kernel that is timed.
void CheckSum(size_t elements) {
  const Mask pair{SystemEntropy().Secret(), false};
  const Mask other{pair.seed, true};
  RingVector sum(24, elements);
  for (const Mask& mask : {pair, other}) {
    RingVector vector(24, elements);
    for (size_t index = 0; index < elements; index += 97) vector.SetSigned(index, -5);
    ApplyMasks(vector, {&mask, 1});
    if (!sum.AddPacked(Pack(vector)).ok()) std::abort();
  }
  for (size_t index = 0; index < elements; ++index) {
    if (sum.SignedAt(index) != (index % 97 == 0 ? -10 : 0)) std::abort();
  }
}

void Run(size_t elements, int repeats) {
  CheckSum(elements);
  for (const size_t masks : {size_t{16}, size_t{64}}) {
    for (const uint8_t bits : {16, 22, 24, 32, 40}) {
      PrintMasking("client_masking", elements, bits, masks, repeats);
    }
  }
  // A server's part of a round: the seeds of a thousand clients over one vector.
  PrintMasking("server_expansion", elements, 24, 1090, std::min(repeats, 3));
  for (const uint8_t bits : {16, 22, 24, 28, 32}) PrintPacking(elements, bits, repeats);
  PrintSharing(64, 43, repeats);
  PrintSharing(255, 163, repeats);
  PrintAgreement(repeats * 10);
}

size_t Argument(int count, char** arguments, int position, size_t absent) {
  return count > position ? static_cast<size_t>(std::max(1ll, std::atoll(arguments[position])))
                          : absent;
}

}  // namespace
}  // namespace rivulet::secagg

int main(int count, char** arguments) {
  rivulet::secagg::Run(rivulet::secagg::Argument(count, arguments, 1, 1 << 20),
                       static_cast<int>(rivulet::secagg::Argument(count, arguments, 2, 7)));
}

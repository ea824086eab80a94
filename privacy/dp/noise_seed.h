#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/dp/word_source.h"

namespace rivulet {

// 32 secret random bytes from which a round's noise is made, and made again after a crash. Moves,
// but does not copy, print or compare; wipes itself. Erase the stored bytes when the round is done.
class NoiseSeed {
 public:
  static constexpr size_t kBytes = 32;

  static NoiseSeed Fresh();  // from the operating system's generator
  // Errors: InvalidArgument unless there are 32 bytes. `bytes` stays the caller's to wipe.
  static absl::StatusOr<NoiseSeed> FromStored(std::string_view bytes);

  NoiseSeed(NoiseSeed&& other) noexcept;
  NoiseSeed& operator=(NoiseSeed&& other) noexcept;
  NoiseSeed(const NoiseSeed&) = delete;
  NoiseSeed& operator=(const NoiseSeed&) = delete;
  ~NoiseSeed();

  // The stream of one purpose ("data", "clip-bit", "tree/3/17"): AES-256-CTR under
  // HMAC-SHA256(seed, "rvl1/noise" 0x00 purpose). Different purposes and blocks are independent.
  AesWords Words(std::string_view purpose, uint64_t block = 0) const;

  // Another seed, of a part of what this one is for ("round/3"): independent of it to whoever has
  // only that part's.
  NoiseSeed Derive(std::string_view part) const;

  // 64 hex digits that bind to the seed without revealing it: SHA-256("rvl1/noise-commitment" 0x00
  // seed). Public, kept for ever.
  std::string Commitment() const;

  // The secret itself, for the state store alone.
  std::string_view SecretForStorage() const { return {bytes_, kBytes}; }

 private:
  NoiseSeed() = default;
  char bytes_[kBytes] = {};
};

}  // namespace rivulet

#pragma once

#include "aggregation/codec/linear.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

// AES-256-CTR of a public stream of the session (IV zero) as words that all parties know: word w is
// bytes 4 w .. 4 w + 3, little endian.
class KeystreamWords : public PublicWords {
 public:
  explicit KeystreamWords(Secret32 key) : key_(std::move(key)) {}
  void Fill(uint64_t first, std::span<uint32_t> words) const override;

 private:
  Secret32 key_;
};

}  // namespace rivulet

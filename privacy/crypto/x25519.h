#pragma once

#include "common/status.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

struct X25519Pair {
  Secret32 secret;
  Bytes32 public_key{};
};

// The pair of a private key (RFC 7748): X25519(secret, 9). The secret is kept as given, unclamped.
X25519Pair X25519PairOf(const Secret32& secret);

// X25519(own, peer). Errors: InvalidArgument when `peer` is a point of low order, found by what the
// derivation returns (setting such a peer succeeds).
absl::StatusOr<Secret32> X25519Shared(const Secret32& own, const Bytes32& peer);

}  // namespace rivulet

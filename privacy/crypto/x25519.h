#pragma once

#include "common/status.h"
#include "privacy/crypto/openssl_ptr.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

struct X25519Pair {
  Secret32 secret;
  Bytes32 public_key{};
};

// The pair of a private key (RFC 7748): X25519(secret, 9). The secret is kept as given, unclamped.
X25519Pair X25519PairOf(const Secret32& secret);

// A private key that agrees with many peers: OpenSSL computes the public key of a private one with
// each that it reads, which costs as much as an agreement. Several threads may share it.
class X25519Key {
 public:
  explicit X25519Key(const Secret32& secret);

  // X25519(secret, peer). Errors: InvalidArgument when `peer` is a point of low order, found by
  // what the derivation returns (setting such a peer succeeds).
  absl::StatusOr<Secret32> Shared(const Bytes32& peer) const;

 private:
  KeyPtr key_;
};

}  // namespace rivulet

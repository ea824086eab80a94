#pragma once

#include <array>
#include <string_view>

#include "privacy/crypto/openssl_ptr.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

using Signature = std::array<uint8_t, 64>;

// Ed25519 (RFC 8032, pure). `key` must be an Ed25519 private key; anything else ends the process.
Signature SignEd25519(EVP_PKEY& key, std::string_view message);

// False for a wrong signature and for a key of another kind.
bool VerifyEd25519(EVP_PKEY& public_key, std::string_view message, const Signature& signature);

// From the raw 32 bytes of RFC 8032. A public key may be one that is on no curve: it then verifies
// nothing.
KeyPtr Ed25519PublicKey(const Bytes32& raw);
KeyPtr Ed25519PrivateKey(const Secret32& raw);

// The raw public key of a pair or of a public key. InvalidArgument for a key of another kind.
absl::StatusOr<Bytes32> Ed25519RawPublicKey(EVP_PKEY& key);

}  // namespace rivulet

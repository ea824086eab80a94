#include "privacy/crypto/x25519.h"

#include <openssl/err.h>

#include "privacy/crypto/must.h"
#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {
namespace {

KeyPtr X25519Private(const Secret32& secret) {
  KeyPtr key(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.bytes().data(),
                                          secret.bytes().size()));
  MustCrypto(key != nullptr, "X25519: private key");
  return key;
}

}  // namespace

X25519Pair X25519PairOf(const Secret32& secret) {
  const KeyPtr key = X25519Private(secret);
  X25519Pair pair{.secret = secret};
  size_t size = pair.public_key.size();
  MustCrypto(EVP_PKEY_get_raw_public_key(key.get(), pair.public_key.data(), &size) == 1 &&
                 size == pair.public_key.size(),
             "X25519: public key");
  return pair;
}

X25519Key::X25519Key(const Secret32& secret) : key_(X25519Private(secret)) {}

absl::StatusOr<Secret32> X25519Key::Shared(const Bytes32& peer) const {
  const KeyPtr peer_key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, peer.data(), peer.size()));
  const KeyContextPtr context(EVP_PKEY_CTX_new(key_.get(), nullptr));
  MustCrypto(peer_key != nullptr && context != nullptr &&
                 EVP_PKEY_derive_init(context.get()) == 1 &&
                 EVP_PKEY_derive_set_peer(context.get(), peer_key.get()) == 1,
             "X25519: set-up");
  Secret32 shared;
  size_t size = shared.mutable_bytes().size();
  if (EVP_PKEY_derive(context.get(), shared.mutable_bytes().data(), &size) != 1 || size != 32) {
    ERR_clear_error();
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "X25519 key of the peer: got a point of low order, want one of full order");
  }
  return shared;
}

}  // namespace rivulet

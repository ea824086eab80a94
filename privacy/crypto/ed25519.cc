#include "privacy/crypto/ed25519.h"

#include <openssl/err.h>

#include "privacy/crypto/must.h"

namespace rivulet {
namespace {

using DigestContextPtr = CPtr<EVP_MD_CTX, EVP_MD_CTX_free>;

const uint8_t* Octets(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace

Signature SignEd25519(EVP_PKEY& key, std::string_view message) {
  const DigestContextPtr context(EVP_MD_CTX_new());
  Signature signature{};
  size_t size = signature.size();
  MustCrypto(EVP_PKEY_get_base_id(&key) == EVP_PKEY_ED25519 && context != nullptr &&
                 EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, &key) == 1 &&
                 EVP_DigestSign(context.get(), signature.data(), &size, Octets(message),
                                message.size()) == 1 &&
                 size == signature.size(),
             "Ed25519: signing");
  return signature;
}

bool VerifyEd25519(EVP_PKEY& public_key, std::string_view message, const Signature& signature) {
  if (EVP_PKEY_get_base_id(&public_key) != EVP_PKEY_ED25519) return false;
  const DigestContextPtr context(EVP_MD_CTX_new());
  MustCrypto(context != nullptr, "Ed25519: memory");
  const bool right =
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, &public_key) == 1 &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), Octets(message),
                       message.size()) == 1;
  if (!right) ERR_clear_error();
  return right;
}

KeyPtr Ed25519PublicKey(const Bytes32& raw) {
  KeyPtr key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw.data(), raw.size()));
  MustCrypto(key != nullptr, "Ed25519: public key");
  return key;
}

KeyPtr Ed25519PrivateKey(const Secret32& raw) {
  KeyPtr key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw.bytes().data(),
                                          raw.bytes().size()));
  MustCrypto(key != nullptr, "Ed25519: private key");
  return key;
}

absl::StatusOr<Bytes32> Ed25519RawPublicKey(EVP_PKEY& key) {
  Bytes32 raw{};
  size_t size = raw.size();
  if (EVP_PKEY_get_base_id(&key) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_public_key(&key, raw.data(), &size) != 1 || size != raw.size()) {
    return OpenSslError(absl::StatusCode::kInvalidArgument, "Ed25519 public key");
  }
  return raw;
}

}  // namespace rivulet

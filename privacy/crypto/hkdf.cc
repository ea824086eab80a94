#include "privacy/crypto/hkdf.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "privacy/crypto/must.h"
#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {
namespace {

using KdfContextPtr = CPtr<EVP_KDF_CTX, EVP_KDF_CTX_free>;

// OpenSSL takes no null pointers for lengths of zero, and no const ones at all.
OSSL_PARAM OctetParameter(const char* name, const void* data, size_t size) {
  static char none;
  void* pointer = size == 0 ? &none : const_cast<void*>(data);
  return OSSL_PARAM_construct_octet_string(name, pointer, size);
}

}  // namespace

Secret32 HkdfSha256(std::span<const uint8_t> ikm, std::span<const uint8_t> salt,
                    std::string_view info) {
  static EVP_KDF* const kHkdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  const KdfContextPtr context(EVP_KDF_CTX_new(kHkdf));
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OctetParameter(OSSL_KDF_PARAM_KEY, ikm.data(), ikm.size()),
      OctetParameter(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      OctetParameter(OSSL_KDF_PARAM_INFO, info.data(), info.size()), OSSL_PARAM_construct_end()};
  Secret32 out;
  MustCrypto(context != nullptr && EVP_KDF_derive(context.get(), out.mutable_bytes().data(),
                                                  out.mutable_bytes().size(), parameters) == 1,
             "HKDF");
  return out;
}

}  // namespace rivulet

#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "common/status.h"

namespace rivulet {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
template <typename T, auto Free>
using CPtr = std::unique_ptr<T, FreeWith<Free>>;

using BioPtr = CPtr<BIO, BIO_free_all>;
using KeyPtr = CPtr<EVP_PKEY, EVP_PKEY_free>;
using KeyContextPtr = CPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using X509Ptr = CPtr<X509, X509_free>;
using X509RequestPtr = CPtr<X509_REQ, X509_REQ_free>;
using X509ExtensionPtr = CPtr<X509_EXTENSION, X509_EXTENSION_free>;
using X509StorePtr = CPtr<X509_STORE, X509_STORE_free>;
using X509StoreContextPtr = CPtr<X509_STORE_CTX, X509_STORE_CTX_free>;
using GeneralNamesPtr = CPtr<GENERAL_NAMES, GENERAL_NAMES_free>;
using ExtendedKeyUsagePtr = CPtr<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;
using BigNumberPtr = CPtr<BIGNUM, BN_free>;

// "what: the newest OpenSSL error"; empties its queue.
absl::Status OpenSslError(absl::StatusCode code, std::string_view what);

BioPtr MemoryBio(std::string_view bytes);  // must not outlive `bytes`
std::string TextOf(BIO& memory);           // everything written to a memory BIO

}  // namespace rivulet

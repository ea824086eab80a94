#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "privacy/crypto/identity.h"
#include "privacy/crypto/openssl_ptr.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

// What an authority writes into a certificate. Exactly one of the three kinds.
struct CertificateProfile {
  enum class Kind { kAuthority, kServer, kClient };
  Kind kind = Kind::kClient;
  std::string subject;             // common name: for people, nobody decides by it
  std::string uri;                 // kClient: the identity
  std::vector<std::string> hosts;  // kServer: DNS names and IP addresses
  int path_length = -1;            // kAuthority: authorities below it; -1 = any number
  std::chrono::seconds life{0};
  std::chrono::seconds backdate{300};  // clocks differ
};

// Signs `key` under `issuer` (nullptr: by itself) with `issuer_key`. The serial is random (159
// bits). Errors: InvalidArgument (a host that is neither name nor address), Internal.
absl::StatusOr<X509Ptr> Issue(const CertificateProfile& profile, EVP_PKEY& key, X509* issuer,
                              EVP_PKEY& issuer_key);

absl::StatusOr<std::string> CertificatePem(X509& certificate);
// The first certificate of a PEM text. InvalidArgument when there is none.
absl::StatusOr<X509Ptr> ReadCertificate(std::string_view pem);

std::vector<std::string> UriNamesOf(X509& certificate);
std::string SerialOf(X509& certificate);       // lower-case hex
int64_t NotAfterOf(X509& certificate);         // Unix time, seconds
std::string FingerprintOf(X509& certificate);  // SHA-256 of its DER form, lower-case hex

// What signatures of a certificate's holder are checked by.
struct LeafKey {
  Bytes32 fingerprint{};  // SHA-256 of the certificate's DER form
  Bytes32 public_key{};   // Ed25519, raw
};
// Of the first certificate of a PEM text. InvalidArgument: none, or with a key of another kind.
absl::StatusOr<LeafKey> KeyOfLeaf(std::string_view pem);

// Whether a chain (leaf first) leads to one of `roots_pem` now, for `client` or server use.
// Unauthenticated with OpenSSL's reason ("certificate has expired") otherwise.
absl::Status VerifyChain(std::string_view chain_pem, std::string_view roots_pem, bool client);

}  // namespace rivulet

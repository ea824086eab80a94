#pragma once

#include <string>
#include <string_view>

#include "privacy/crypto/ed25519.h"
#include "privacy/crypto/openssl_ptr.h"
#include "privacy/crypto/secret.h"

namespace rivulet::secagg {

// What a verified certificate says of a member of a session.
struct MemberCertificate {
  std::string client_id;  // the certificate's URI name
  std::string organisation;
  Bytes32 fingerprint{};  // SHA-256 of the certificate's DER form
  Bytes32 public_key{};   // Ed25519, raw (Ed25519RawPublicKey)
};

// Signs with the identity key of a client. A seam: large tests stub signatures.
class Signer {
 public:
  virtual ~Signer() = default;
  virtual Signature Sign(std::string_view message) = 0;
};

class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual bool Verify(const Bytes32& public_key, std::string_view message,
                      const Signature& signature) const = 0;
};

// Ed25519 with a private key, which must outlive it.
class KeySigner : public Signer {
 public:
  explicit KeySigner(EVP_PKEY& key) : key_(key) {}
  Signature Sign(std::string_view message) override;

 private:
  EVP_PKEY& key_;
};

class Ed25519Verifier : public Verifier {
 public:
  bool Verify(const Bytes32& public_key, std::string_view message,
              const Signature& signature) const override;
};

}  // namespace rivulet::secagg

#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

// An accepted identity is made of names and prints back to the same.
void CheckIdentity(const absl::StatusOr<Identity>& identity) {
  if (!identity.ok()) return;
  Require(IsName(identity->federation) && IsName(identity->organisation) && IsName(identity->name));
  const auto again = ParseIdentityUri(identity->uri());
  Require(again.ok() && again->uri() == identity->uri() && again->role == identity->role);
}

}  // namespace

// A certificate, a request, a key or a name of any content is refused or says who it is of.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckIdentity(ParseIdentityUri(text));
  CheckIdentity(IdentityOfLeaf(text));
  if (const auto certificate = ReadCertificate(text); certificate.ok()) {
    (void)UriNamesOf(**certificate);
    Require(!SerialOf(**certificate).empty() && FingerprintOf(**certificate).size() == 64);
    (void)NotAfterOf(**certificate);
    const auto pem = CertificatePem(**certificate);
    Require(pem.ok() && ReadCertificate(*pem).ok());
  }
  (void)VerifyChain(text, text, /*client=*/true);
  if (const auto key = KeyOfRequest(text); key.ok()) Require(*key != nullptr);
  if (const auto key = ReadPrivateKey(text); key.ok()) Require(PrivatePem(**key).ok());
  return 0;
}

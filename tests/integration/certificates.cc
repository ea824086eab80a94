#include "tests/integration/certificates.h"

#include <gtest/gtest.h>

#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& directory, EVP_PKEY& key, const std::string& chain,
           const std::string& roots) {
  const absl::Status written = WriteCredentials(directory, {PrivatePem(key).value(), chain, roots});
  ASSERT_TRUE(written.ok()) << written;
}

}  // namespace

fs::path WriteClientCredentials(const fs::path& pki, const Identity& who, std::chrono::seconds life,
                                const fs::path& directory) {
  const IssuingAuthority issuing = ReadIssuingAuthority(pki / "issuing").value();
  const KeyPtr key = NewSigningKey().value();
  const std::string chain = IssueClient(issuing, who, RequestPem(*key).value(), life).value();
  Write(directory, *key, chain, issuing.roots_pem);
  return directory;
}

fs::path WriteServerCredentials(const fs::path& pki, std::chrono::seconds life,
                                const fs::path& directory) {
  const IssuingAuthority issuing = ReadIssuingAuthority(pki / "issuing").value();
  const KeyPtr key = NewSigningKey().value();
  const X509Ptr leaf = Issue({.kind = CertificateProfile::Kind::kServer,
                              .subject = "coordinator",
                              .hosts = {"127.0.0.1"},
                              .life = life},
                             *key, issuing.certificate.get(), *issuing.key)
                           .value();
  Write(directory, *key, CertificatePem(*leaf).value() + issuing.chain_pem, issuing.roots_pem);
  return directory;
}

fs::path MixCredentials(const fs::path& holder, const fs::path& roots, const fs::path& directory) {
  Credentials mixed = ReadCredentials(holder).value();
  mixed.roots_pem = ReadCredentials(roots).value().roots_pem;
  const absl::Status written = WriteCredentials(directory, mixed);
  EXPECT_TRUE(written.ok()) << written;
  return directory;
}

TlsFiles ReadTlsFiles(const fs::path& directory) {
  Credentials files = ReadCredentials(directory).value();
  return {std::move(files.key_pem), std::move(files.chain_pem), std::move(files.roots_pem)};
}

}  // namespace rivulet

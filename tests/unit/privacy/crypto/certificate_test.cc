#include "privacy/crypto/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using Kind = CertificateProfile::Kind;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::chrono::hours kDay{24};

class Certificates : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ScratchFolder();
    ASSERT_TRUE(InitPki({.federation = "demo"}, folder_ / "pki").ok());
    auto authority = ReadIssuingAuthority(folder_ / "pki" / "issuing");
    ASSERT_TRUE(authority.ok()) << authority.status();
    authority_ = *std::move(authority);
  }

  // A leaf under the issuing authority, with its chain.
  std::string Chain(const CertificateProfile& profile) {
    const KeyPtr key = *NewSigningKey();
    const X509Ptr leaf = *Issue(profile, *key, authority_.certificate.get(), *authority_.key);
    return *CertificatePem(*leaf) + authority_.chain_pem;
  }
  CertificateProfile Client() const {
    return {.kind = Kind::kClient,
            .subject = "client-1",
            .uri = "rivulet://demo/hospital/client-1",
            .life = kDay};
  }

  fs::path folder_;
  IssuingAuthority authority_;
};

TEST_F(Certificates, AnEnrolledClientIsWhoItsCertificateSays) {
  const KeyPtr key = *NewSigningKey();
  const Identity who{"demo", "hospital", "client-1"};
  const auto chain = IssueClient(authority_, who, *RequestPem(*key));
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_TRUE(VerifyChain(*chain, authority_.roots_pem, true).ok());
  const auto identity = IdentityOfLeaf(*chain);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->uri(), who.uri());
  EXPECT_FALSE(identity->serial.empty());
  EXPECT_EQ(*FederationOfChain(*chain), "demo");
}

TEST_F(Certificates, AnotherRootVouchesForNobodyHere) {
  ASSERT_TRUE(InitPki({.federation = "demo"}, folder_ / "other").ok());
  const auto other = ReadCredentials(folder_ / "other" / "operator");
  const absl::Status status = VerifyChain(other->chain_pem, authority_.roots_pem, true);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConnection);
}

TEST_F(Certificates, AnExpiredOneIsRefusedWithTheReason) {
  CertificateProfile profile = Client();
  profile.life = std::chrono::seconds(-10);
  profile.backdate = std::chrono::hours(1);
  const absl::Status status = VerifyChain(Chain(profile), authority_.roots_pem, true);
  EXPECT_THAT(std::string(status.message()), HasSubstr("expired"));
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConnection);
}

TEST_F(Certificates, AServersCertificateIsNoClients) {
  const std::string chain =
      Chain({.kind = Kind::kServer, .subject = "server", .hosts = {"localhost"}, .life = kDay});
  EXPECT_FALSE(VerifyChain(chain, authority_.roots_pem, true).ok());
  EXPECT_TRUE(VerifyChain(chain, authority_.roots_pem, false).ok());
  EXPECT_EQ(IdentityOfLeaf(chain).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(Certificates, AnAuthoritysCertificateIsNoIdentity) {
  EXPECT_EQ(IdentityOfLeaf(authority_.chain_pem).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(Certificates, ALeafCannotIssue) {
  const KeyPtr leaf_key = *NewSigningKey();
  const X509Ptr leaf = *Issue(Client(), *leaf_key, authority_.certificate.get(), *authority_.key);
  const KeyPtr below_key = *NewSigningKey();
  const X509Ptr below = *Issue(Client(), *below_key, leaf.get(), *leaf_key);
  const std::string chain = *CertificatePem(*below) + *CertificatePem(*leaf) + authority_.chain_pem;
  EXPECT_FALSE(VerifyChain(chain, authority_.roots_pem, true).ok());
}

// Adds a second name to a profile's certificate, which Issue never does.
TEST_F(Certificates, TwoUriNamesAreNoIdentity) {
  const KeyPtr key = *NewSigningKey();
  const X509Ptr leaf = *Issue(Client(), *key, authority_.certificate.get(), *authority_.key);
  X509_EXTENSION_free(
      X509_delete_ext(leaf.get(), X509_get_ext_by_NID(leaf.get(), NID_subject_alt_name, -1)));
  const X509ExtensionPtr names(X509V3_EXT_conf_nid(
      nullptr, nullptr, NID_subject_alt_name,
      "URI:rivulet://demo/hospital/client-1,URI:rivulet://demo/hospital/client-2"));
  ASSERT_NE(names, nullptr);
  X509_add_ext(leaf.get(), names.get(), -1);
  const absl::Status status = IdentityOfLeaf(*CertificatePem(*leaf)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("got 2 URI names"));
}

TEST_F(Certificates, ARequestOfAnotherKeyIsRefused) {
  std::string request = *RequestPem(*NewSigningKey().value());
  request[request.size() / 2] = request[request.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(KeyOfRequest(request).ok());
  EXPECT_FALSE(KeyOfRequest("").ok());
}

TEST_F(Certificates, AHostThatWouldAddAnotherNameIsRefused) {
  const KeyPtr key = *NewSigningKey();
  for (const char* host : {"a,URI:rivulet://demo/x/y", "", "a b", "*.example.org"}) {
    EXPECT_FALSE(Issue({.kind = Kind::kServer, .subject = "s", .hosts = {host}, .life = kDay}, *key,
                       authority_.certificate.get(), *authority_.key)
                     .ok())
        << host;
  }
}

TEST_F(Certificates, KeysAreReadableByTheirOwnerAlone) {
  const auto mode = fs::status(folder_ / "pki" / "issuing" / "key.pem").permissions();
  EXPECT_EQ(mode, fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(Certificates, AHierarchyIsNeverWrittenOverAnother) {
  EXPECT_EQ(InitPki({.federation = "demo"}, folder_ / "pki").status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace rivulet

#include "client/agent/peer_certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Two federations that share nothing, made once a process.
const fs::path& Federations() {
  static const fs::path folder = [] {
    const fs::path made = ScratchRoot::Path() / "federations";
    for (const char* federation : {"demo", "other"}) {
      EXPECT_TRUE(InitPki({.federation = federation}, made / federation).ok());
    }
    return made;
  }();
  return folder;
}

class PeerCertificatesTest : public testing::Test {
 protected:
  void SetUp() override { own_ = FilesOf("demo", {"demo", "lab", "ada"}); }
  Credentials FilesOf(const std::string& authority, const Identity& who,
                      std::chrono::seconds life = std::chrono::hours(1)) {
    const IssuingAuthority issuing = *ReadIssuingAuthority(folder_ / authority / "issuing");
    const KeyPtr key = *NewSigningKey();
    return {*PrivatePem(*key), *IssueClient(issuing, who, *RequestPem(*key), life),
            issuing.roots_pem};
  }
  static std::string LeafOf(const Credentials& files) {
    return *CertificatePem(**ReadCertificate(files.chain_pem));
  }
  static absl::Status Asked(PeerCertificates& peers, const std::string& leaf) {
    peers.Offer({leaf});
    return peers.Find(KeyOfLeaf(leaf)->fingerprint).status();
  }
  std::unique_ptr<PeerCertificates> Make(std::set<std::string> denied = {}) {
    auto peers = PeerCertificates::Make(own_, std::move(denied));
    EXPECT_TRUE(peers.ok()) << peers.status();
    return *std::move(peers);
  }

  const fs::path folder_ = Federations();
  Credentials own_;
};

TEST_F(PeerCertificatesTest, AnAgentOfTheFederationIsFoundByItsFingerprint) {
  const auto peers = Make();
  const std::string leaf = LeafOf(FilesOf("demo", {"demo", "ward", "bob"}));
  ASSERT_TRUE(Asked(*peers, leaf).ok());
  const auto found = *peers->Find(KeyOfLeaf(leaf)->fingerprint);
  EXPECT_EQ(found.client_id, "rivulet://demo/ward/bob");
  EXPECT_EQ(found.organisation, "ward");
  EXPECT_EQ(found.public_key, KeyOfLeaf(leaf)->public_key);
}

TEST_F(PeerCertificatesTest, TheOwnOneIsThereBeforeAnyIsOffered) {
  const auto peers = Make();
  EXPECT_EQ(peers->self().client_id, "rivulet://demo/lab/ada");
  EXPECT_TRUE(peers->Find(peers->self().fingerprint).ok());
}

TEST_F(PeerCertificatesTest, WhatNobodyHereVouchesForIsNotFound) {
  const std::string expired =
      LeafOf(FilesOf("demo", {"demo", "lab", "old"}, std::chrono::seconds(-60)));
  const std::string foreign = LeafOf(FilesOf("other", {"demo", "lab", "eve"}));
  const std::string renamed = LeafOf(FilesOf("demo", {"other", "lab", "eve"}));
  const std::string operating = LeafOf(FilesOf("demo", {"demo", "lab", "op", Role::kOperator}));
  for (const std::string& leaf : {expired, foreign, renamed, operating}) {
    EXPECT_EQ(Asked(*Make(), leaf).code(), absl::StatusCode::kNotFound);
  }
  const auto peers = Make();
  peers->Offer({"", "no PEM", own_.roots_pem});
  EXPECT_EQ(peers->Find(Bytes32{}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PeerCertificatesTest, OneOnTheDenylistIsNotFound) {
  const std::string leaf = LeafOf(FilesOf("demo", {"demo", "lab", "bob"}));
  EXPECT_TRUE(Asked(*Make(), leaf).ok());
  EXPECT_FALSE(Asked(*Make({IdentityOfLeaf(leaf)->serial}), leaf).ok());
}

TEST_F(PeerCertificatesTest, OneThatExpiresAfterItWasOfferedIsRefused) {
  const auto peers = Make();
  const std::string leaf = LeafOf(FilesOf("demo", {"demo", "lab", "bob"}, std::chrono::seconds(3)));
  ASSERT_TRUE(Asked(*peers, leaf).ok());
  const auto fingerprint = KeyOfLeaf(leaf)->fingerprint;
  absl::Status status;
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (status.ok() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    status = peers->Find(fingerprint).status();
  }
  EXPECT_THAT(std::string(status.message()), HasSubstr("has expired"));
}

}  // namespace
}  // namespace rivulet

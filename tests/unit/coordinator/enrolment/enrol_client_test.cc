#include "coordinator/enrolment/enrol_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <fstream>
#include <sstream>

#include "common/io/file.h"
#include "coordinator/enrolment/enrol_server.h"
#include "privacy/crypto/certificate.h"
#include "tests/unit/scratch.h"

// A site and the enrolment process over TLS on loopback.

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class EnrolClientTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ScratchFolder();
    const auto fingerprint = InitPki({.federation = "demo"}, folder_ / "pki");
    ASSERT_TRUE(fingerprint.ok()) << fingerprint.status();
    fingerprint_ = *fingerprint;
    authority_.emplace(*ReadIssuingAuthority(folder_ / "pki" / "issuing"),
                       *TokenStore::Open(folder_ / "store"));
    auto server = EnrolServer::Start("127.0.0.1:0", *ReadCredentials(folder_ / "pki" / "enrolment"),
                                     *authority_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override { server_.reset(); }

  TokenText NewToken() {
    const auto token = TokenStore::Open(folder_ / "store")
                           ->Create("lab", Role::kAgent, std::chrono::hours(1), std::time(nullptr));
    return {*token, fingerprint_};
  }
  absl::Status Request(const TokenText& token, const fs::path& directory, bool renew = false) {
    return RequestCertificate(
        {"127.0.0.1:" + std::to_string(server_->port()), "ann", directory, renew}, token);
  }

  fs::path folder_;
  std::string fingerprint_;
  std::optional<EnrolmentAuthority> authority_;
  std::unique_ptr<EnrolServer> server_;
};

TEST_F(EnrolClientTest, AFolderThatCannotBeWrittenLeavesTheTokenGood) {
  std::ofstream(folder_ / "file") << "not a folder";
  const TokenText token = NewToken();
  const absl::Status status = Request(token, folder_ / "file" / "pki");
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("file/pki"));
  EXPECT_TRUE(Request(token, folder_ / "ann").ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "ann"), {}), 3);  // and no probe
}

TEST_F(EnrolClientTest, AnIdentityIsReplacedOnlyWhenAskedTo) {
  ASSERT_TRUE(Request(NewToken(), folder_ / "ann").ok());
  const std::string key = *ReadFile(folder_ / "ann" / "key.pem", 1 << 16);
  const TokenText token = NewToken();
  const absl::Status status = Request(token, folder_ / "ann");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ann/key.pem: exists; give --renew"));
  EXPECT_EQ(*ReadFile(folder_ / "ann" / "key.pem", 1 << 16), key);
  EXPECT_TRUE(Request(token, folder_ / "ann", true).ok());
  EXPECT_NE(*ReadFile(folder_ / "ann" / "key.pem", 1 << 16), key);
  EXPECT_TRUE(ReadValidCredentials(folder_ / "ann", true).ok());
}

TEST_F(EnrolClientTest, TheLogSaysWhoGotWhichCertificateAndWhoNone) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  const TokenText token = NewToken();
  EXPECT_TRUE(Request(token, folder_ / "ann").ok());
  EXPECT_FALSE(Request(token, folder_ / "again").ok());
  server_.reset();  // which ends its threads
  spdlog::set_default_logger(before);
  const auto chain = ReadCertificate(*ReadFile(folder_ / "ann" / "cert.pem", 1 << 16));
  EXPECT_THAT(log.str(), HasSubstr("enrolled lab/ann, role agent, certificate " +
                                   SerialOf(**chain) + ", from 127.0.0.1"));
  EXPECT_THAT(log.str(), HasSubstr("enrolment refused to 127.0.0.1: "));
  EXPECT_EQ(log.str().find(token.token), std::string::npos);
}

}  // namespace
}  // namespace rivulet

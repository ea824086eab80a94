#include "coordinator/enrolment/token_store.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "common/io/sha256.h"
#include "coordinator/enrolment/enrol_client.h"
#include "coordinator/enrolment/rate_limit.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kNow = 1'700'000'000;

class Tokens : public testing::Test {
 protected:
  TokenStore Store() const { return *TokenStore::Open(folder_); }

  const fs::path folder_ = ScratchFolder();
};

TEST_F(Tokens, OneIsGoodForOneCertificate) {
  TokenStore store = Store();
  const std::string token = *store.Create("hospital", Role::kAgent, std::chrono::hours(1), kNow);
  const auto grant = store.Spend(token, "client-1", kNow + 10);
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->organisation, "hospital");
  EXPECT_FALSE(Store().Spend(token, "client-2", kNow + 11).ok());
}

TEST_F(Tokens, UnknownUsedAndExpiredOnesGetTheSameWords) {
  TokenStore store = Store();
  const std::string used = *store.Create("hospital", Role::kAgent, std::chrono::hours(1), kNow);
  ASSERT_TRUE(store.Spend(used, "client-1", kNow).ok());
  const std::string old = *store.Create("hospital", Role::kAgent, std::chrono::hours(1), kNow);
  const absl::Status unknown = store.Spend(std::string(32, 'x'), "client-1", kNow).status();
  EXPECT_EQ(store.Spend(used, "client-1", kNow).status(), unknown);
  EXPECT_EQ(store.Spend(old, "client-1", kNow + 3601).status(), unknown);
  EXPECT_EQ(store.Spend("../../names/client-1", "client-1", kNow).status(), unknown);
}

TEST_F(Tokens, ANameBelongsToTheOrganisationThatFirstHadIt) {
  TokenStore store = Store();
  const auto token = [&](const char* organisation) {
    return *store.Create(organisation, Role::kAgent, std::chrono::hours(1), kNow);
  };
  EXPECT_TRUE(store.Spend(token("hospital"), "client-1", kNow).ok());
  EXPECT_TRUE(store.Spend(token("hospital"), "client-1", kNow).ok());
  EXPECT_FALSE(store.Spend(token("bank"), "client-1", kNow).ok());
}

TEST_F(Tokens, ANameThatCannotBeClaimedIsAnErrorAndTheTokenStaysGood) {
  TokenStore store = Store();
  const std::string token = *store.Create("hospital", Role::kAgent, std::chrono::hours(1), kNow);
  fs::create_directory(folder_ / "names" / "client-1");  // there, but nobody's claim
  EXPECT_FALSE(store.Spend(token, "client-1", kNow).ok());
  EXPECT_TRUE(store.Spend(token, "client-2", kNow).ok());
}

TEST_F(Tokens, TheStoreHoldsNoToken) {
  TokenStore store = Store();
  const std::string token = *store.Create("hospital", Role::kAgent, std::chrono::hours(1), kNow);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (!entry.is_regular_file()) continue;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    EXPECT_EQ(text.str().find(token), std::string::npos);
  }
  EXPECT_TRUE(fs::exists(folder_ / "tokens" / Sha256Hex(token)));
}

TEST(TokenText, RoundTripsAndNeverRepeatsWhatItRefuses) {
  const TokenText token{std::string(32, '\x7f'), std::string(64, 'a')};
  const auto parsed = ParseTokenText(TextOf(token) + "\n");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->token, token.token);
  EXPECT_EQ(parsed->fingerprint, token.fingerprint);
  for (const std::string& bad :
       {std::string(), std::string("rvt1.secret"), std::string(134, 'z')}) {
    const absl::Status status = ParseTokenText(bad).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
    EXPECT_EQ(std::string(status.message()).find("secret"), std::string::npos);
  }
}

TEST(RateLimit, FiveAMinuteFromOneAddressAHundredAnHourInAll) {
  RateLimit limit;
  RateLimit::Instant now{};
  for (int request = 0; request < 5; ++request) EXPECT_TRUE(limit.Allow("a", now));
  EXPECT_FALSE(limit.Allow("a", now));
  EXPECT_TRUE(limit.Allow("b", now));
  now += std::chrono::seconds(60);
  EXPECT_TRUE(limit.Allow("a", now));  // the seventh that passed
  for (int request = 7; request < 100; ++request) {
    EXPECT_TRUE(limit.Allow(std::to_string(request), now));
  }
  EXPECT_FALSE(limit.Allow("fresh", now));
  EXPECT_TRUE(limit.Allow("fresh", now + std::chrono::hours(1)));
}

}  // namespace
}  // namespace rivulet

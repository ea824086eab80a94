#include <ctime>

#include "service_fixture.h"

namespace rivulet {
namespace {

TEST(Access, ACertificateIsGoodUpToItsLastSecond) {
  const Access access("demo", false);
  Identity caller;  // not_after_s = 0: of a caller without one
  EXPECT_TRUE(access.CheckAgain(caller).ok());
  caller.not_after_s = std::time(nullptr) + 3600;
  EXPECT_TRUE(access.CheckAgain(caller).ok());
  caller.not_after_s = std::time(nullptr) - 1;
  EXPECT_EQ(access.CheckAgain(caller).code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(access.CheckAgain(caller).message(), "certificate: has expired");
}

// X.509 counts whole seconds and the handshake must come first, so this takes about five of them.
TEST_F(ServiceTest, ACertificateThatExpiresOnAnOpenStreamEndsIt) {
  const IssuingAuthority authority = *ReadIssuingAuthority(folder_ / "pki" / "issuing");
  const KeyPtr key = *NewSigningKey();
  const std::string chain =
      *IssueClient(authority, {"demo", "lab", "ann"}, *RequestPem(*key), std::chrono::seconds(5));
  ASSERT_TRUE(
      WriteCredentials(folder_ / "ann", {*PrivatePem(*key), chain, authority.roots_pem}).ok());
  const auto link = NewGrpcLink({address(), folder_ / "ann", ""});
  Connect(*link, "ann");
  link->Beat("idle");  // still good
  while (std::time(nullptr) <= IdentityOfLeaf(chain)->not_after_s) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  link->Beat("idle");
  const auto lost = inboxes_["ann"].Take<StreamLost>();
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(lost->status.message()), HasSubstr("certificate: has expired"));
  EXPECT_EQ(traffic_.calls_denied, 1u);
}

}  // namespace
}  // namespace rivulet

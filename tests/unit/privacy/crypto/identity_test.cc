#include "privacy/crypto/identity.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(Names, OnlyTheGrammarPasses) {
  for (const char* good : {"a", "0", "client-1", "a--b", "a-"}) EXPECT_TRUE(IsName(good)) << good;
  EXPECT_TRUE(IsName(std::string(63, 'a')));
  for (const char* bad : {"", "-a", "A", "a.b", "a_b", "a b", "a/b", "a%2f", "ä", "a\n"}) {
    EXPECT_FALSE(IsName(bad)) << bad;
  }
  EXPECT_FALSE(IsName(std::string(64, 'a')));
}

TEST(IdentityUri, RoundTripsForEveryRole) {
  for (const Role role : {Role::kAgent, Role::kOperator, Role::kAdmin}) {
    Identity identity{"demo", "hospital", "client-1", role};
    const auto parsed = ParseIdentityUri(identity.uri());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->name, "client-1");
    EXPECT_EQ(parsed->organisation, "hospital");
    EXPECT_EQ(parsed->federation, "demo");
    EXPECT_EQ(parsed->role, role);
  }
}

TEST(IdentityUri, HasOneSpellingAndNoOther) {
  for (const char* bad :
       {"", "rivulet://", "rivulet://demo/hospital", "rivulet://demo/hospital/client/",
        "rivulet://demo/hospital/client/agent", "rivulet://demo/hospital/client/root",
        "rivulet://demo/hospital/client/operator/x", "RIVULET://demo/hospital/client",
        "rivulet://demo//client", "rivulet://Demo/hospital/client", "https://demo/hospital/client",
        "rivulet://demo/hospital/client?x", "rivulet://demo/hospital/cl%69ent"}) {
    EXPECT_FALSE(ParseIdentityUri(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace rivulet

#include "coordinator/rpc/access.h"

#include <gtest/gtest.h>

#include "coordinator/rpc/revoked_file.h"

namespace rivulet {
namespace {

// security.md: agents have the data plane, operators and admins the rest, nobody both.
TEST(Access, TheTableGivesEachRpcToExactlyItsRoles) {
  for (int number = 0; number < static_cast<int>(Rpc::kCount); ++number) {
    const Rpc rpc = static_cast<Rpc>(number);
    const bool data_plane = rpc == Rpc::kConnect || rpc == Rpc::kDownload || rpc == Rpc::kUpload;
    EXPECT_EQ(MayCall(Role::kAgent, rpc), data_plane) << number;
    EXPECT_EQ(MayCall(Role::kOperator, rpc), !data_plane) << number;
    EXPECT_EQ(MayCall(Role::kAdmin, rpc), !data_plane) << number;
  }
}

TEST(Serials, AreReadAsOpensslPrintsThem) {
  const auto serials = ParseSerials("# lost\n0A:BC:01\n\n  0abc02  # a comment\r\nabc\n");
  ASSERT_TRUE(serials.ok()) << serials.status();
  EXPECT_EQ(*serials, (std::set<std::string>{"0abc01", "0abc02", "0abc"}));
  EXPECT_TRUE(ParseSerials("")->empty());
}

TEST(Serials, AnythingElseIsRefusedWithItsLine) {
  for (const std::string& line :
       {std::string("serial=0A"), std::string("xyz"), std::string(41, 'a')}) {
    const absl::Status refused = ParseSerials("0a\n" + line).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_NE(refused.message().find("line 2: got '" + line + "'"), std::string_view::npos)
        << refused;
  }
}

}  // namespace
}  // namespace rivulet

#include "coordinator/rpc/access.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace rivulet

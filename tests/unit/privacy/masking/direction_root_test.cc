#include "privacy/masking/direction_root.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

// HKDF-SHA256 of Python's hmac and hashlib: IKM 32..63, salt 0..31, info 07000000 "rvl1/zo"; its
// output begins with 411ed1d608c87aac.
TEST(DirectionRoot, IsTheBeginningOfTheSessionsPublicStream) {
  Bytes32 sid0, sid;
  for (uint8_t byte = 0; byte < 32; ++byte) {
    sid0[byte] = byte;
    sid[byte] = static_cast<uint8_t>(32 + byte);
  }
  EXPECT_EQ(DirectionRootOf(sid0, sid), 0xac7ac808d6d11e41);
  sid[31] ^= 1;
  EXPECT_NE(DirectionRootOf(sid0, sid), 0xac7ac808d6d11e41);
}

}  // namespace
}  // namespace rivulet

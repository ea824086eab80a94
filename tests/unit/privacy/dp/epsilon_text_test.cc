#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/accountant.h"

namespace rivulet {
namespace {

TEST(FormatEpsilon, RoundsUp) {
  EXPECT_EQ(FormatEpsilon(1.2341, 3), "1.235");
  EXPECT_EQ(FormatEpsilon(1.25, 2), "1.25");  // exactly
  EXPECT_EQ(FormatEpsilon(0.1, 1), "0.2");    // the double is above a tenth
  EXPECT_EQ(FormatEpsilon(0.3, 1), "0.3");    // and this one below three
  EXPECT_EQ(FormatEpsilon(9.9999, 3), "10.000");
  EXPECT_EQ(FormatEpsilon(99.5, 0), "100");
  EXPECT_EQ(FormatEpsilon(0, 3), "0.000");
  EXPECT_EQ(FormatEpsilon(5e-324, 3), "0.001");
  EXPECT_EQ(FormatEpsilon(8, 3), "8.000");
  EXPECT_EQ(FormatEpsilon(std::nextafter(8.0, 9.0), 3), "8.001");
  EXPECT_EQ(FormatEpsilon(HUGE_VAL, 3), "inf");
}

}  // namespace
}  // namespace rivulet

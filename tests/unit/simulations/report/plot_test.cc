#include "simulations/report/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace rivulet {
namespace {

// By hand: (227 - 52.4) / 5 = 34.9, the next of 1, 2, 5 x 10^n is 50.
TEST(Plot, TicksAreRoundAndCoverTheValues) {
  EXPECT_EQ(RoundTicks(52.4, 227, 5), (std::vector<double>{50, 100, 150, 200, 250}));
  EXPECT_EQ(RoundTicks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
}

TEST(Plot, EqualValuesStillGiveAnAxis) {
  const std::vector<double> ticks = RoundTicks(3, 3, 5);
  ASSERT_GE(ticks.size(), 2u);
  EXPECT_LT(ticks.front(), 3);
  EXPECT_GT(ticks.back(), 3);
}

// One unit in the last place apart: counted in doubles the ticks would never end.
TEST(Plot, NeighbouringDoublesStillGiveAnAxis) {
  for (double low : {1.0, 3.25, 1e17, 1e-300, 0.0, -4.0}) {
    const double high = std::nextafter(low, 1e300);
    const std::vector<double> ticks = RoundTicks(low, high, 5);
    ASSERT_GE(ticks.size(), 2u) << low;
    ASSERT_LE(ticks.size(), 12u) << low;
    EXPECT_LE(ticks.front(), low);
    EXPECT_GE(ticks.back(), high);
  }
}

TEST(Plot, HugeRangesHaveFewTicks) {
  for (double high : {1e9, 1e150, 1e299}) {
    const std::vector<double> ticks = RoundTicks(-high, high, 5);
    EXPECT_LE(ticks.size(), 8u);
    EXPECT_GE(ticks.back(), high * (1 - 1e-9));
  }
}

// A run that diverged: its perplexity is beyond binary64, its loss not a number.
TEST(Plot, PointsThatAreNotFiniteAreLeftOut) {
  const double infinite = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg =
      PlotSvg("run", {{"loss", {{1, 2.0}, {2, nan}, {3, 1.0}}}, {"ppl", {{1, infinite}}}});
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_NE(svg.find("<circle"), std::string::npos);
  EXPECT_NE(svg.find("no data"), std::string::npos);
}

TEST(Plot, EveryPointIsDrawnAndTextIsEscaped) {
  const std::string svg = PlotSvg("a<b", {{"loss", {{1, 4.5}, {2, 3.5}, {3, 3.25}}}, {"none", {}}});
  size_t dots = 0;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1))
    ++dots;
  EXPECT_EQ(dots, 3u);
  EXPECT_NE(svg.find("a&lt;b"), std::string::npos);
  EXPECT_NE(svg.find("no data"), std::string::npos);
}

}  // namespace
}  // namespace rivulet

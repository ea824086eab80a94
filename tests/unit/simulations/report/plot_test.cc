#include "simulations/report/plot.h"

#include <gtest/gtest.h>

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

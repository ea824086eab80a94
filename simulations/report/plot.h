#pragma once

#include <string>
#include <utility>
#include <vector>

namespace rivulet {

// One curve over rounds, drawn in a panel of its own.
struct PlotPanel {
  std::string title;                              // "held-out perplexity"
  std::vector<std::pair<double, double>> points;  // (round, value), ascending rounds
};

// A standalone SVG 1.1 picture: the panels side by side, with axes, ticks at round numbers and a
// dot per point. Text is escaped; points that are not finite are left out; a panel without points
// says so.
std::string PlotSvg(const std::string& title, const std::vector<PlotPanel>& panels);

// About `count` round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high], at
// least two. A range too narrow for an axis is widened. `low` <= `high`, both below 1e300; `count`
// >= 1.
std::vector<double> RoundTicks(double low, double high, int count);

}  // namespace rivulet

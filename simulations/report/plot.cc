#include "simulations/report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace rivulet {
namespace {

// Pixels.
constexpr double kWidth = 440, kHeight = 300, kLeft = 58, kRight = 16, kTop = 58, kBottom = 44;
// A range below this share of its values is drawn as one value: six digits would not tell its ticks
// apart.
constexpr double kNarrowest = 1e-5;

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

std::string Text(double x, double y, const char* anchor, const std::string& text,
                 const char* extra = "") {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" text-anchor=\"" + anchor + "\"" +
         extra + ">" + Escape(text) + "</text>\n";
}

std::string Line(double x1, double y1, double x2, double y2, const char* colour) {
  return "<line x1=\"" + Number(x1) + "\" y1=\"" + Number(y1) + "\" x2=\"" + Number(x2) +
         "\" y2=\"" + Number(y2) + "\" stroke=\"" + colour + "\"/>\n";
}

// Maps [low, high] onto [from, to] in pixels.
struct Axis {
  double low, high, from, to;
  double At(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

std::string DrawCurve(const PlotPanel& panel, const Axis& x, const Axis& y) {
  std::string path, dots;
  for (const auto& [round, value] : panel.points) {
    const std::string at = Number(x.At(round)) + "," + Number(y.At(value));
    path += (path.empty() ? "M" : " L") + at;
    dots += "<circle cx=\"" + Number(x.At(round)) + "\" cy=\"" + Number(y.At(value)) +
            "\" r=\"3\" fill=\"#1f6feb\"/>\n";
  }
  return "<path d=\"" + path + "\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\"/>\n" + dots;
}

// A curve that ran away (exp of a large loss is infinite) is drawn as far as it goes; 1e300 leaves
// room for the arithmetic of an axis.
PlotPanel Drawable(PlotPanel panel) {
  std::erase_if(panel.points, [](const auto& point) {
    return !(std::abs(point.first) < 1e300 && std::abs(point.second) < 1e300);
  });
  return panel;
}

std::string DrawPanel(const PlotPanel& panel, double origin) {
  const double left = origin + kLeft, right = origin + kWidth - kRight;
  std::string out = Text((left + right) / 2, kTop - 12, "middle", panel.title);
  if (panel.points.empty()) return out + Text((left + right) / 2, kHeight / 2, "middle", "no data");

  const auto [low, high] =
      std::minmax_element(panel.points.begin(), panel.points.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::vector<double> y_ticks = RoundTicks(low->second, high->second, 5);
  const std::vector<double> x_ticks =
      RoundTicks(panel.points.front().first, panel.points.back().first, 6);
  const Axis x{x_ticks.front(), x_ticks.back(), left, right};
  const Axis y{y_ticks.front(), y_ticks.back(), kHeight - kBottom, kTop};
  for (double tick : y_ticks) {
    out += Line(left, y.At(tick), right, y.At(tick), "#dddddd") +
           Text(left - 6, y.At(tick) + 4, "end", Number(tick));
  }
  for (double tick : x_ticks) {
    if (tick != std::floor(tick)) continue;  // rounds are whole
    out += Line(x.At(tick), y.from, x.At(tick), y.from + 4, "#555555") +
           Text(x.At(tick), y.from + 18, "middle", Number(tick));
  }
  out += Line(left, y.from, right, y.from, "#555555") +
         Text((left + right) / 2, kHeight - 8, "middle", "round");
  return out + DrawCurve(panel, x, y);
}

}  // namespace

std::vector<double> RoundTicks(double low, double high, int count) {
  const double scale = std::max(std::abs(low), std::abs(high));
  if (!(high - low > std::max(kNarrowest * scale, 1e-290))) {
    const double margin = std::max(scale * 0.1, 0.5);
    low -= margin;
    high += margin;
  }
  const double raw = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  const int steps = static_cast<int>(last - first);  // at most count + 2
  for (int index = 0; index <= steps; ++index) ticks.push_back((first + index) * step);
  return ticks;
}

std::string PlotSvg(const std::string& title, const std::vector<PlotPanel>& panels) {
  const double width = kWidth * static_cast<double>(std::max<size_t>(1, panels.size()));
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + Number(width) +
                    "\" height=\"" + Number(kHeight) +
                    "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n" +
                    "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" +
                    Text(width / 2, 22, "middle", title, " font-size=\"15\" font-weight=\"bold\"");
  for (size_t panel = 0; panel < panels.size(); ++panel) {
    out += DrawPanel(Drawable(panels[panel]), kWidth * static_cast<double>(panel));
  }
  return out + "</svg>\n";
}

}  // namespace rivulet

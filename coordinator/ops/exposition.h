#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rivulet {

// Builds a page in Prometheus' text format 0.0.4. Not thread safe.
class Exposition {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;

  // Starts a family; `type` counter | gauge | histogram.
  void Family(std::string_view name, std::string_view type, std::string_view help);
  // Of the family begun last; `suffix` as histograms have: "_bucket", "_sum", "_count".
  void Sample(double value, const Labels& labels = {}, std::string_view suffix = "");
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string name_;
};

// A value as the format writes it: "0.5", "+Inf", "NaN".
std::string MetricNumber(double value);

}  // namespace rivulet

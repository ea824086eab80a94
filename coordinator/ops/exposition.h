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

  // Starts a family; `type` counter | gauge.
  void Family(std::string_view name, std::string_view type, std::string_view help);
  void Sample(double value, const Labels& labels = {});  // of the family begun last
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string name_;
};

}  // namespace rivulet

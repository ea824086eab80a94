#include "coordinator/cli/answer.h"

#include <iostream>
#include <nlohmann/json.hpp>

namespace rivulet {

void Answer(const OperatorSettings& settings, const std::string& text, std::string_view kind,
            const std::vector<std::pair<std::string, std::string>>& values) {
  if (!settings.json()) {
    std::cout << text << std::endl;
    return;
  }
  nlohmann::json document = {{"api", "rivulet/v1"}, {"kind", kind}};
  for (const auto& [key, value] : values) document[key] = value;
  std::cout << document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
}

}  // namespace rivulet

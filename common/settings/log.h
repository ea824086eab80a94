#pragma once

#include <string>

#include "common/status.h"

namespace rivulet {

// spdlog to stderr: text on a terminal, JSON lines elsewhere. `format` text | json | auto; `level`
// error | warn | info | debug | trace. Errors (exit 3): another word.
absl::Status StartLog(const std::string& component, const std::string& level,
                      const std::string& format);

}  // namespace rivulet

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/cli/operator_settings.h"

namespace rivulet {

// What a verb answers on stdout: `text`, or with --format json one document of this kind with these
// values. The text ends without a newline.
void Answer(const OperatorSettings& settings, const std::string& text, std::string_view kind,
            const std::vector<std::pair<std::string, std::string>>& values);

}  // namespace rivulet

#pragma once

#include <string>

namespace rivulet {

// What `rivulet help exit-codes` prints.
std::string ExitCodesText();

}  // namespace rivulet

#pragma once

#include <string>

namespace rivulet {

// What `rivulet help exit-codes` prints, as text and as one JSON document.
std::string ExitCodesText();
std::string ExitCodesJson();

}  // namespace rivulet

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

// Refusing an input is fine; accepting it and breaking a promise is not.
inline void Require(bool promise) {
  if (!promise) std::abort();
}

#pragma once

// Precompiled for every library: the standard headers and the status type that nearly all files
// include. Nothing of ours: a change would rebuild everything.
#include <absl/status/statusor.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

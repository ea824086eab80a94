#pragma once

#include <functional>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// Asked before every step a store makes durable ("blob.fsync", "state.commit", ...). Production
// leaves it empty; tests stop the process in it or return the error that step is to have.
using DurableStep = std::function<absl::Status(std::string_view step)>;

inline absl::Status Ask(const DurableStep& hook, std::string_view step) {
  return hook ? hook(step) : absl::OkStatus();
}

// A failed fsync is final: the kernel may have dropped the pages and report success next time.
// Says what failed on stderr and aborts; the next start recovers from what is really there.
[[noreturn]] void DieOfLostSync(std::string_view what);

}  // namespace rivulet

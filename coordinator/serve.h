#pragma once

#include "coordinator/coordinator_settings.h"

namespace rivulet {

// The daemon: recovers, listens, ticks, until SIGTERM or SIGINT. Prints one line
// "listening: agents HOST:PORT, operators HOST:PORT, ops HOST:PORT" on stdout when it is ready.
// Errors: those of the settings (exit 3), listening and certificates (4), the state directory (8).
absl::Status Serve(const CoordinatorSettings& settings);

}  // namespace rivulet

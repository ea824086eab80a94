#pragma once

#include "common/terminal/progress.h"
#include "coordinator/cli/operator_client.h"

namespace rivulet {

// What the live line says of a job.
ProgressState ProgressOf(const v1::Job& job);

// Follows a job until it ends: a progress bar on a terminal, plain lines elsewhere, NDJSON on
// stdout with --format json. Reconnects while the coordinator is away, for up to ten minutes. The
// status carries the job's exit code when it failed or was stopped. Ctrl-C ends the watching, not
// the job (exit 130).
absl::Status WatchJob(const OperatorSettings& settings, OperatorClient& client,
                      const std::string& job);

}  // namespace rivulet

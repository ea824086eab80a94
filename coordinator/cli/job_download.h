#pragma once

#include <filesystem>

#include "coordinator/cli/operator_client.h"

namespace rivulet {

// Writes the adapter of a job's latest state, in the form its readers know, with its rounds as
// job.json beside it. `artifact` "state" or "state-<round>". Both hashes, of the file and of the
// values, are checked. `base_model`: folder of the base model, for an adapter that cannot be
// written without (see CompleteState); or empty. Returns the hash of the values. Errors: NotFound
// (artifact, naming those there are); DataLoss (hash); FailedPrecondition (another base model);
// those of writing.
absl::StatusOr<std::string> DownloadJob(OperatorClient& client, const std::string& job,
                                        const std::string& artifact,
                                        const std::filesystem::path& directory,
                                        const std::string& profile,
                                        const std::filesystem::path& base_model = {});

}  // namespace rivulet

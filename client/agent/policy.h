#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/agent/base_model.h"
#include "common/job/job_document.h"
#include "common/status.h"

namespace rivulet {

// What the owner of the data allows; a job can only ask for less. policy.toml:
//
//   jobs = ["notes-*"]         # globs of job names; absent = any
//   max-steps = 1000           # optimiser steps a round; 0 = any
//   min-clients = 2            # a job that would publish fewer clients' sum is refused
//   max-seq-length = 1024      # 0 = any
//   [[base-model]]
//   path = "/models/llama-7m"
//   hash = "sha256:..."        # optional: computed at start; when given it must be right
//   [[dataset]]
//   name = "notes"             # what jobs call it; the path never leaves this machine
//   path = "/data/notes.jsonl"
struct Policy {
  std::optional<std::vector<std::string>> jobs;
  int max_steps = 0;
  int min_clients = 1;
  int max_seq_length = 0;
  std::map<std::string, BaseModelFolder> base_models;     // by "sha256:<hex>"
  std::map<std::string, std::filesystem::path> datasets;  // by logical name

  std::vector<std::string> BaseModelHashes() const;
  std::vector<std::string> DatasetNames() const;

  // OK, or FailedPrecondition (exit 9) naming key, value seen and value allowed.
  absl::Status Check(const JobDocument& document) const;
};

// Reads the file (at most 1 MiB) and hashes the base models that come without a hash. Relative
// paths are of the file's folder. Errors (exit 3): syntax, unknown keys with the nearest known one,
// a folder that is no base model, a hash that is not the folder's (exit 9).
absl::StatusOr<Policy> LoadPolicy(const std::filesystem::path& path);
// The same of a text that was read from `path`.
absl::StatusOr<Policy> ParsePolicy(std::string_view text, const std::filesystem::path& path);

}  // namespace rivulet

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
#include "privacy/secagg/client/policy.h"

namespace rivulet {

// What the owner of the data allows; a job can only ask for less. policy.toml:
//
//   jobs = ["notes-*"]         # globs of job names; absent = any
//   max-steps = 1000           # optimiser steps a round; 0 = any
//   min-clients = 2            # a job that would publish fewer clients' sum is refused
//   max-seq-length = 1024      # 0 = any
//   backprop = true            # jobs with [scalars]: slopes from a gradient, which takes the
//                              # memory of backpropagation, in place of measured ones
//   [secagg]                   # what a masked round must be like; nothing a job says widens it
//   required = true            # jobs without masks are refused
//   mode-min = "malicious"     # semi-honest: a coordinator that only reads will do
//   n-min = 4                  # fewest clients in a sum
//   org-min = 1                # of so many organisations,
//   orgs = ["hospital-a"]      # these alone counted; absent = any
//   gamma-min = 0.1            # share of the clients that may be in league with the coordinator
//   ring = false               # whether a ring of neighbours will do instead of all
//   h-min = 3                  # fewest honest clients in a sum that the coordinator can open
//   p-max = 32                 # bits of a value,
//   b-max = 62                 # and of a sum
//   attempts-max = 8           # of one round
//   dp-min = "none"            # central: noise by the coordinator; distributed: under the mask
//   session-directions = true  # jobs with [scalars]: along directions of a session alone
//   denylist-file = "denied"   # serials of certificates, one a line; read for every attempt
//   [privacy]
//   noise-multiplier-min = 0.5 # jobs with less noise, or none, are refused
//   max-releases = 100         # rounds of a job; 0 = any
//   max-releases-in-all = 500  # updates given out of each data set, over all jobs; 0 = any
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
  bool backprop = false;
  bool masks_required = false;
  bool session_directions = false;
  secagg::ClientPolicy masking;
  std::filesystem::path denylist;  // empty: none
  double noise_multiplier_min = 0;
  int max_releases = 0;
  int max_releases_in_all = 0;                            // kept by a ReleaseBook
  std::map<std::string, BaseModelFolder> base_models;     // by "sha256:<hex>"
  std::map<std::string, std::filesystem::path> datasets;  // by logical name

  std::vector<std::string> BaseModelHashes() const;
  std::vector<std::string> DatasetNames() const;

  // OK, or FailedPrecondition (exit 9) naming key, value seen and value allowed.
  absl::Status Check(const JobDocument& document) const;

  // What [secagg] allows and the protocol advises against, a sentence each.
  std::vector<std::string> MaskingWeaknesses() const;

 private:
  absl::Status CheckPrivacy(const JobSpec& spec) const;
};

// Reads the file (at most 1 MiB) and hashes the base models that come without a hash. Relative
// paths are of the file's folder. Errors (exit 3): syntax, unknown keys with the nearest known one,
// a folder that is no base model, a hash that is not the folder's (exit 9).
absl::StatusOr<Policy> LoadPolicy(const std::filesystem::path& path);
// The same of a text that was read from `path`.
absl::StatusOr<Policy> ParsePolicy(std::string_view text, const std::filesystem::path& path);

}  // namespace rivulet

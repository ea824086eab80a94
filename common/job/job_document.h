#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// All that decides a job's result, as one canonical text: what submit sends, every task carries and
// the job hash covers.
struct JobDocument {
  JobSpec spec;              // without [simulate] and [track], which change no result
  std::string model_config;  // text of the base model's config.json
  std::string base_hash;     // "sha256:<hex>" (common/formats/model_config.h)
  std::vector<std::string>
      heads_missing;  // head tensors the base file lacks: trained from the seed
  // SHA-256 (64 hex digits) of the file of those first values that come from the base model
  // (BaseTensorsFile in common/job/job_model.h); empty where all come from the seed.
  std::string base_tensors;
};

// JSON with sorted keys and no white space:
//   {"api":"rivulet.job/1","base_hash":...,"heads_missing":[...],"method":...,"model_config":"<text>","spec":{"<key
//   path>":value}}
// with "base_tensors":"<hex>" behind "base_hash" where that is not empty. Equal documents give
// equal bytes.
std::string JobDocumentText(const JobDocument& document);

// Reads it back and validates the spec. The text may come from a peer: at most 4 MiB, every key of
// the table exactly once, none besides, in the canonical spelling, so that a job has one hash.
// Errors: InvalidArgument (exit 3) naming key, value seen and
// value wanted.
absl::StatusOr<JobDocument> ParseJobDocument(std::string_view text);

// SHA-256 of the text, 64 hex digits.
std::string JobHash(const JobDocument& document);

}  // namespace rivulet

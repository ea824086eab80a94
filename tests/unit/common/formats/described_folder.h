#pragma once

#include <gtest/gtest.h>

#include "common/formats/adapter_manifest.h"

namespace rivulet {

// A base model's folder, open, and what a job makes of it.
struct Folder {
  ModelFiles files;
  JobModel model;
};
inline Folder Describe(const std::filesystem::path& path, const JobSpec& job) {
  ModelFiles files = *ModelFiles::Open(path);
  absl::StatusOr<JobModel> model = DescribeJobModel(path, files, job);
  EXPECT_TRUE(model.ok()) << model.status();
  return {std::move(files), *std::move(model)};
}

inline Manifest ManifestOfFile(const std::filesystem::path& path) {
  return ReadParameterSetFile(path)->manifest();
}

inline JobSpec PromptJob() {
  JobSpec job;
  job.method = "prompt";
  job.prompt.num_virtual_tokens = 5;
  return job;
}

}  // namespace rivulet

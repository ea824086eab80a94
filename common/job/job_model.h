#pragma once

#include <filesystem>

#include "common/formats/adapter_manifest.h"
#include "common/job/job_document.h"

namespace rivulet {

// What `job submit` and `simulate` send: the spec with model.hash filled in, config.json, the
// identity of the base model in `directory`, the heads it lacks and the hash of BaseTensorsFile.
// With train.target-cosine train.queries is filled in (target_cosine.h).
// Classification without data.labels takes HeadLabels. Plans the adapter once, so that bad targets
// are refused here. Errors: FailedPrecondition (exit 9) when spec.model.hash is set and
// differs from the folder's; InvalidArgument (exit 3) when class names are needed and nobody has
// them: each client would number its own labels, or when data.seq-length is longer than the model
// reads; those of Validate, DescribeJobModel and ModelFiles::Open.
absl::StatusOr<JobDocument> DescribeJob(const std::filesystem::path& directory, JobSpec spec);

// The class names of the base model's own head. Empty when it has none, or only the placeholders
// LABEL_0, LABEL_1 and so on, which no data set uses. Errors: those of ReadModelConfig.
absl::StatusOr<std::vector<std::string>> HeadLabels(const std::filesystem::path& directory);

// What goes to the coordinator beside the document, which names it by its hash: a safetensors file
// of AdapterPlan::from_base(), because the coordinator has no base model. Empty where the document
// names none. Errors: those of BaseTensors; FailedPrecondition (exit 9) when `directory` is not the
// folder that the document describes.
absl::StatusOr<std::string> BaseTensorsFile(const std::filesystem::path& directory,
                                            const JobDocument& document);

// Configuration and adapter plan of a document, without the base model's files: what the
// coordinator knows. Errors: InvalidArgument (exit 3), also for a data.seq-length that is longer
// than the model reads.
absl::StatusOr<JobModel> JobModelOf(const JobDocument& document);

}  // namespace rivulet

#include "coordinator/cli/job_download.h"

#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include "common/formats/adapter_directory.h"
#include "common/formats/safetensors.h"
#include "common/io/file.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "coordinator/cli/job_output.h"

namespace rivulet {
namespace {

constexpr int kChoices = 5;  // of the latest state
constexpr std::chrono::milliseconds kPause{200};

absl::StatusOr<v1::Artifact> Choose(const v1::ArtifactsReply& reply, const std::string& name) {
  std::string names;
  for (const v1::Artifact& artifact : reply.artifacts()) {
    if (artifact.name() == name) return artifact;
    names += (names.empty() ? "" : ", ") + artifact.name();
  }
  return Refuse(absl::StatusCode::kNotFound,
                "job " + reply.job() + ": no '" + name +
                    "', there is: " + (names.empty() ? "nothing yet" : names));
}

int64_t RoundOf(const v1::Artifact& artifact, const v1::Job& job) {
  constexpr std::string_view kPrefix = "state-";
  if (!artifact.name().starts_with(kPrefix)) return static_cast<int64_t>(job.round());
  int64_t round = 0;
  const std::string& name = artifact.name();
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), round);
  return round;
}

struct Fetched {
  v1::ArtifactsReply reply;
  v1::Artifact chosen;
  v1::Job view;
  std::string file;
};

// A running job may be a round further before its latest state is asked for, or stored: then the
// state is chosen anew.
absl::StatusOr<Fetched> FetchArtifact(OperatorClient& client, const std::string& job,
                                      const std::string& name) {
  for (int attempt = 1;; ++attempt) {
    Fetched got;
    RV_ASSIGN_OR_RETURN(got.reply, client.Artifacts(job));
    RV_ASSIGN_OR_RETURN(got.chosen, Choose(got.reply, name));
    RV_ASSIGN_OR_RETURN(got.view, client.Show(got.reply.job()));
    absl::StatusOr<std::string> file = client.Fetch(got.reply.job(), got.chosen);
    const bool moved = name == "state" && (file.status().code() == absl::StatusCode::kNotFound ||
                                           file.status().code() == absl::StatusCode::kUnavailable);
    if (moved && attempt < kChoices) {
      std::this_thread::sleep_for(kPause);
      continue;
    }
    RV_RETURN_IF_ERROR(file.status());
    got.file = *std::move(file);
    return got;
  }
}

}  // namespace

absl::StatusOr<std::string> DownloadJob(OperatorClient& client, const std::string& job,
                                        const std::string& artifact,
                                        const std::filesystem::path& directory,
                                        const std::string& profile,
                                        const std::filesystem::path& base_model) {
  RV_ASSIGN_OR_RETURN(const Fetched fetched, FetchArtifact(client, job, artifact));
  const auto& [reply, chosen, view, file] = fetched;
  RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(reply.document()));
  RV_ASSIGN_OR_RETURN(JobModel model, JobModelOf(document));
  const Manifest manifest = model.plan.wire();
  RV_ASSIGN_OR_RETURN(const ParameterSet state, ReadParameterSet(file, &manifest));
  const std::string hash = state.HashHex();
  if (hash != chosen.state_hash()) {
    return Refuse(absl::StatusCode::kDataLoss,
                  artifact + ": got state hash " + hash + ", want " + chosen.state_hash());
  }
  std::optional<ModelFiles> base;
  if (!base_model.empty()) {
    RV_ASSIGN_OR_RETURN(const std::string seen, HashOfBaseModel(base_model));
    if (seen != document.base_hash) {
      return Refuse(absl::StatusCode::kFailedPrecondition,
                    base_model.string() + ": is " + seen + ", want " + document.base_hash);
    }
    RV_ASSIGN_OR_RETURN(base, ModelFiles::Open(base_model));
    RV_ASSIGN_OR_RETURN(model, DescribeJobModel(base_model, *base, document.spec));
  }
  Provenance provenance;
  provenance.job = reply.job();
  provenance.round = RoundOf(chosen, view);
  provenance.base_model = document.base_hash;
  provenance.adapter = hash;
  provenance.software = "rivulet " RIVULET_VERSION;
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  RV_RETURN_IF_ERROR(WriteAdapterDirectory(directory, model, document.spec, state, provenance,
                                           profile, base ? &*base : nullptr)
                         .status());
  RV_RETURN_IF_ERROR(WriteFileAtomically(directory / "job.json", JobJson(view) + "\n"));
  return hash;
}

}  // namespace rivulet

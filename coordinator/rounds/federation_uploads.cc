// Federation: updates from their header to their row.
#include <spdlog/spdlog.h>

#include <cmath>
#include <utility>

#include "aggregation/weighting.h"
#include "coordinator/rounds/federation_impl.h"

namespace rivulet {

namespace {

constexpr double kMostLoss = 1e6;  // mean loss in nats, norm of a gradient

absl::Status CheckCounts(const UpdateHeader& header) {
  const auto refuse = [](const std::string& what) {
    return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
  };
  if (!IsBlobName(header.sha256)) return refuse("update.sha256: want 64 lower-case hex digits");
  for (const auto& [name, value] :
       {std::pair{"loss", header.loss}, std::pair{"grad_norm", header.grad_norm}}) {
    if (std::isfinite(value) && std::abs(value) <= kMostLoss) continue;
    return refuse("update." + std::string(name) + ": got " + std::to_string(value) +
                  ", want a finite value of at most 1e6");
  }
  for (const auto& [name, value] :
       {std::pair{"examples", header.examples}, std::pair{"tokens", header.tokens},
        std::pair{"steps", header.steps}}) {
    if (value >= 0 && value < kMostCounted) continue;
    return refuse("update." + std::string(name) + ": got " + std::to_string(value) +
                  ", want 0 <= " + name + " < 2^40");
  }
  return absl::OkStatus();
}

// A noised job shows nothing of a single client, so nothing of it is stored.
UpdateHeader WithoutFigures(UpdateHeader header) {
  header.examples = header.tokens = header.steps = 0;
  header.loss = header.grad_norm = 0;
  return header;
}

absl::Status RefuseStale(const UpdateHeader& header, const std::string& why) {
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "job " + header.job_id + " round " + std::to_string(header.round) + " attempt " +
                    std::to_string(header.attempt) + ": " + why,
                Remedy::kResync);
}

}  // namespace

absl::StatusOr<std::shared_ptr<UploadSession>> Federation::Impl::BeginUpload(
    const std::string& client, const UpdateHeader& header) {
  RV_RETURN_IF_ERROR(CheckCounts(header));
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(header.job_id);
  if (job == nullptr) {
    return Refuse(absl::StatusCode::kNotFound, "job: got '" + header.job_id + "', not known here");
  }
  for (const auto* known : {&job->updates, &job->previous}) {
    for (const UpdateRecord& update : *known) {
      if (update.client != client || update.round != header.round ||
          update.attempt != header.attempt) {
        continue;
      }
      if (update.sha256 == header.sha256)
        return std::make_shared<IncomingUpdate>(*this, update, blobs_);
      return Refuse(absl::StatusCode::kAlreadyExists,
                    "update of round " + std::to_string(header.round) + ": got hash " +
                        header.sha256 + ", want " + update.sha256 + ", which was accepted",
                    Remedy::kResync);
    }
  }
  if (job->engine == nullptr) return RefuseStale(header, "the job has ended");
  const EngineState& state = job->engine->state();
  if (header.round != state.round + 1 || header.attempt != state.attempt ||
      state.phase != Phase::kOpen) {
    return RefuseStale(header, "is not open");
  }
  if (!state.cohort.contains(client)) {
    return Refuse(absl::StatusCode::kPermissionDenied,
                  "'" + client + "' is not in the cohort of round " + std::to_string(header.round));
  }
  if (!job->engine->Wants(client, header.round, header.attempt)) {
    return RefuseStale(header, "'" + client + "' gave this task up");
  }
  const MaskedGroup* group = nullptr;
  if (job->plan->masked) {
    if (job->masked == nullptr) return RefuseStale(header, "is not open");
    RV_RETURN_IF_ERROR(job->masked->MayUpload(client));
    RV_ASSIGN_OR_RETURN(group, job->masked->GroupOf(client));
  }
  const uint64_t limit = group != nullptr ? group->upload_bytes() : LargestUploadBytes(*job->plan);
  if (header.bytes == 0 || header.bytes > limit) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "update: got " + std::to_string(header.bytes) + " bytes, want 1.." + std::to_string(limit),
        Remedy::kLeaveRun);
  }
  // Under masks weights are inside the vectors.
  RV_ASSIGN_OR_RETURN(const int64_t weight,
                      group != nullptr
                          ? absl::StatusOr<int64_t>(1)
                          : WeightOf(job->plan->spec.strategy, header.examples, header.tokens,
                                     static_cast<int64_t>(state.cohort.size())));
  if (blobs_.FreeBytes() < header.bytes + config_.low_water_bytes) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "state directory: too little disk space is left for uploads; want " +
                      std::to_string(header.bytes + config_.low_water_bytes) + " bytes",
                  Remedy::kRetryLater);
  }
  std::shared_ptr<IncomingUpdate>& upload = job->uploads[client];
  if (upload != nullptr && upload->header().sha256 == header.sha256 &&
      upload->header().bytes == header.bytes) {
    return upload;
  }
  if (upload != nullptr) upload->End();
  std::optional<secagg::Params> masked;
  if (group != nullptr) masked = group->params();
  upload = std::make_shared<IncomingUpdate>(
      *this, client, job->noised ? WithoutFigures(header) : header, weight, job->plan,
      CodedOfLocked(*job), std::move(masked), blobs_);
  return upload;
}

absl::Status Federation::Impl::StartCommit(const std::string& client, const UpdateHeader& header,
                                           std::string_view trailer) {
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(header.job_id);
  if (job == nullptr || job->engine == nullptr ||
      !job->engine->Wants(client, header.round, header.attempt)) {
    return RefuseStale(header, "takes no more updates");
  }
  if (job->masked != nullptr) RV_RETURN_IF_ERROR(job->masked->OnUpload(client, trailer));
  ++job->committing;
  PinLocked(header.sha256);
  return absl::OkStatus();
}

void Federation::Impl::FinishCommit(const ReceivedUpdate& received, const absl::Status& outcome) {
  const UpdateRecord& update = received.record;
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(update.job);
  --job->committing;
  // Durable, but its attempt was abandoned meanwhile: it must not reach the sum of the next one.
  const RoundRecord& last = job->rounds.back();
  const bool open = job->engine != nullptr && last.round == update.round &&
                    last.attempt == update.attempt && last.state == RoundState::kOpen;
  if (outcome.ok() && open) {
    job->updates.push_back(update);
    job->received.push_back(received);
    if (job->masked == nullptr &&
        job->received.size() % FixedPointSum::kTogether == 0) {  // one more group of them
      work_.push_back({job->record.id});
      work_ready_.notify_one();
    }
    job->uploads.erase(update.client);
    StandsAtTodayLocked(*job, update.client);
    std::vector<std::pair<std::string, JobEvent::Value>> data = {{"client", update.client}};
    if (!job->noised) {  // the bytes too: how well an update packs depends on it
      data.insert(data.end(), {{"loss", update.loss},
                               {"grad_norm", update.grad_norm},
                               {"examples", update.examples},
                               {"tokens", update.tokens},
                               {"bytes", static_cast<int64_t>(update.bytes)}});
    }
    EmitLocked(*job, "client.completed", update.round, std::move(data));
    if (!job->noised && job->masked == nullptr && !job->plan->scalars) FlagLocked(*job, received);
    TaskOverLocked(update.client, {update.job, update.round, update.attempt});
    FeedLocked(*job, UpdateStored{update.client, update.round, update.attempt});
  } else {
    UnpinLocked(update.sha256);
    DrainLocked(*job);
  }
}

// Honest training moves something, and does not repeat another's to the last bit (but for a few
// coefficients, or their signs). That is said; the update counts like any other.
void Federation::Impl::FlagLocked(const Job& job, const ReceivedUpdate& received) {
  const UpdateRecord& update = received.record;
  std::string why = received.zero ? "its update is all zeros" : "";
  for (const UpdateRecord& other : job.updates) {
    if (!why.empty() || other.client == update.client || other.sha256 != update.sha256) continue;
    why = "its update has the very bytes of that of " + other.client;
  }
  if (why.empty()) return;
  spdlog::warn("job {} round {}: {}: {}", update.job, update.round, update.client, why);
  EmitLocked(job, "client.flagged", update.round, {{"client", update.client}, {"reason", why}});
}

void Federation::Impl::DropUpload(const std::string& id, const std::string& client,
                                  const IncomingUpdate* upload) {
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(id);
  if (job == nullptr) return;
  const auto found = job->uploads.find(client);
  if (found != job->uploads.end() && found->second.get() == upload) job->uploads.erase(found);
}

void Federation::Impl::EndUploadsLocked(Job& job) {
  for (const auto& [client, upload] : job.uploads) upload->End();
  job.uploads.clear();
  SweepPartialsLocked();
}

// Half uploads wait for their clients while the round is open, and no longer.
void Federation::Impl::SweepPartialsLocked() {
  std::set<std::string, std::less<>> open;
  for (const auto& job : jobs_) {
    if (job->engine == nullptr || job->rounds.empty()) continue;
    const RoundRecord& round = job->rounds.back();
    if (round.state == RoundState::kOpen) {
      open.insert(PartialKeyPrefix(round.job, round.round, round.attempt));
    }
  }
  (void)blobs_.SweepKept(
      [&](std::string_view key) { return open.contains(key.substr(0, key.find('-') + 1)); });
}

}  // namespace rivulet

#include "coordinator/rounds/running_round.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <utility>

#include "aggregation/parallel.h"
#include "coordinator/rounds/update_file.h"
#include "coordinator/rounds/update_layout.h"

namespace rivulet {
namespace {

// Values read at a time of each update: with the part of the sum they go to, all of them stay in
// the second-level cache.
constexpr size_t kStretch = size_t{1} << 14;
constexpr size_t kStretchesOfAThread = 16;

struct Stretch {
  size_t row;
  size_t first;
  size_t count;
};

std::vector<Stretch> StretchesOf(const Manifest& manifest) {
  std::vector<Stretch> stretches;
  for (size_t row = 0; row < manifest.size(); ++row) {
    const auto size = static_cast<size_t>(manifest[row].elements());
    for (size_t first = 0; first < size; first += kStretch) {
      stretches.push_back({row, first, std::min(kStretch, size - first)});
    }
  }
  return stretches;
}

// One update, read by position.
class UpdateReader {
 public:
  static absl::StatusOr<UpdateReader> Open(const BlobStore& blobs, const Manifest& manifest,
                                           const std::string& sha256) {
    UpdateReader reader;
    RV_ASSIGN_OR_RETURN(reader.blob_, blobs.Open(sha256));
    RV_ASSIGN_OR_RETURN(const std::string header,
                        ReadHeaderText(*reader.blob_, SafetensorsProfile::kUpload));
    RV_ASSIGN_OR_RETURN(const UpdateLayout layout, LayoutOf(header, reader.blob_->size(), manifest,
                                                            SafetensorsProfile::kUpload));
    reader.data_begin_ = layout.data_begin;
    reader.begins_.resize(manifest.size());
    for (const PlacedTensor& tensor : layout.order) reader.begins_[tensor.row] = tensor.begin;
    return reader;
  }

  absl::Status Read(const Stretch& stretch, std::span<float> values, ValuesDigest& digest) const {
    const uint64_t at = begins_[stretch.row] + stretch.first * sizeof(float);
    RV_RETURN_IF_ERROR(blob_->Read(at, std::as_writable_bytes(values)));
    digest.Add((at - data_begin_) / sizeof(float), values);
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<BlobReader> blob_;
  uint64_t data_begin_ = 0;
  std::vector<uint64_t> begins_;  // in the file, by row
};

// What the threads of one addition bring back. Thread safe.
class Outcome {
 public:
  void Take(const absl::Status& status, std::span<const ValuesDigest> digests) {
    const std::lock_guard lock(mutex_);
    status_.Update(status);
    for (size_t each = 0; each < digests.size(); ++each) digests_[each].Merge(digests[each]);
  }
  const absl::Status& status() const { return status_; }
  const ValuesDigest& digest(size_t each) const { return digests_[each]; }

 private:
  std::mutex mutex_;
  absl::Status status_;
  std::array<ValuesDigest, FixedPointSum::kTogether> digests_;
};

absl::Status AddStretches(std::span<const UpdateReader> readers,
                          std::span<const ReceivedUpdate> updates,
                          std::span<const Stretch> stretches, FixedPointSum& sum,
                          std::span<ValuesDigest> digests) {
  std::vector<float> buffer(readers.size() * kStretch);
  std::vector<WeightedPiece> pieces(readers.size());
  for (const Stretch& stretch : stretches) {
    for (size_t each = 0; each < readers.size(); ++each) {
      const auto values = std::span(buffer).subspan(each * kStretch, stretch.count);
      RV_RETURN_IF_ERROR(readers[each].Read(stretch, values, digests[each]));
      pieces[each] = {values, updates[each].record.weight};
    }
    RV_RETURN_IF_ERROR(sum.AddPieces(stretch.row, stretch.first, pieces));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunningRound::Add(const BlobStore& blobs, std::span<const ReceivedUpdate> updates,
                               bool side_by_side) {
  if (!sum_.has_value() && !broken_) {
    absl::StatusOr<FixedPointSum> made = FixedPointSum::Make(updates_);
    if (!made.ok()) return made.status();
    sum_ = *std::move(made);
  }
  while (!updates.empty() && !broken_) {
    const auto together = updates.first(std::min(updates.size(), FixedPointSum::kTogether));
    updates = updates.subspan(together.size());
    const absl::Status added = AddTogether(blobs, together, side_by_side);
    if (!added.ok()) {
      spdlog::warn("{}; the sum of the round is computed again from whole files",
                   std::string(added.message()));
      DropSum();
      return added;
    }
    for (const ReceivedUpdate& update : together) {
      added_[update.record.client] = update.record.sha256;
    }
  }
  if (!broken_) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition, "running sum: an addition failed before");
}

absl::Status RunningRound::AddTogether(const BlobStore& blobs,
                                       std::span<const ReceivedUpdate> updates, bool side_by_side) {
  std::vector<UpdateReader> readers;
  for (const ReceivedUpdate& update : updates) {
    auto reader = UpdateReader::Open(blobs, updates_, update.record.sha256);
    if (!reader.ok()) return Annotate(reader.status(), "update of " + update.record.client);
    readers.push_back(*std::move(reader));
    RV_RETURN_IF_ERROR(sum_->AddWeight(update.record.weight));
  }
  const std::vector<Stretch> stretches = StretchesOf(updates_);
  Outcome outcome;
  ParallelRanges(stretches.size(), side_by_side ? kStretchesOfAThread : stretches.size(),
                 [&](size_t begin, size_t end) {
                   std::array<ValuesDigest, FixedPointSum::kTogether> digests;
                   const absl::Status status = AddStretches(
                       readers, updates, std::span(stretches).subspan(begin, end - begin), *sum_,
                       digests);
                   outcome.Take(status, digests);
                 });
  RV_RETURN_IF_ERROR(outcome.status());
  for (size_t each = 0; each < updates.size(); ++each) {
    if (outcome.digest(each) == updates[each].digest) continue;
    return Refuse(absl::StatusCode::kDataLoss,
                  "update of " + updates[each].record.client + ": not what was received");
  }
  return absl::OkStatus();
}

void RunningRound::DropSum() {
  broken_ = true;
  sum_.reset();
  added_.clear();
}

bool RunningRound::Holds(const UpdateRecord& update) const {
  const auto found = added_.find(update.client);
  return found != added_.end() && found->second == update.sha256;
}

void RunningRound::MakeParentBy(
    std::function<absl::StatusOr<ParameterSet>(const BlobStore&)> read) {
  read_ = std::move(read);
}

absl::StatusOr<ParameterSet> RunningRound::Read(const BlobStore& blobs,
                                                const std::string& sha256) const {
  return read_ ? read_(blobs) : ReadOwnState(blobs, sha256, states_);
}

absl::Status RunningRound::ReadParent(const BlobStore& blobs, const std::string& sha256) {
  if (parent_.has_value() && parent_sha256_ == sha256) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(ParameterSet state, Read(blobs, sha256));
  GiveParent(std::move(state), sha256);
  return absl::OkStatus();
}

void RunningRound::GiveParent(ParameterSet state, const std::string& sha256) {
  parent_ = std::move(state);
  parent_sha256_ = sha256;
}

absl::StatusOr<ParameterSet> RunningRound::TakeParent(const BlobStore& blobs,
                                                      const std::string& sha256) {
  std::optional<ParameterSet> there = std::exchange(parent_, std::nullopt);
  if (there.has_value() && parent_sha256_ == sha256) return *std::move(there);
  return Read(blobs, sha256);
}

std::optional<ParameterSet> RunningRound::ReleaseParent(const std::string& sha256) {
  if (parent_sha256_ != sha256) return std::nullopt;
  return std::exchange(parent_, std::nullopt);
}

FixedPointSum* RunningRound::SumWithin(std::span<const UpdateRecord> updates) {
  if (broken_ || !sum_.has_value()) return nullptr;
  const auto held = std::count_if(updates.begin(), updates.end(),
                                  [this](const UpdateRecord& update) { return Holds(update); });
  return static_cast<size_t>(held) == added_.size() ? &*sum_ : nullptr;
}

}  // namespace rivulet

#include "coordinator/rounds/coded_round.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/robust/kernels.h"
#include "aggregation/robust/update_bounds.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

absl::Status CheckDecoded(const ParameterSet& update) {
  for (size_t row = 0; row < update.size(); ++row) {
    const std::span<const float> values = update.floats(row);
    const auto bad = std::find_if_not(values.begin(), values.end(), [](float value) {
      return std::fabs(value) < FixedPointSum::kValueLimit;  // NaN is not
    });
    if (bad == values.end()) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "update: " + update.manifest()[row].name + "[" +
                      std::to_string(bad - values.begin()) + "]: got " + std::to_string(*bad) +
                      " after decoding, want a finite value of magnitude below 128",
                  Remedy::kLeaveRun);
  }
  return absl::OkStatus();
}

class PayloadCheck final : public UploadCheck {
 public:
  PayloadCheck(const CodedRound& round, const BlobWriter& file, uint64_t file_bytes)
      : round_(round), file_(file), file_bytes_(file_bytes) {}

  // Nothing is decoded before the whole is there; until then it lies in the file, not in memory.
  void Feed(std::span<const std::byte> bytes) override { fed_ += bytes.size(); }

  absl::Status Finish() override {
    if (fed_ != file_bytes_) {
      return Refuse(
          absl::StatusCode::kDataLoss,
          "upload: got " + std::to_string(fed_) + " bytes, want " + std::to_string(file_bytes_),
          Remedy::kResync);
    }
    RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> payload, file_.Reread());
    RV_ASSIGN_OR_RETURN(zero_, round_.Judge(*payload));
    return absl::OkStatus();
  }
  bool zero() const override { return zero_; }

 private:
  const CodedRound& round_;
  const BlobWriter& file_;
  const uint64_t file_bytes_;
  uint64_t fed_ = 0;
  bool zero_ = false;
};

}  // namespace

CodedRound::CodedRound(std::shared_ptr<const JobPlan> plan, const BlobStore& blobs, uint64_t round,
                       std::string initial_sha256, std::string state_sha256)
    : plan_(std::move(plan)),
      blobs_(blobs),
      round_(round),
      initial_sha256_(std::move(initial_sha256)),
      state_sha256_(std::move(state_sha256)) {}

absl::Status CodedRound::Prepare() const {
  if (shared_) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(codec_, JobCodec(plan_->spec, plan_->update_manifest()));
  std::optional<ParameterSet> initial, state;
  if (ChoosesByMovement(plan_->spec) && round_ > 1) {
    RV_ASSIGN_OR_RETURN(initial, ReadOwnState(blobs_, initial_sha256_, plan_->manifest));
    RV_ASSIGN_OR_RETURN(state, ReadOwnState(blobs_, state_sha256_, plan_->manifest));
  }
  shared_.emplace(plan_->spec, plan_->update_manifest(), round_, initial ? &*initial : nullptr,
                  state ? &*state : nullptr);
  return absl::OkStatus();
}

absl::Status CodedRound::DecodeLocked(std::string_view payload, ParameterSet& out) const {
  RV_RETURN_IF_ERROR(Prepare());
  const absl::Status decoded = codec_->Decode(payload, shared_->context(), out);
  if (!decoded.ok()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "update: " + std::string(decoded.message()),
                  Remedy::kLeaveRun);
  }
  return CheckDecoded(out);
}

absl::Status CodedRound::Decode(std::string_view payload, ParameterSet& out) const {
  const std::lock_guard lock(mutex_);
  return DecodeLocked(payload, out);
}

absl::StatusOr<bool> CodedRound::Judge(const BlobReader& payload) const {
  const std::lock_guard lock(mutex_);  // before anything is allocated
  std::string bytes(payload.size(), '\0');
  RV_RETURN_IF_ERROR(payload.Read(0, std::as_writable_bytes(std::span(bytes))));
  ParameterSet update(plan_->update_manifest());
  RV_RETURN_IF_ERROR(DecodeLocked(bytes, update));
  double squares = 0;
  for (size_t row = 0; row < update.size(); ++row) squares += SquaredNorm(update.floats(row));
  RV_RETURN_IF_ERROR(CheckNorm(squares, NormBoundOf(plan_->spec)));
  return squares == 0;
}

uint64_t LargestPayloadBytes(const JobPlan& plan) {
  const auto codec = JobCodec(plan.spec, plan.update_manifest());
  return codec.ok() ? (*codec)->MaxEncodedBytes(plan.update_manifest()) : 0;
}

std::unique_ptr<UploadCheck> CheckOfPayload(const CodedRound& round, const BlobWriter& file,
                                            uint64_t file_bytes) {
  return std::make_unique<PayloadCheck>(round, file, file_bytes);
}

}  // namespace rivulet

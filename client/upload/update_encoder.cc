#include "client/upload/update_encoder.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "aggregation/upload/plain_upload.h"
#include "client/upload/secret_rounding.h"
#include "common/formats/safetensors_writer.h"

namespace rivulet {

UpdateEncoder::UpdateEncoder(std::shared_ptr<ResidualStore> residuals, RoundingMaker rounding)
    : residuals_(std::move(residuals)), rounding_(std::move(rounding)) {
  if (residuals_ == nullptr) residuals_ = MakeMemoryResidualStore();
  if (!rounding_) rounding_ = [](const UploadKey&, uint64_t) { return NewSecretRounding(); };
}

absl::StatusOr<std::string> UpdateEncoder::Encode(
    const JobSpec& spec, const UploadKey& upload, const GivenState& state,
    const ParameterSet& update,
    const std::function<absl::StatusOr<std::shared_ptr<const ParameterSet>>()>& initial) const {
  if (!IsCoded(spec)) return SafetensorsBytes(ViewsOf(update), {});  // few bytes: no metadata
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<Codec> codec, JobCodec(spec, update.manifest()));
  std::shared_ptr<const ParameterSet> first;
  if (ChoosesByMovement(spec) && upload.round > 1) {
    RV_ASSIGN_OR_RETURN(first, initial());
    RV_RETURN_IF_ERROR(SameManifest(first->manifest(), update.manifest()));
  }
  const PublicContext shared(spec, update.manifest(), upload.round, first.get(), &state.values);
  CodecContext context = shared.context();
  const std::unique_ptr<RoundingSource> rounding = rounding_(upload, spec.job.seed);
  context.rounding = rounding.get();

  const CodecTraits traits = codec->traits();
  const bool feedback = traits.feedback && CodecSettingsOf(spec, update.manifest()).error_feedback;
  std::optional<ParameterSet> rest;
  if (feedback) {
    rest = residuals_->Take(upload, state.sha256, update.manifest());
    if (!rest) rest.emplace(update.manifest());
    context.residual = &*rest;
  }
  RV_ASSIGN_OR_RETURN(std::string payload, codec->Encode(update, context));
  if (feedback) Propose(upload, state.sha256, *rest);
  return payload;
}

absl::StatusOr<UpdateEncoder::MaskedExtras> UpdateEncoder::ForMasking(
    const UploadKey& upload, const GivenState& state, bool feedback, bool movement,
    const std::function<absl::StatusOr<std::shared_ptr<const ParameterSet>>()>& initial) const {
  const Manifest& manifest = state.values.manifest();
  MaskedExtras extras;
  extras.moves = state.sha256;
  if (feedback) {
    extras.residual = residuals_->Take(upload, state.sha256, manifest);
    if (!extras.residual) extras.residual.emplace(manifest);
  }
  if (movement && upload.round > 1) {
    RV_ASSIGN_OR_RETURN(const std::shared_ptr<const ParameterSet> first, initial());
    RV_RETURN_IF_ERROR(SameManifest(first->manifest(), manifest));
    extras.movement = MovementOf(state.values, *first);
  }
  return extras;
}

absl::StatusOr<ParameterSet> UpdateEncoder::Kept(const UploadKey& upload,
                                                 const Manifest& manifest) const {
  std::optional<ParameterSet> kept = residuals_->TakeKept(upload, manifest);
  if (kept) return *std::move(kept);
  return Refuse(absl::StatusCode::kFailedPrecondition, "second pass: the update of round " +
                                                           std::to_string(upload.round - 1) +
                                                           " is not here any more");
}

void UpdateEncoder::Propose(const UploadKey& upload, const std::string& moves,
                            const ParameterSet& rest) const {
  const absl::Status kept = residuals_->Propose(upload, moves, rest);
  if (!kept.ok()) spdlog::warn("error feedback starts anew: {}", std::string(kept.message()));
}

void UpdateEncoder::Accepted(const UploadKey& upload) const {
  const absl::Status settled = residuals_->Settle(upload);
  if (!settled.ok()) spdlog::warn("error feedback: {}", std::string(settled.message()));
}

}  // namespace rivulet

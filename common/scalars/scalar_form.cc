#include "common/scalars/scalar_form.h"

#include <algorithm>

#include "common/random.h"

namespace rivulet {
namespace {

int64_t CountOf(const JobSpec& spec) {
  if (spec.scalars.pool > 0) return spec.scalars.pool;
  if (spec.train.estimator == "backprop") return spec.scalars.directions;
  return int64_t{spec.train.max_steps} * spec.train.queries;
}

// What a coefficient is multiplied with: it should be about 1 whatever the learning rate, so that
// its rounding in sums and codecs costs little.
double UnitOf(const TrainSection& train, int64_t count) {
  if (train.estimator == "backprop") return 1 / static_cast<double>(count);
  if (train.estimator == "fzoo" || train.estimator == "grzo")
    return -train.learning_rate / train.perturbation;
  return -train.learning_rate;
}

}  // namespace

DirectionSettings DirectionSettingsOf(const TrainSection& train) {
  DirectionSettings settings;
  if (train.direction == "gauss") settings.kind = DirectionKind::kGauss;
  if (train.direction == "flipped") {
    settings.kind = DirectionKind::kFlipped;
    settings.renewal = train.direction_renewal;
  }
  const bool subspace = train.direction == "subspace";
  if (subspace || train.direction == "low-rank") {
    settings.kind = subspace ? DirectionKind::kSubspace : DirectionKind::kLowRank;
    settings.rank = train.direction_rank;
    settings.renewal = train.direction_renewal;
  }
  return settings;
}

std::optional<ScalarForm> ScalarForm::Of(const JobSpec& spec, const Manifest& trained) {
  if (!spec.scalars.enabled) return std::nullopt;
  ScalarForm form;
  form.directions_ = DirectionSettingsOf(spec.train);
  form.trained_ = trained;
  form.count_ = CountOf(spec);
  form.splits_ = spec.scalars.splits;
  form.pooled_ = spec.scalars.pool > 0;
  form.votes_ = spec.scalars.combine == "vote";
  form.by_amplitude_ = spec.scalars.pool_choice == "amplitude";
  form.of_session_ = spec.scalars.drawn_from == "session";
  form.unit_ = UnitOf(spec.train, form.count_);
  form.seed_ = spec.job.seed;
  form.queries_ = spec.train.queries;
  form.candidates_ = spec.scalars.candidates;
  form.manifest_ = {{"coefficients", DType::kF32, {form.splits_ * form.count_}}};
  return form;
}

Directions ScalarForm::DirectionsOf(const ScalarRound& round, int split) const {
  // No client has the empty name.
  const uint64_t root =
      of_session_ ? round.session_root : RootOf(seed_, pooled_ ? 0 : round.round, "");
  return {directions_, root, trained_, split, splits_};
}

absl::Status ScalarForm::CheckChoice(std::string_view choice) const {
  const size_t want = candidates_ > 1 ? static_cast<size_t>(count_) : 0;
  const bool known = std::all_of(choice.begin(), choice.end(), [this](char chosen) {
    return static_cast<uint8_t>(chosen) < candidates_;
  });
  if (known && (choice.empty() || choice.size() == want)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "choice of directions: got " + std::to_string(choice.size()) + " numbers" +
                    (known ? "" : ", not all of them below " + std::to_string(candidates_)) +
                    "; want " + std::to_string(want) + " or none");
}

int ScalarForm::SplitOf(uint64_t round, std::string_view client) const {
  RandomCursor cursor(RandomStream(RootOf(seed_, round, client), Purpose::kPublicSubset, 0));
  return static_cast<int>(cursor.Bounded(static_cast<uint32_t>(splits_)));
}

Manifest UpdateManifestOf(const JobSpec& spec, const Manifest& trained) {
  const auto form = ScalarForm::Of(spec, trained);
  return form ? form->manifest() : trained;
}

}  // namespace rivulet

#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/runtime/job_tuner.h"

namespace rivulet::testing {

// An honest client's tuner; what a liar sends is multiplied by `factor`.
class LyingTuner final : public Tuner {
 public:
  LyingTuner(std::unique_ptr<Tuner> honest, std::vector<std::string> liars, float factor)
      : honest_(std::move(honest)), liars_(std::move(liars)), factor_(factor) {}
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    RV_ASSIGN_OR_RETURN(TuneResult result, honest_->Tune(request));
    if (std::find(liars_.begin(), liars_.end(), request.client) == liars_.end()) return result;
    for (size_t row = 0; row < result.delta.size(); ++row) {
      for (float& value : result.delta.floats(row)) value *= factor_;
    }
    return result;
  }
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                          std::span<const Example> examples) override {
    return honest_->Evaluate(global, examples);
  }
  const Manifest& manifest() const override { return honest_->manifest(); }

 private:
  const std::unique_ptr<Tuner> honest_;
  const std::vector<std::string> liars_;
  const float factor_;
};

inline TaskRunner::TunerFactory LyingTuners(std::vector<std::string> liars, float factor) {
  return [liars = std::move(liars), factor](
             const std::filesystem::path& base,
             const JobSpec& job) -> absl::StatusOr<std::unique_ptr<Tuner>> {
    RV_ASSIGN_OR_RETURN(std::unique_ptr<Tuner> honest, MakeJobTuner(base, job));
    return std::make_unique<LyingTuner>(std::move(honest), liars, factor);
  };
}

}  // namespace rivulet::testing

#include "common/scalars/scalar_tally.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace rivulet {
namespace {

constexpr double kMost = 128;  // FixedPointSum takes no more

}  // namespace

ScalarTally::ScalarTally(const ScalarForm& form, const ScalarRound& round, std::string_view client,
                         std::optional<PoolChoice> choice)
    : form_(form),
      round_(round),
      split_(form.SplitOf(round.round, client)),
      directions_(form.DirectionsOf(round, split_)),
      draws_(RandomStream(RootOf(form.seed(), round.round, client), Purpose::kSeedChoice, 0)),
      choice_(std::move(choice)),
      coefficients_(static_cast<size_t>(form.count())) {}

std::vector<uint64_t> ScalarTally::Next() {
  std::vector<uint64_t> indices;
  for (int query = 0; query < form_.queries(); ++query) {
    if (!form_.pooled()) {
      indices.push_back(form_.IndexOf(round_, next_++));
    } else if (choice_) {
      indices.push_back(choice_->Draw(draws_));
    } else {
      indices.push_back(draws_.Bounded(static_cast<uint32_t>(form_.count())));
    }
  }
  return indices;
}

void ScalarTally::Add(std::span<const uint64_t> indices, std::span<const double> movements) {
  for (size_t j = 0; j < indices.size(); ++j) {
    coefficients_[indices[j] / static_cast<uint64_t>(form_.candidates())] +=
        movements[j] / form_.unit();
  }
}

void ScalarTally::Project(std::span<const float> delta) {
  const double count = static_cast<double>(form_.count());
  for (size_t j = 0; j < coefficients_.size(); ++j) {
    coefficients_[j] += directions_.Dot(j, delta) / count / form_.unit();
  }
}

absl::StatusOr<ParameterSet> ScalarTally::Update() const {
  ParameterSet update(form_.manifest());
  const std::span<float> row =
      update.floats(0).subspan(static_cast<size_t>(split_ * form_.count()), coefficients_.size());
  for (size_t j = 0; j < coefficients_.size(); ++j) {
    row[j] = static_cast<float>(coefficients_[j]);
    if (std::abs(row[j]) < kMost) continue;
    return Refuse(absl::StatusCode::kInternal,
                  "coefficient of direction " + std::to_string(j) + ": got " +
                      std::to_string(row[j]) + ", want less than " + std::to_string(kMost) +
                      " on either side; a smaller train.max-grad-norm bounds slopes");
  }
  return update;
}

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/random.h"
#include "common/scalars/pool_choice.h"
#include "common/scalars/scalar_form.h"

namespace rivulet {

// One client's coefficients of one round, gathered step by step. Not thread safe.
class ScalarTally {
 public:
  // `form` must outlive it. `choice`: with form.by_amplitude(), of what was logged before the
  // round. That of `round` must be one that form.CheckChoice takes.
  ScalarTally(const ScalarForm& form, const ScalarRound& round, std::string_view client,
              std::optional<PoolChoice> choice = {});

  const ScalarForm& form() const { return form_; }
  const Directions& directions() const { return directions_; }
  // Indices of the next step's queries: one after the other, or drawn from the pool by the client
  // for itself.
  std::vector<uint64_t> Next();
  // What is trained moved by movements[j] * z of indices[j].
  void Add(std::span<const uint64_t> indices, std::span<const double> movements);
  // `delta` [directions().size()] projected on all directions of the round: a movement of <delta,
  // z> / count along each. The expectation of what comes of them is delta, its variance (d - 1) /
  // count |delta|^2 for signs.
  void Project(std::span<const float> delta);

  // Manifest form.manifest(). Errors: Internal for a coefficient that no sum takes, naming it and
  // train.max-grad-norm.
  absl::StatusOr<ParameterSet> Update() const;

 private:
  const ScalarForm& form_;
  const ScalarRound round_;
  const int split_;
  const Directions directions_;
  RandomCursor draws_;
  std::optional<PoolChoice> choice_;
  uint64_t next_ = 0;
  std::vector<double> coefficients_;  // [count]
};

}  // namespace rivulet

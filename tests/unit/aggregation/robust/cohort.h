#pragma once

#include <string>
#include <utility>
#include <vector>

#include "aggregation/robust/rule.h"
#include "common/random.h"

namespace rivulet {

// Updates that tests make up, and what a rule needs beside them.
class Cohort {
 public:
  using Rows = std::vector<std::vector<float>>;

  // Flat vectors, cut into the tensors of `manifest`.
  Cohort(Manifest manifest, Rows rows) : manifest_(std::move(manifest)), rows_(std::move(rows)) {}
  // In one tensor "x".
  explicit Cohort(Rows rows) : rows_(std::move(rows)) {
    manifest_ = {{"x", DType::kF32, {static_cast<int64_t>(rows_.at(0).size())}}};
  }

  const Manifest& manifest() const { return manifest_; }
  Rows& rows() { return rows_; }
  size_t n() const { return rows_.size(); }

  UpdateView view(const std::vector<float>& row) const {
    UpdateView cut;
    size_t first = 0;
    for (const TensorSpec& spec : manifest_) {
      cut.push_back(std::span(row).subspan(first, static_cast<size_t>(spec.elements())));
      first += static_cast<size_t>(spec.elements());
    }
    return cut;
  }
  std::vector<UpdateView> views() const {
    std::vector<UpdateView> all;
    for (const std::vector<float>& row : rows_) all.push_back(view(row));
    return all;
  }

  // The result unrounded, whatever the manifest says.
  absl::StatusOr<RobustResult> Run(const RobustSettings& settings,
                                   RobustContext context = {}) const {
    RV_ASSIGN_OR_RETURN(const auto rule, MakeRobustRule(settings));
    Manifest wide = manifest_;
    for (TensorSpec& spec : wide) spec.dtype = DType::kF64;
    context.manifest = &wide;
    return rule->Aggregate(views(), context);
  }

 private:
  Manifest manifest_;
  Rows rows_;
};

// The numbers of an F64 parameter set, one tensor after the other.
inline std::vector<double> FlatOf(const ParameterSet& set) {
  std::vector<double> flat;
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    const auto* const values = reinterpret_cast<const double*>(set.bytes(tensor).data());
    flat.insert(flat.end(), values, values + set.manifest()[tensor].elements());
  }
  return flat;
}

// n rows of standard normal values, the same for the same seed.
inline Cohort::Rows GaussRows(size_t n, size_t dimension, uint64_t seed) {
  Cohort::Rows rows(n, std::vector<float>(dimension));
  const RandomStream stream(seed, Purpose::kSketch, 0);
  for (size_t row = 0; row < n; ++row) stream.FillGauss(static_cast<uint32_t>(row), rows[row]);
  return rows;
}

}  // namespace rivulet

#include "privacy/masking/first_pass.h"

#include <vector>

#include "aggregation/codec/linear.h"

namespace rivulet {
namespace {

// set += scale * part
void AddFlat(std::span<const float> part, float scale, ParameterSet& set) {
  size_t at = 0;
  for (size_t row = 0; row < set.size(); ++row) {
    for (float& value : set.floats(row)) value += scale * part[at++];
  }
}

}  // namespace

absl::Status TakeOutFirstPass(const MaskedForm& form, uint64_t round, std::span<const float> mean,
                              ParameterSet& update) {
  RV_RETURN_IF_ERROR(SameManifest(update.manifest(), form.manifest()));
  RV_ASSIGN_OR_RETURN(const MaskedForm::Maps maps, form.MapsOf(round - 1, {}, {}, {}));
  std::vector<float> storage, first(maps.reduced);
  maps.reduce->Project(Flatten(update, storage), first);
  RV_ASSIGN_OR_RETURN(const std::vector<float> part, form.FirstPartOf(round, mean, first));
  AddFlat(part, -1, update);
  return absl::OkStatus();
}

absl::Status AddFirstPass(const MaskedForm& form, uint64_t round, std::span<const float> mean,
                          ParameterSet& second_mean) {
  RV_RETURN_IF_ERROR(SameManifest(second_mean.manifest(), form.manifest()));
  RV_ASSIGN_OR_RETURN(const std::vector<float> part, form.FirstPartOf(round, mean, mean));
  AddFlat(part, 1, second_mean);
  return absl::OkStatus();
}

}  // namespace rivulet

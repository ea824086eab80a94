#include "coordinator/rounds/averaged_state.h"

#include <charconv>
#include <cmath>

#include "coordinator/rounds/snapshots.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {

absl::StatusOr<AveragedState> NextAverage(BlobStore& blobs, const JobPlan& plan,
                                          const std::string& before, const ParameterSet& state) {
  RV_ASSIGN_OR_RETURN(ParameterSet average, ReadOwnState(blobs, before, plan.manifest));
  const auto share = static_cast<float>(1 - plan.spec.evaluate.ema);
  for (size_t row = 0; row < average.size(); ++row) {
    const std::span<float> to = average.floats(row);
    const std::span<const float> now = state.floats(row);
    for (size_t i = 0; i < to.size(); ++i) to[i] = std::fma(share, now[i] - to[i], to[i]);
  }
  ModelRecord file;
  RV_RETURN_IF_ERROR(StoreState(blobs, average, file));
  return AveragedState{file.sha256, file.bytes};
}

std::string TextOf(const AveragedState& average) {
  return average.sha256 + " " + std::to_string(average.bytes);
}

absl::StatusOr<AveragedState> AveragedStateFrom(std::string_view text) {
  AveragedState average;
  const size_t space = text.find(' ');
  if (space == 64) {
    average.sha256 = text.substr(0, space);
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + space + 1, end, average.bytes);
    if (error == std::errc() && stop == end) return average;
  }
  return Refuse(absl::StatusCode::kDataLoss,
                "average of the global states: got '" + std::string(text.substr(0, 100)) +
                    "', want a hash of 64 hex digits and a number of bytes");
}

}  // namespace rivulet

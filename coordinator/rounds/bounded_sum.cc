#include "coordinator/rounds/bounded_sum.h"

#include "privacy/dp/clip.h"

namespace rivulet {

absl::Status AddBounded(const ParameterSet& update, double bound, FixedPointSum& sum) {
  RV_ASSIGN_OR_RETURN(FixedPointSum alone, FixedPointSum::Make(sum.manifest()));
  RV_RETURN_IF_ERROR(alone.Add(update, 1));
  RV_RETURN_IF_ERROR(CheckIntegerNorm(alone.words(), bound * bound));
  return sum.Merge(alone);
}

}  // namespace rivulet

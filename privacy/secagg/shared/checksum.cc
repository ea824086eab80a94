#include "privacy/secagg/shared/checksum.h"

#include "privacy/secagg/shared/mask_generator.h"
#include "privacy/secagg/shared/params.h"
#include "privacy/secagg/shared/reason.h"
#include "privacy/secagg/shared/transcript.h"

namespace rivulet::secagg {

void FillChecksums(const Bytes32& sid0, const Bytes32& sid, RingVector& vector) {
  const size_t covered = vector.size() - kChecksums;
  for (uint32_t row = 0; row < kChecksums; ++row) {
    vector.Set(covered + row, MaskInnerProduct(ChecksumStream(sid0, sid, row), vector, covered));
  }
}

absl::Status CheckChecksums(const Bytes32& sid0, const Bytes32& sid, const RingVector& vector) {
  const size_t covered = vector.size() - kChecksums;
  for (uint32_t row = 0; row < kChecksums; ++row) {
    const uint64_t want = MaskInnerProduct(ChecksumStream(sid0, sid, row), vector, covered);
    if (vector.At(covered + row) != want) {
      return RefuseFor(Reason::kChecksum,
                       "the sum does not satisfy checksum " + std::to_string(row));
    }
  }
  return absl::OkStatus();
}

}  // namespace rivulet::secagg

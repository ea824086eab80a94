#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/values_digest.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

// An acknowledged update that came to this very process: its bytes had their SHA-256, its values
// were in range, and this is their digest. What an earlier process acknowledged has none.
struct ReceivedUpdate {
  UpdateRecord record;
  ValuesDigest digest;
  bool zero = false;  // nothing but zeros
};

// What can be computed of a round while its updates still arrive: the sum of those that are
// acknowledged, and the state they will move. A saving, not a record: it lives in memory alone, and
// who finds it broken computes everything again from the blobs.
//
// Sums are of integers, hence the same in any order. An update that was hashed on its way in is not
// hashed again when it is read back for the sum; ValuesDigest finds out whether disk or memory
// changed it meanwhile, and then the SHA-256 decides (see AggregateRound). That is enough: who can
// make our files lie on purpose can as well change the global state, or this program. Not thread
// safe.
class RunningRound {
 public:
  // Of updates and of states (both F32); they must outlive it.
  RunningRound(const Manifest& updates, const Manifest& states)
      : updates_(updates), states_(states) {}

  // `side_by_side`: on all cores, otherwise on this thread. After an error the sum is broken: the
  // log says why, once, and its memory is given back.
  // Errors: DataLoss for other values than were received; those of the blobs and of FixedPointSum.
  absl::Status Add(const BlobStore& blobs, std::span<const ReceivedUpdate> updates,
                   bool side_by_side);
  bool Holds(const UpdateRecord& update) const;

  // How the state `sha256` is read and verified where it is no blob of that name.
  void MakeParentBy(std::function<absl::StatusOr<ParameterSet>(const BlobStore&)> read);
  // Reads and verifies the state `sha256`, unless it is there. An error shows in TakeParent, too.
  absl::Status ReadParent(const BlobStore& blobs, const std::string& sha256);
  const ParameterSet& parent() const { return *parent_; }  // after a ReadParent that was OK
  // The same without reading, from whoever made or verified it.
  void GiveParent(ParameterSet state, const std::string& sha256);
  absl::StatusOr<ParameterSet> TakeParent(const BlobStore& blobs, const std::string& sha256);
  // The same, but only if it is there: for a round that comes to nothing.
  std::optional<ParameterSet> ReleaseParent(const std::string& sha256);

  void DropSum();  // breaks it

  // Null when it is broken, or holds anything but some of `updates`.
  FixedPointSum* SumWithin(std::span<const UpdateRecord> updates);

 private:
  absl::Status AddTogether(const BlobStore& blobs, std::span<const ReceivedUpdate> updates,
                           bool side_by_side);

  absl::StatusOr<ParameterSet> Read(const BlobStore& blobs, const std::string& sha256) const;

  const Manifest &updates_, &states_;
  std::optional<FixedPointSum> sum_;          // from the first Add on
  std::map<std::string, std::string> added_;  // client -> SHA-256 of its update
  bool broken_ = false;
  std::optional<ParameterSet> parent_;
  std::string parent_sha256_;
  std::function<absl::StatusOr<ParameterSet>(const BlobStore&)> read_;
};

}  // namespace rivulet

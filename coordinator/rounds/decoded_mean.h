#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "coordinator/rounds/coded_round.h"
#include "coordinator/rounds/job_plan.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

// Where a round's updates cannot be added up as they lie in their files: because they are coded, or
// because a rule must see each as a whole.

struct RoundMean {
  ParameterSet mean;                  // empty: no update is to be trusted, the state stays
  std::vector<std::string> left_out;  // clients whose update has no part in it, sorted
  int64_t scaled = 0;                 // updates that were scaled down to robust.norm-bound
};

// Whether the mean of this job's rounds is DecodedMean's.
bool NeedsDecodedMean(const JobSpec& spec);

// Reads one stored update and verifies its hash. `coded`: of the round, null where the job's
// updates are not coded. `out` has the manifest of the job's updates; of votes it has the signs
// alone. Errors: DataLoss for other bytes than were acknowledged; those of CodedRound.
absl::Status ReadUpdate(const BlobStore& blobs, const JobPlan& plan, const CodedRound* coded,
                        const UpdateRecord& update, ParameterSet& out);

// What the round's updates come to: a pure function of the set, which is sorted by client, hence
// the same after a restart and in any order of arrival.
//   robust.rule none, norm-bound: the weighted mean, exactly as FixedPointSum has it; for the
//     latter each update is first scaled by min(1, norm-bound / |x|_2). Memory: one update, one
//     sum.
//   others: docs/private_upload.md. Every client counts once, whatever weight it claims. Memory:
//     all updates. For fltrust the update of robust.trusted-client is the one that the others are
//     judged by: it is no part of the mean, nor ever among those left out.
// Errors: as ReadUpdate; FailedPrecondition when there are too few updates for the rule, or when
// they do not fit into half of the memory.
absl::StatusOr<RoundMean> DecodedMean(const BlobStore& blobs, const JobPlan& plan,
                                      const CodedRound* coded,
                                      const std::vector<UpdateRecord>& updates);

struct RuledMean {
  ParameterSet mean;
  std::vector<bool> kept;  // for each update: false where it has no part in the mean
  int64_t scaled = 0;
};

// robust.rule of the job, not "none", over updates that are all in memory: those of clients, or the
// means of masked groups. `weights`: for norm-bound alone, one for each; the others count all once.
// `trusted`: for fltrust alone, the update of robust.trusted-client. Errors: as DecodedMean, of the
// rule; Aborted when fltrust trusts nobody.
absl::StatusOr<RuledMean> RobustMean(const JobPlan& plan, const std::vector<ParameterSet>& updates,
                                     std::span<const int64_t> weights,
                                     const ParameterSet* trusted = nullptr);

// That MakeRobustRule takes the job's settings. Errors: InvalidArgument (exit 3).
absl::Status CheckRobustRule(const JobSpec& spec);

}  // namespace rivulet

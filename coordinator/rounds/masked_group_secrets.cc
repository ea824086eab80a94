// MaskedGroup: from the shares of those who survived to the sum.
#include <utility>

#include "coordinator/rounds/masked_group.h"

namespace rivulet {

using secagg::Reason;
using Session = secagg::ServerSession;

// A try is dear where shares are wrong, and a single answer more outvotes none of them: the next
// one comes with two answers more, with the last, or when the time is up.
void MaskedGroup::WantSecrets(Output& out) {
  const bool all = waiting_.empty();
  if (rebuild_due_ || rebuilding_) return;
  if (tried_without_ && !all && *tried_without_ < waiting_.size() + 2) return;
  rebuild_due_ = out.rebuild = true;
}

std::optional<secagg::Reconstruction> MaskedGroup::BeginRebuild() {
  if (!std::exchange(rebuild_due_, false)) return std::nullopt;
  absl::StatusOr<secagg::Reconstruction> work = session_.BeginReconstruct();
  if (!work.ok()) return std::nullopt;  // the attempt ended meanwhile
  rebuilding_ = true;
  tried_without_ = waiting_.size();
  return *std::move(work);
}

MaskedGroup::Output MaskedGroup::Rebuilt(secagg::Reconstruction done, milliseconds now) {
  Output out;
  rebuilding_ = false;
  if (session_.phase() != Session::Phase::kUnmask) return out;
  const absl::Status taken = session_.Take(std::move(done));
  if (taken.ok()) {
    out.opened = true;
  } else if (session_.phase() == Session::Phase::kAborted) {
    Fail(taken, out);
  } else if (*tried_without_ != waiting_.size()) {  // answers have come meanwhile
    Advance(out, now);
  } else if (late_) {
    FailLate(out);
  }
  return out;
}

void MaskedGroup::FailLate(Output& out) {
  Fail(secagg::RefuseFor(Reason::kDeadline, "too few unmasking shares came within " +
                                                std::to_string(limits_.unmask.count() / 1000) +
                                                " s"),
       out);
}

absl::StatusOr<secagg::RingVector> MaskedGroup::Open(secagg::RingVector sum, unsigned threads) {
  if (opened_.size() == 0) {
    RV_ASSIGN_OR_RETURN(opened_, session_.Finish(std::move(sum), threads));
  }
  return opened_;  // again, when there was no room to publish what came of it
}

}  // namespace rivulet

#include "privacy/masking/task_terms.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/job/job_keys.h"
#include "privacy/dp/adaptive_clip.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/messages.h"

namespace rivulet {
namespace {

constexpr size_t kClipBytes = 8;

// Cuts the clip norm off `terms`.
absl::StatusOr<double> TakeClipNorm(std::string_view& terms) {
  const size_t parameters = terms.size() - std::min(terms.size(), kClipBytes);
  secagg::ByteReader in(terms.substr(parameters));
  const auto clip_norm = std::bit_cast<double>(in.U64());
  terms = terms.substr(0, parameters);
  if (clip_norm >= AdaptiveClip::kLeast && clip_norm <= AdaptiveClip::kMost) return clip_norm;
  return secagg::RefuseFor(
      secagg::Reason::kParams,
      "clip norm of the round: got " + NumberText(clip_norm) + ", want 0.0001..1000");
}

}  // namespace

std::string EncodeTaskTerms(const MaskedForm& form, std::string parameters) {
  if (!form.adaptive()) return parameters;
  secagg::ByteWriter out(parameters.size() + kClipBytes);
  return out.Raw(parameters).U64(std::bit_cast<uint64_t>(form.range())).Take();
}

absl::StatusOr<TaskTerms> ReadTaskTerms(const MaskedForm& form, MaskedAttempt attempt,
                                        std::string_view terms) {
  double clip_norm = form.range();
  if (form.adaptive()) {
    RV_ASSIGN_OR_RETURN(clip_norm, TakeClipNorm(terms));
  }
  RV_ASSIGN_OR_RETURN(const auto message, secagg::Decode<secagg::Parameters>(terms));
  MaskedForm of_round = form.OfRound(clip_norm);
  attempt.cohort = message.params.n_max;
  if (message.params == of_round.ParamsOf(attempt)) {
    return TaskTerms{std::move(of_round), message.params};
  }
  return secagg::RefuseFor(secagg::Reason::kParams,
                           "the parameters are not those of the job's document");
}

}  // namespace rivulet

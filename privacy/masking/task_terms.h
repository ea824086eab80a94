#pragma once

#include <string>
#include <string_view>

#include "privacy/masking/masked_form.h"

namespace rivulet {

// What a task says of its attempt, and what a client makes of it: nothing that the coordinator says
// counts but the clip norm of the round, and that only within the bounds of adaptive clipping.
struct TaskTerms {
  MaskedForm form;  // of the round
  // Of the attempt's sum; of a grouped form those that name the pool which groups are drawn from.
  secagg::Params params;
};

// The protocol's Parameters message; with privacy.adaptive-clip (form.adaptive()) the clip norm of
// the round after it, a double of 8 bytes, little endian. `form`: of the round.
std::string EncodeTaskTerms(const MaskedForm& form, std::string parameters);

// `form`: of the job; `attempt`: without cohort, which comes from `terms`. Errors: a
// refusal with reason PARAMS for any terms but those that the job's document leads to;
// InvalidArgument for bytes that are no such message.
absl::StatusOr<TaskTerms> ReadTaskTerms(const MaskedForm& form, MaskedAttempt attempt,
                                        std::string_view terms);

}  // namespace rivulet

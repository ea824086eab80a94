#pragma once

namespace rivulet {

// A vote on one direction: the sign of a number, -1, 0 (none) or 1. NaN gives 0.
inline float VoteOf(float number) { return static_cast<float>((number > 0) - (number < 0)); }
inline bool IsVote(float number) { return number == VoteOf(number); }

}  // namespace rivulet

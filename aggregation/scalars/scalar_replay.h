#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aggregation/moving_average.h"
#include "common/scalars/scalar_form.h"

// How coefficients move the global state, on the coordinator when a round is over and on a client
// that was away: the same code, hence the same bits.
//
// A log is what a client needs to move a state itself:
//   fresh directions   one record a round, appended: from the state of any round in it a client
//                      replays the rest
//   pool               one record, of the sums over all rounds: whoever has the state of round 0
//                      rebuilds that of today, however long it was away
// A record is the round as u64 little-endian, where directions follow from sessions the root of
// that of the attempt that counted as another u64, with scalars.candidates the round's choice of
// them, a byte for each direction, and one number for each split and direction:
// binary32, or where votes decide a signed byte. With scalars.target-ratio the state moves by the
// mean of several records, of which all but the last have the highest bit of the round set.

namespace rivulet {

// What moves along each direction [splits * count], from the mean of a round's updates (manifest
// form.manifest()): the mean itself; where there are splits that of its owners, whose share of the
// weight is owners[split], and 0 for a split without any; its sign where there are votes.
std::vector<float> MovesOf(const ScalarForm& form, const ParameterSet& mean,
                           std::span<const double> owners);

// The sum of unit * moves[j] * z_j as Directions::Replay has it. Manifest form.trained(). Errors:
// InvalidArgument for a number that is not finite; Aborted when `cancelled`.
absl::StatusOr<ParameterSet> DeltaOf(const ScalarForm& form, const ScalarRound& round,
                                     std::span<const float> moves,
                                     const std::function<bool()>& cancelled = {});

// `log` of the rounds before, empty for none, with round `round` added.
// Errors: DataLoss when it is not a log of this form.
absl::StatusOr<std::string> Extended(const ScalarForm& form, std::string log,
                                     const ScalarRound& round, std::span<const float> moves);

// What the log of a pool holds: a sum for each direction, or nothing before the first round.
// Errors: DataLoss when it is no such log.
absl::StatusOr<std::vector<float>> SumsOfPool(const ScalarForm& form, std::string_view log);

// Moves `state` by `log`: whole records, for fresh directions from the round after that of `state`
// on, for a pool from the state of round 0. `strategy` must be fedavg.
// Errors: DataLoss for bytes that are no such log; Aborted when `cancelled`, which is polled
// every few milliseconds and may be empty; those of the server optimiser. `state` may then be half
// moved. `average`: that of `state`, which follows every movement; of a pool, whose record tells
// nothing of the states between, null.
absl::Status Replay(const ScalarForm& form, const StrategySection& strategy, std::string_view log,
                    ParameterSet& state, const std::function<bool()>& cancelled = {},
                    MovingAverage* average = nullptr);

// What it costs: numbers that are drawn, as so many signs, of which a core draws about five billion
// a second. A normal number counts 14, one of an exact rank-1 product 1/5 (docs/backprop_free.md).
double DrawsOf(const ScalarForm& form, uint64_t log_bytes);
double DrawsOfRound(const ScalarForm& form);  // of one record

// Of DrawsOf: some ten seconds of a core, less than a minute on a slow one. Whom more parts from a
// state gets the state itself, however short the log.
inline constexpr double kMostReplay = 5e10;

// What to know of a job of which no round can be replayed for that: nobody has less than the state.
// Empty for all others. `trained`: all that the job trains.
std::string ReplayWarning(const JobSpec& spec, const Manifest& trained);

// Rounds of one state that wait for further ones (scalars.target-ratio): their records, and the sum
// of their movements, so that a round more costs its own directions alone.
struct WaitingRounds {
  std::string records;
  ParameterSet sum;  // manifest form.trained(); empty without records
};

// Of this form; `bytes` of BytesOf, or none. Errors: DataLoss for others.
absl::StatusOr<WaitingRounds> WaitingRoundsOf(const ScalarForm& form, std::string bytes);
// The records and then the numbers of the sum, binary32 little-endian, in the order of `trained`.
std::string BytesOf(const WaitingRounds& waiting);

// Errors: those of DeltaOf; `waiting` is then as before.
absl::Status AddRound(const ScalarForm& form, const ScalarRound& round,
                      std::span<const float> moves, WaitingRounds& waiting);

// How sure the mean of estimates m_j z_j is, of all directions of these rounds: P |mean|^2 over the
// sum of their coordinates' sample variances. 1 in expectation for noise alone, about 1 + P / d for
// exact slopes in d dimensions, whatever their scale (FwdLLM, Xu et al. 2024, with a rule that
// needs no threshold of the model's own).
double SignalRatio(const ScalarForm& form, const WaitingRounds& waiting);

// Moves `state` by their mean, and gives them as a log holds them: Replay of that moves it the
// same. There must be one at least. Errors: those of the server optimiser.
absl::StatusOr<std::string> MoveTogether(const ScalarForm& form, const StrategySection& strategy,
                                         WaitingRounds waiting, ParameterSet& state);

// With scalars.candidates: the ScalarRound::choice of `round`, whose own is not read; `log` ends
// with the last movement of the state. Of each direction's candidates z the one of the largest
// |<z, movement>|, the first of those that are alike: all candidates have the norm sqrt(d), normal
// numbers nearly, so that these are the cosines' order, and z and -z measure the same. Empty
// without candidates or a movement. Then the mean estimate has a bias: E[z z^T] is I but along the
// movement, where it is the expected maximum of so many squares of normal numbers. Costs a pass
// over the numbers for each candidate. Errors: DataLoss for bytes that are no log.
//
// Source: Xu et al. 2024, FwdLLM, which keeps the best of all candidates together.
absl::StatusOr<std::string> ChoiceFor(const ScalarForm& form, const ScalarRound& round,
                                      std::string_view log);

// Bytes at the beginning of `log` without which it is shorter than `bytes`: whole movements.
size_t BytesBeyond(const ScalarForm& form, std::string_view log, uint64_t bytes);

// Whether the average of its states (evaluate.ema) can be, too: not that of a pool's.
bool KeepsAverage(const JobSpec& spec);

// Whether states of a job with these settings can be rebuilt from a log: not with an optimiser that
// has a memory of its own.
bool KeepsLog(const JobSpec& spec);

}  // namespace rivulet

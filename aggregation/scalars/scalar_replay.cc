#include "aggregation/scalars/scalar_replay.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

#include "aggregation/server_optimizer.h"
#include "common/scalars/vote.h"

namespace rivulet {
namespace {

size_t NumbersOf(const ScalarForm& form) {
  return static_cast<size_t>(form.splits() * form.count());
}

// Before a record's numbers.
size_t HeadBytes(const ScalarForm& form) {
  const size_t choice = form.candidates() > 1 ? NumbersOf(form) : 0;
  return (form.of_session() ? 2 : 1) * sizeof(uint64_t) + choice;
}

size_t RecordBytes(const ScalarForm& form) {
  return HeadBytes(form) + NumbersOf(form) * (form.votes() ? 1 : sizeof(float));
}

std::string RecordOf(const ScalarForm& form, const ScalarRound& round,
                     std::span<const float> moves) {
  std::string record(RecordBytes(form), '\0');
  const uint64_t head[] = {round.round, round.session_root};
  const size_t words = form.of_session() ? sizeof head : sizeof head[0];
  std::memcpy(record.data(), head, words);
  std::memcpy(record.data() + words, round.choice.data(), round.choice.size());
  char* const numbers = record.data() + HeadBytes(form);
  if (form.votes()) {
    for (size_t j = 0; j < moves.size(); ++j) {
      numbers[j] = static_cast<char>(static_cast<signed char>(moves[j]));
    }
  } else {
    std::memcpy(numbers, moves.data(), moves.size_bytes());
  }
  return record;
}

constexpr uint64_t kMore = uint64_t{1} << 63;  // of a round: it moves together with the next

uint64_t WordOfRecord(std::string_view record) {
  uint64_t word = 0;
  std::memcpy(&word, record.data(), sizeof word);
  return word;
}

ScalarRound RoundOfRecord(const ScalarForm& form, std::string_view record) {
  ScalarRound round{WordOfRecord(record) & ~kMore};
  if (form.of_session()) round.session_root = WordOfRecord(record.substr(sizeof(uint64_t)));
  if (form.candidates() > 1) {
    round.choice = record.substr(HeadBytes(form) - NumbersOf(form), NumbersOf(form));
  }
  return round;
}

// sum += addend.
void Accumulate(const ParameterSet& addend, ParameterSet& sum) {
  for (size_t row = 0; row < sum.size(); ++row) {
    const std::span<const float> from = addend.floats(row);
    const std::span<float> to = sum.floats(row);
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }
}

void Scale(float factor, ParameterSet& set) {
  for (size_t row = 0; row < set.size(); ++row) {
    for (float& value : set.floats(row)) value *= factor;
  }
}

// What `count` directions in a row within subspaces cost to add to one tensor, in signs: their Z,
// and for each subspace U and V and one product.
double SignsInSubspaces(const DirectionSettings& kind, double count, const TensorPart& part) {
  const auto m = static_cast<double>(part.rows), n = static_cast<double>(part.columns);
  const double p = std::min<double>(kind.rank, m), q = std::min<double>(kind.rank, n);
  const double each = 0.1 * m * n + 14 * p * q;
  const double once = q * m * n + 3 * (p * p * m + q * q * n);
  return count * each + std::ceil(count / kind.renewal) * once;
}

// That one number of a direction of another kind costs to add.
double SignsOfNumber(const DirectionSettings& kind) {
  if (kind.kind == DirectionKind::kGauss) return 14;
  if (kind.kind == DirectionKind::kFlipped) return 3;
  if (kind.kind != DirectionKind::kLowRank) return 1;
  return kind.rank == 1 && kind.renewal == 1 ? 0.2 : kind.rank;
}

std::vector<float> NumbersOfRecord(const ScalarForm& form, std::string_view record) {
  std::vector<float> moves(NumbersOf(form));
  const char* const numbers = record.data() + HeadBytes(form);
  if (form.votes()) {
    for (size_t j = 0; j < moves.size(); ++j) moves[j] = static_cast<signed char>(numbers[j]);
  } else {
    std::memcpy(moves.data(), numbers, moves.size() * sizeof(float));
  }
  return moves;
}

std::string BillionsOf(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f billion", number / 1e9);
  return text;
}

absl::Status CheckLog(const ScalarForm& form, std::string_view log) {
  const size_t record = RecordBytes(form);
  if (log.size() % record == 0 && (!form.pooled() || log.size() <= record)) {
    return absl::OkStatus();
  }
  return Refuse(absl::StatusCode::kDataLoss,
                "log of coefficients: got " + std::to_string(log.size()) + " bytes, want " +
                    (form.pooled() ? "one record" : "records") + " of " + std::to_string(record));
}

}  // namespace

std::vector<float> MovesOf(const ScalarForm& form, const ParameterSet& mean,
                           std::span<const double> owners) {
  const std::span<const float> numbers = mean.floats(0);
  std::vector<float> moves(numbers.begin(), numbers.end());
  if (form.votes()) std::ranges::transform(moves, moves.begin(), VoteOf);
  const auto count = static_cast<size_t>(form.count());
  for (size_t split = 0; form.splits() > 1 && split < owners.size(); ++split) {
    for (size_t j = split * count; j < (split + 1) * count; ++j) {
      moves[j] = owners[split] > 0 ? static_cast<float>(moves[j] / owners[split]) : 0;
    }
  }
  return moves;
}

absl::StatusOr<ParameterSet> DeltaOf(const ScalarForm& form, const ScalarRound& round,
                                     std::span<const float> moves,
                                     const std::function<bool()>& cancelled) {
  RV_RETURN_IF_ERROR(form.CheckChoice(round.choice));
  std::vector<float> sum;
  const auto count = static_cast<size_t>(form.count());
  for (int split = 0; split < form.splits(); ++split) {
    const Directions directions = form.DirectionsOf(round, split);
    sum.resize(static_cast<size_t>(directions.size()));
    std::vector<double> factors(count * static_cast<size_t>(form.candidates()));
    for (size_t j = 0; j < count; ++j) {
      factors[form.IndexOf(round, j)] =
          form.unit() * double{moves[static_cast<size_t>(split) * count + j]};
    }
    RV_RETURN_IF_ERROR(directions.Replay(factors, sum, cancelled));
  }
  ParameterSet delta(form.trained());
  const float* from = sum.data();
  for (size_t row = 0; row < delta.size(); ++row) {
    const std::span<float> to = delta.floats(row);
    std::memcpy(to.data(), from, to.size_bytes());
    from += to.size();
  }
  return delta;
}

absl::StatusOr<std::string> Extended(const ScalarForm& form, std::string log,
                                     const ScalarRound& round, std::span<const float> moves) {
  RV_RETURN_IF_ERROR(CheckLog(form, log));
  if (!form.pooled()) return std::move(log) + RecordOf(form, round, moves);
  std::vector<float> sums(moves.begin(), moves.end());
  if (!log.empty()) {
    const std::vector<float> before = NumbersOfRecord(form, log);
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += before[j];
  }
  return RecordOf(form, round, sums);
}

absl::StatusOr<std::vector<float>> SumsOfPool(const ScalarForm& form, std::string_view log) {
  RV_RETURN_IF_ERROR(CheckLog(form, log));
  return log.empty() ? std::vector<float>() : NumbersOfRecord(form, log);
}

double DrawsOf(const ScalarForm& form, uint64_t log_bytes) {
  return static_cast<double>(log_bytes) / static_cast<double>(RecordBytes(form)) *
         DrawsOfRound(form);
}

double DrawsOfRound(const ScalarForm& form) {
  const auto count = static_cast<double>(form.count());
  double signs = 0;
  for (const TensorPart& part : PartsOf(form.trained())) {
    signs += form.kind().kind == DirectionKind::kSubspace
                 ? SignsInSubspaces(form.kind(), count, part)
                 : SignsOfNumber(form.kind()) * count * static_cast<double>(part.elements());
  }
  return signs;
}

std::string ReplayWarning(const JobSpec& spec, const Manifest& trained) {
  if (!KeepsLog(spec)) return "";
  const ScalarForm form = *ScalarForm::Of(spec, trained);
  const double draws = DrawsOfRound(form);
  if (draws <= kMostReplay) return "";
  return "[scalars]: to replay " + std::to_string(NumbersOf(form)) + " directions costs " +
         BillionsOf(draws) + " signs, and a client spends " + BillionsOf(kMostReplay) +
         " at most: all of them fetch the whole state, " + std::to_string(SizeBytesOf(trained)) +
         " bytes, in every round; fewer directions, or train.direction = \"low-rank\" of rank 1, "
         "cost less";
}

absl::Status Replay(const ScalarForm& form, const StrategySection& strategy, std::string_view log,
                    ParameterSet& state, const std::function<bool()>& cancelled,
                    MovingAverage* average) {
  RV_RETURN_IF_ERROR(CheckLog(form, log));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<ServerOptimizer> optimizer,
                      MakeServerOptimizer(strategy, form.trained()));
  ParameterSet sum;
  int records = 0;
  for (; !log.empty(); log.remove_prefix(RecordBytes(form))) {
    if (cancelled && cancelled()) return absl::AbortedError("replay: cancelled");
    const std::string_view record = log.substr(0, RecordBytes(form));
    RV_ASSIGN_OR_RETURN(ParameterSet delta, DeltaOf(form, RoundOfRecord(form, record),
                                                    NumbersOfRecord(form, record), cancelled));
    if (records++ == 0) {
      sum = std::move(delta);
    } else {
      Accumulate(delta, sum);
    }
    if (WordOfRecord(record) & kMore) continue;
    if (records > 1) Scale(1.0f / static_cast<float>(records), sum);
    RV_RETURN_IF_ERROR(optimizer->Apply(sum, state));
    if (average != nullptr) average->Follow(state);
    records = 0;
  }
  if (records == 0) return absl::OkStatus();
  return Refuse(absl::StatusCode::kDataLoss, "log of coefficients: the last " +
                                                 std::to_string(records) + " records lack an end");
}

absl::StatusOr<WaitingRounds> WaitingRoundsOf(const ScalarForm& form, std::string bytes) {
  WaitingRounds waiting;
  if (bytes.empty()) return waiting;
  const size_t sum = SizeBytesOf(form.trained());
  if (bytes.size() <= sum || (bytes.size() - sum) % RecordBytes(form) != 0) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "waiting rounds: got " + std::to_string(bytes.size()) +
                      " bytes, want records of " + std::to_string(RecordBytes(form)) +
                      " and a sum of " + std::to_string(sum));
  }
  waiting.sum = ParameterSet(form.trained());
  const char* from = bytes.data() + bytes.size() - sum;
  for (size_t row = 0; row < waiting.sum.size(); ++row) {
    const std::span<float> to = waiting.sum.floats(row);
    std::memcpy(to.data(), from, to.size_bytes());
    from += to.size_bytes();
  }
  bytes.resize(bytes.size() - sum);
  waiting.records = std::move(bytes);
  return waiting;
}

std::string BytesOf(const WaitingRounds& waiting) {
  std::string bytes = waiting.records;
  if (bytes.empty()) return bytes;
  bytes.reserve(bytes.size() + SizeBytesOf(waiting.sum.manifest()));
  for (size_t row = 0; row < waiting.sum.size(); ++row) {
    const std::span<const std::byte> numbers = waiting.sum.bytes(row);
    bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size());
  }
  return bytes;
}

absl::Status AddRound(const ScalarForm& form, const ScalarRound& round,
                      std::span<const float> moves, WaitingRounds& waiting) {
  RV_ASSIGN_OR_RETURN(ParameterSet delta, DeltaOf(form, round, moves));
  if (waiting.records.empty()) {
    waiting.sum = std::move(delta);
  } else {
    Accumulate(delta, waiting.sum);
  }
  waiting.records += RecordOf(form, round, moves);
  return absl::OkStatus();
}

double SignalRatio(const ScalarForm& form, const WaitingRounds& waiting) {
  const double dimensions = static_cast<double>(form.DirectionsOf({}).size());
  double squares = 0, directions = 0;  // of the estimates m_j z_j; their number
  std::string_view records = waiting.records;
  for (; !records.empty(); records.remove_prefix(RecordBytes(form))) {
    const std::vector<float> moves = NumbersOfRecord(form, records.substr(0, RecordBytes(form)));
    for (const float move : moves) squares += dimensions * double{move} * double{move};
    directions += static_cast<double>(moves.size());
  }
  double norm = 0;  // of the mean, squared
  for (size_t row = 0; row < waiting.sum.size(); ++row) {
    for (const float value : waiting.sum.floats(row)) norm += double{value} * double{value};
  }
  norm /= form.unit() * form.unit() * directions * directions;
  const double variance = (squares - directions * norm) / (directions - 1);
  return variance > 0 ? directions * norm / variance : 0;
}

absl::StatusOr<std::string> MoveTogether(const ScalarForm& form, const StrategySection& strategy,
                                         WaitingRounds waiting, ParameterSet& state) {
  const size_t record = RecordBytes(form);
  const size_t rounds = waiting.records.size() / record;
  if (rounds > 1) Scale(1.0f / static_cast<float>(rounds), waiting.sum);
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<ServerOptimizer> optimizer,
                      MakeServerOptimizer(strategy, form.trained()));
  RV_RETURN_IF_ERROR(optimizer->Apply(waiting.sum, state));
  for (size_t at = 0; at + record < waiting.records.size(); at += record) {
    const uint64_t word = WordOfRecord(std::string_view(waiting.records).substr(at)) | kMore;
    std::memcpy(waiting.records.data() + at, &word, sizeof word);
  }
  return std::move(waiting.records);
}

absl::StatusOr<std::string> ChoiceFor(const ScalarForm& form, const ScalarRound& round,
                                      std::string_view log) {
  RV_RETURN_IF_ERROR(CheckLog(form, log));
  if (form.candidates() == 1 || log.empty()) return std::string();
  const size_t record = RecordBytes(form);
  ParameterSet last;
  do {  // from the last record back to the end of the movement before
    const std::string_view one = log.substr(log.size() - record);
    RV_ASSIGN_OR_RETURN(ParameterSet delta,
                        DeltaOf(form, RoundOfRecord(form, one), NumbersOfRecord(form, one)));
    if (!last.empty()) Accumulate(last, delta);
    last = std::move(delta);
    log.remove_suffix(record);
  } while (!log.empty() && (WordOfRecord(log.substr(log.size() - record)) & kMore) != 0);
  const std::vector<float> movement = FlatOf(last);
  const Directions directions = form.DirectionsOf(round);
  std::string choice(static_cast<size_t>(form.count()), '\0');
  for (uint64_t j = 0; j < choice.size(); ++j) {
    double most = -1;
    for (int candidate = 0; candidate < form.candidates(); ++candidate) {
      const uint64_t index = j * static_cast<uint64_t>(form.candidates()) + candidate;
      const double close = std::abs(directions.Dot(index, movement));
      if (close <= most) continue;
      most = close;
      choice[j] = static_cast<char>(candidate);
    }
  }
  return choice;
}

size_t BytesBeyond(const ScalarForm& form, std::string_view log, uint64_t bytes) {
  const size_t record = RecordBytes(form);
  size_t beyond = 0;
  bool whole = true;
  while (beyond < log.size() && (log.size() - beyond >= bytes || !whole)) {
    whole = (WordOfRecord(log.substr(beyond)) & kMore) == 0;
    beyond += record;
  }
  return beyond;
}

bool KeepsAverage(const JobSpec& spec) {
  return spec.evaluate.ema > 0 && KeepsLog(spec) && spec.scalars.pool == 0;
}

bool KeepsLog(const JobSpec& spec) {
  return spec.scalars.enabled && spec.strategy.name == "fedavg";
}

}  // namespace rivulet

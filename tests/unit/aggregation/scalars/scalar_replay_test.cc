#include "aggregation/scalars/scalar_replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "common/random.h"

namespace rivulet {
namespace {

const Manifest kTrained = {{"a", DType::kF32, {9}}, {"b", DType::kF32, {30, 100}}};

JobSpec Fresh() {
  JobSpec spec;
  spec.job.seed = 3;
  spec.train.estimator = "central";
  spec.train.max_steps = 4;
  spec.train.learning_rate = 0.125;
  spec.scalars.enabled = true;
  return spec;
}

ParameterSet Start() {
  ParameterSet state(kTrained);
  for (size_t row = 0; row < state.size(); ++row) {
    RandomStream(1, Purpose::kBaseTensor, 0)
        .FillGauss(static_cast<uint32_t>(row), state.floats(row));
  }
  return state;
}

std::vector<float> MovesOfRound(const ScalarForm& form, uint64_t round) {
  std::vector<float> moves(static_cast<size_t>(form.splits() * form.count()));
  RandomStream(2, Purpose::kBaseTensor, round).FillGauss(0, moves);
  return moves;
}

// The design's rule written out: acc = fma(c_j, z_j, acc) for j ascending, then w + acc.
TEST(ScalarReplay, ADeltaIsTheSumInTheOrderOfDirections) {
  const ScalarForm form = *ScalarForm::Of(Fresh(), kTrained);
  const std::vector<float> moves = MovesOfRound(form, 1);
  const ParameterSet delta = *DeltaOf(form, {1}, moves);
  const std::vector<TensorPart> parts = PartsOf(kTrained);
  for (size_t row = 0; row < delta.size(); ++row) {
    std::vector<float> sum(delta.floats(row).size()), z(sum.size());
    for (size_t j = 0; j < moves.size(); ++j) {
      MakeDirection({}, RootOf(3, 1, ""), j)->Fill(parts[row], z);
      for (size_t i = 0; i < sum.size(); ++i) {
        sum[i] = std::fma(static_cast<float>(-0.125 * double{moves[j]}), z[i], sum[i]);
      }
    }
    EXPECT_EQ(std::vector<float>(delta.floats(row).begin(), delta.floats(row).end()), sum) << row;
  }
}

// A subspace that a round uses once is not shared, however rarely it would be renewed; U and V of
// many columns cost the most.
TEST(ScalarReplay, ASubspaceCountsOnceForTheDirectionsThatShareIt) {
  const auto signs = [](int steps, int rank, int renewal) {
    JobSpec spec = Fresh();
    spec.train.direction = "subspace";
    spec.train.max_steps = steps;
    spec.train.direction_rank = rank;
    spec.train.direction_renewal = renewal;
    return DrawsOfRound(*ScalarForm::Of(spec, kTrained));
  };
  EXPECT_EQ(signs(1, 4, 50), signs(1, 4, 1));
  EXPECT_LT(signs(50, 4, 50), 10 * signs(1, 4, 50));
  EXPECT_GT(signs(50, 4, 1), 40 * signs(1, 4, 50));
  EXPECT_GT(signs(1, 30, 50), 7 * signs(1, 4, 50));
}

// 4,096 signs for each of 12.2 million numbers are just below 5e10, for each of 12.3 million above.
TEST(ScalarReplay, WhereNoRoundCanBeReplayedTheJobIsWarned) {
  const auto warning = [](JobSpec spec, int64_t rows) {
    return ReplayWarning(spec, {{"w", DType::kF32, {rows, 1000}}});
  };
  JobSpec spec = Fresh();
  spec.scalars.pool = 4096;
  EXPECT_EQ(warning(spec, 12200), "");
  EXPECT_EQ(warning(spec, 12300),
            "[scalars]: to replay 4096 directions costs 50.4 billion signs, and a client spends "
            "50.0 billion at most: all of them fetch the whole state, 49200000 bytes, in every "
            "round; fewer directions, or train.direction = \"low-rank\" of rank 1, cost less");
  spec.train.direction = "low-rank";
  EXPECT_EQ(warning(spec, 12300), "");
  EXPECT_EQ(warning(JobSpec(), 12300), "");
}

// However a client came to a state: round by round, or all that it missed at once.
TEST(ScalarReplay, AnAbsentClientReachesTheSameHash) {
  for (const char* kind : {"fresh", "vote", "low-rank", "subspace", "split", "chosen"}) {
    JobSpec spec = Fresh();
    if (kind == std::string("vote")) spec.scalars.combine = "vote";
    if (kind == std::string("low-rank")) spec.train.direction = "low-rank";
    if (kind == std::string("subspace")) {
      spec.train.direction = "subspace";
      spec.train.direction_rank = 2;
      spec.train.direction_renewal = 3;
    }
    if (kind == std::string("split")) spec.scalars.splits = 2;
    if (kind == std::string("chosen")) spec.scalars.candidates = 3;
    const ScalarForm form = *ScalarForm::Of(spec, kTrained);
    ParameterSet present = Start();
    std::string log;
    size_t behind = 0;  // of the log, after round 20
    ParameterSet absent;
    for (uint64_t round = 1; round <= 120; ++round) {
      std::vector<float> moves = MovesOfRound(form, round);
      if (form.votes()) {
        for (float& move : moves) move = static_cast<float>((move > 0) - (move < 0));
      }
      const size_t before = log.size();
      const std::string choice = *ChoiceFor(form, {round}, log);
      EXPECT_EQ(choice.empty(), form.candidates() == 1 || round == 1);
      log = *Extended(form, std::move(log), {round, 0, choice}, moves);
      ASSERT_TRUE(Replay(form, spec.strategy, std::string_view(log).substr(before), present).ok());
      if (round == 20) absent = present, behind = log.size();
    }
    const int64_t each = (form.votes() ? 1 : 4) + (form.candidates() > 1 ? 1 : 0);
    EXPECT_EQ(log.size(), 120 * (8 + form.splits() * form.count() * each));
    ASSERT_TRUE(Replay(form, spec.strategy, std::string_view(log).substr(behind), absent).ok());
    EXPECT_EQ(absent.HashHex(), present.HashHex()) << kind;
    ParameterSet newcomer = Start();
    ASSERT_TRUE(Replay(form, spec.strategy, log, newcomer).ok());
    EXPECT_EQ(newcomer.HashHex(), present.HashHex()) << kind;
  }
}

// The coordinator has the roots from sessions, a client that was away from the log alone.
TEST(ScalarReplay, RecordsOfSessionsHoldWhatTheirDirectionsFollowFrom) {
  JobSpec spec = Fresh();
  spec.scalars.drawn_from = "session";
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  const std::vector<float> moves = MovesOfRound(form, 1);
  const ScalarRound first{1, 0x1122334455667788}, second{2, ~uint64_t{0}};
  const std::string one = *Extended(form, "", first, moves);
  ASSERT_EQ(one.size(), 8 + 8 + 4 * 4u);
  EXPECT_EQ(one.substr(8, 8), "\x88\x77\x66\x55\x44\x33\x22\x11");
  const std::string log = *Extended(form, one, second, moves);
  ParameterSet want = Start(), state = Start();
  for (const ScalarRound& round : {first, second}) {
    const ParameterSet delta = *DeltaOf(form, round, moves);
    for (size_t row = 0; row < want.size(); ++row) {
      for (size_t i = 0; i < want.floats(row).size(); ++i)
        want.floats(row)[i] += delta.floats(row)[i];
    }
  }
  ASSERT_TRUE(Replay(form, spec.strategy, log, state).ok());
  EXPECT_EQ(state.HashHex(), want.HashHex());
  // Another session, or the job's own directions: another state.
  ParameterSet other = Start();
  const std::string changed = *Extended(form, one, {2, second.session_root - 1}, moves);
  ASSERT_TRUE(Replay(form, spec.strategy, changed, other).ok());
  EXPECT_NE(other.HashHex(), want.HashHex());
  EXPECT_NE(DeltaOf(*ScalarForm::Of(Fresh(), kTrained), first, moves)->HashHex(),
            DeltaOf(form, first, moves)->HashHex());
  // The mark of records that move a state together is beside the root, whatever that is.
  WaitingRounds waiting;
  ASSERT_TRUE(AddRound(form, first, moves, waiting).ok());
  ASSERT_TRUE(AddRound(form, second, moves, waiting).ok());
  ParameterSet moved = Start(), joined = Start();
  const std::string together = *MoveTogether(form, spec.strategy, waiting, moved);
  ASSERT_TRUE(Replay(form, spec.strategy, together, joined).ok());
  EXPECT_EQ(joined.HashHex(), moved.HashHex());
  EXPECT_EQ(BytesBeyond(form, together, 33), 64u);
}

TEST(ScalarReplay, APoolIsOneRecordOfSumsHoweverManyRounds) {
  JobSpec spec = Fresh();
  spec.scalars.pool = 64;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  std::string log;
  std::vector<float> sums(64);
  for (uint64_t round = 1; round <= 100; ++round) {
    const std::vector<float> moves = MovesOfRound(form, round);
    for (size_t j = 0; j < 64; ++j) sums[j] += moves[j];
    log = *Extended(form, std::move(log), {round}, moves);
    ASSERT_EQ(log.size(), 8 + 64 * 4u);
  }
  ParameterSet state = Start(), want = Start();
  ASSERT_TRUE(Replay(form, spec.strategy, log, state).ok());
  const ParameterSet delta = *DeltaOf(form, {1}, sums);
  for (size_t row = 0; row < want.size(); ++row) {
    for (size_t i = 0; i < want.floats(row).size(); ++i)
      want.floats(row)[i] += delta.floats(row)[i];
  }
  EXPECT_EQ(state.HashHex(), want.HashHex());
}

// 5,000 directions: two looks a piece of 2,048 values, or a tile, and one before the record.
TEST(ScalarReplay, ACancellationEndsItInTheMidstOfARecord) {
  for (const auto& [direction, looks] : {std::pair{"rademacher", 7}, {"low-rank", 5}}) {
    JobSpec spec = Fresh();
    spec.train.direction = direction;
    spec.train.max_steps = 5000;
    const ScalarForm form = *ScalarForm::Of(spec, kTrained);
    const std::string log = *Extended(form, "", {1}, MovesOfRound(form, 1));
    int looked = 0;
    ParameterSet state = Start();
    ASSERT_TRUE(Replay(form, spec.strategy, log, state, [&] { return ++looked < 0; }).ok());
    EXPECT_EQ(looked, looks) << direction;
    looked = 0;
    const absl::Status cancelled =
        Replay(form, spec.strategy, log, state, [&] { return ++looked == 3; });
    EXPECT_EQ(cancelled.code(), absl::StatusCode::kAborted) << cancelled;
    EXPECT_EQ(looked, 3) << direction;
  }
}

TEST(ScalarReplay, VotesCountBySignAndSplitsByTheirOwners) {
  JobSpec spec = Fresh();
  spec.scalars.combine = "vote";
  const ScalarForm votes = *ScalarForm::Of(spec, kTrained);
  ParameterSet mean(votes.manifest());
  const std::vector<float> shares = {0.25f, -1, 0, 1e-7f};
  std::copy(shares.begin(), shares.end(), mean.floats(0).begin());
  EXPECT_EQ(MovesOf(votes, mean, {}), (std::vector<float>{1, -1, 0, 1}));

  spec = Fresh();
  spec.scalars.splits = 3;
  spec.train.max_steps = 1;
  const ScalarForm split = *ScalarForm::Of(spec, kTrained);
  ParameterSet parts(split.manifest());
  const std::vector<float> coefficients = {1, 2, 5};
  std::copy(coefficients.begin(), coefficients.end(), parts.floats(0).begin());
  const std::vector<float> moves = MovesOf(split, parts, std::vector<double>{0.25, 0.75, 0});
  EXPECT_EQ(moves[0], 4);
  EXPECT_FLOAT_EQ(moves[1], 2 / 0.75f);
  EXPECT_EQ(moves[2], 0);  // nobody's: what stands there is a lie
}

// Exact slopes of a linear loss: P directions of d numbers have the ratio 1 + P / d. The squared
// norm of a mean of P = 256 estimates in d = 3009 dimensions is that of its signal and of 3009
// nearly independent coordinates: its relative deviation is sqrt(2 / 3009) = 2.6 %, that of the
// ratio about as much; 0.08 is three of them. Noise alone stays near 1.
TEST(ScalarReplay, TheRatioTellsASlopeFromNoise) {
  JobSpec spec = Fresh();
  spec.train.max_steps = 1;
  spec.train.queries = 256;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  std::vector<float> gradient(3009), noise(256);
  RandomStream(8, Purpose::kBaseTensor, 0).FillGauss(0, gradient);
  RandomStream(8, Purpose::kBaseTensor, 1).FillGauss(0, noise);
  std::vector<float> slopes, scaled;
  for (uint64_t j = 0; j < 256; ++j) {
    slopes.push_back(static_cast<float>(form.DirectionsOf({1}).Dot(j, gradient)) / 256);
    scaled.push_back(slopes.back() * 1000);
  }
  const auto ratio_of = [&](const std::vector<float>& moves) {
    WaitingRounds waiting;
    EXPECT_TRUE(AddRound(form, {1}, moves, waiting).ok());
    return SignalRatio(form, waiting);
  };
  const double ratio = ratio_of(slopes);
  EXPECT_NEAR(ratio, 1 + 256.0 / 3009, 0.08);
  EXPECT_NEAR(ratio_of(scaled), ratio, 1e-6 * ratio);
  EXPECT_NEAR(ratio_of(noise), 1, 0.08);
}

// The estimates m_j z_j of ten directions in two rounds written out, in binary64: P |mean|^2 over
// the sum of their coordinates' sample variances. All sums of such moves are exact in binary32,
// too.
TEST(ScalarReplay, TheRatioIsThatOfTheWholeEstimates) {
  JobSpec spec = Fresh();
  spec.train.max_steps = 1;
  spec.train.queries = 5;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  const std::vector<std::vector<float>> moves = {{3, -1, 0.5, 2, -2.5}, {1, 0, -4, 0.25, 1.5}};
  std::vector<std::vector<double>> estimates;
  WaitingRounds waiting;
  for (uint64_t round = 1; round <= 2; ++round) {
    ASSERT_TRUE(AddRound(form, {round}, moves[round - 1], waiting).ok());
    for (uint64_t j = 0; j < 5; ++j) {
      std::vector<double>& estimate = estimates.emplace_back();
      for (const TensorPart& part : PartsOf(kTrained)) {
        std::vector<float> z(static_cast<size_t>(part.elements()));
        MakeDirection({}, RootOf(3, round, ""), j)->Fill(part, z);
        for (const float value : z) estimate.push_back(moves[round - 1][j] * value);
      }
    }
  }
  double signal = 0, variance = 0;
  for (size_t i = 0; i < 3009; ++i) {
    double mean = 0, squares = 0;
    for (const auto& estimate : estimates) mean += estimate[i] / 10;
    for (const auto& estimate : estimates) squares += (estimate[i] - mean) * (estimate[i] - mean);
    signal += mean * mean;
    variance += squares / 9;
  }
  const double want = 10 * signal / variance;
  EXPECT_NEAR(SignalRatio(form, waiting), want, 1e-9 * want);
}

// Kept from round to round as bytes, as a coordinator does that starts anew each time.
TEST(ScalarReplay, RoundsThatWaitedMoveByTheirMean) {
  const ScalarForm form = *ScalarForm::Of(Fresh(), kTrained);
  std::string bytes;
  ParameterSet want = Start(), sum(kTrained);
  for (uint64_t round = 4; round <= 6; ++round) {
    const std::vector<float> moves = MovesOfRound(form, round);
    WaitingRounds waiting = *WaitingRoundsOf(form, bytes);
    ASSERT_TRUE(AddRound(form, {round}, moves, waiting).ok());
    bytes = BytesOf(waiting);
    ASSERT_EQ(bytes.size(), (round - 3) * 24 + 3009 * 4);
    const ParameterSet delta = *DeltaOf(form, {round}, moves);
    for (size_t row = 0; row < sum.size(); ++row) {
      for (size_t i = 0; i < sum.floats(row).size(); ++i)
        sum.floats(row)[i] += delta.floats(row)[i];
    }
  }
  for (size_t row = 0; row < sum.size(); ++row) {
    for (size_t i = 0; i < sum.floats(row).size(); ++i) {
      want.floats(row)[i] += sum.floats(row)[i] * (1.0f / 3);
    }
  }
  ParameterSet state = Start(), replayed = Start();
  const std::string together =
      *MoveTogether(form, StrategySection(), *WaitingRoundsOf(form, bytes), state);
  EXPECT_EQ(state.HashHex(), want.HashHex());
  ASSERT_TRUE(Replay(form, StrategySection(), together, replayed).ok());  // as a client does
  EXPECT_EQ(replayed.HashHex(), want.HashHex());
  const absl::Status open = Replay(form, StrategySection(), together.substr(0, 48), state);
  EXPECT_EQ(open.code(), absl::StatusCode::kDataLoss) << open;
  for (const size_t cut : {size_t{1}, size_t{24}, bytes.size() - 23, bytes.size() - 1}) {
    EXPECT_EQ(WaitingRoundsOf(form, bytes.substr(0, cut)).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

// Of two records that moved the state together, which come after one that moved it alone.
TEST(ScalarReplay, TheCandidateClosestToTheLastMovementIsChosen) {
  JobSpec spec = Fresh();
  spec.scalars.candidates = 5;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  EXPECT_EQ(*ChoiceFor(form, {1}, ""), "");
  WaitingRounds waiting;
  ASSERT_TRUE(AddRound(form, {2, 0, "\1\2\3\4"}, MovesOfRound(form, 2), waiting).ok());
  ASSERT_TRUE(AddRound(form, {3, 0, "\4\4\1\1"}, MovesOfRound(form, 3), waiting).ok());
  ParameterSet before = Start(), after = Start();
  std::string log = *Extended(form, "", {1}, MovesOfRound(form, 1));
  ASSERT_EQ(log.size(), 8 + 4 + 4 * 4u);
  ASSERT_TRUE(Replay(form, spec.strategy, log, before).ok());
  log += *MoveTogether(form, spec.strategy, waiting, after);
  after = Start();
  ASSERT_TRUE(Replay(form, spec.strategy, log, after).ok());
  const std::vector<float> from = FlatOf(before), to = FlatOf(after);
  std::string want;
  for (int j = 0; j < 4; ++j) {
    double most = -1;
    char chosen = 0;
    for (int candidate = 0; candidate < 5; ++candidate) {
      std::vector<float> z(from.size());
      Directions({}, RootOf(3, 4, ""), kTrained).Perturb(j * 5 + candidate, 1, z, z);
      double dot = 0;
      for (size_t i = 0; i < z.size(); ++i) dot += z[i] * (double{to[i]} - from[i]);
      if (std::abs(dot) > most) most = std::abs(dot), chosen = static_cast<char>(candidate);
    }
    want += chosen;
  }
  EXPECT_EQ(*ChoiceFor(form, {4}, log), want);
  EXPECT_NE(*ChoiceFor(form, {5}, log), want);  // equal once in 625 seeds
  EXPECT_EQ(*ChoiceFor(*ScalarForm::Of(Fresh(), kTrained), {1}, ""), "");
  log[8] = 5;  // of five, counted from 0
  EXPECT_EQ(Replay(form, spec.strategy, log, after).code(), absl::StatusCode::kInvalidArgument);
}

// E[z z^T] along the movement: the expectation of the larger of two squared normal numbers,
// 1 + 2 / pi; the bound is six standard errors of 4000. Across it stays 1.
TEST(ScalarReplay, AChoiceBiasesTheEstimateAlongTheLastMovement) {
  JobSpec spec = Fresh();
  spec.train.max_steps = 4000;
  spec.scalars.candidates = 2;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  const ScalarRound first{1};
  std::vector<float> moves(4000);
  moves[0] = 1;
  ScalarRound next{2};
  next.choice = *ChoiceFor(form, next, *Extended(form, "", first, moves));
  const std::vector<float> along = FlatOf(*DeltaOf(form, first, moves));
  std::vector<float> across(along.size());  // another direction, nearly orthogonal
  form.DirectionsOf({9}).Perturb(0, 0.125f, across, across);
  const Directions directions = form.DirectionsOf(next);
  double most = 0, others = 0;
  for (uint64_t j = 0; j < 4000; ++j) {
    const uint64_t index = form.IndexOf(next, j);
    most += std::pow(directions.Dot(index, along), 2);
    others += std::pow(directions.Dot(index, across), 2);
  }
  const double unit = 4000 * 0.125 * 0.125 * 3009;
  EXPECT_NEAR(most / unit, 1 + 2 / std::numbers::pi, 0.16);
  EXPECT_NEAR(others / unit, 1, 0.14);
}

// a + (1 - 0.75) (w - a) after each movement, whether of one record or of two.
TEST(ScalarReplay, AnAverageFollowsEveryMovement) {
  const ScalarForm form = *ScalarForm::Of(Fresh(), kTrained);
  const StrategySection strategy;
  ParameterSet state = Start(), unused = Start();
  MovingAverage average{0.75, Start()};
  WaitingRounds waiting;
  ASSERT_TRUE(AddRound(form, {2}, MovesOfRound(form, 2), waiting).ok());
  ASSERT_TRUE(AddRound(form, {3}, MovesOfRound(form, 3), waiting).ok());
  const std::string first = *Extended(form, "", {1}, MovesOfRound(form, 1));
  const std::string second = *MoveTogether(form, strategy, waiting, unused);
  ParameterSet want = Start(), walked = Start();
  for (const std::string& movement : {first, second}) {
    ASSERT_TRUE(Replay(form, strategy, movement, walked).ok());
    for (size_t row = 0; row < want.size(); ++row) {
      for (size_t i = 0; i < want.floats(row).size(); ++i) {
        float& a = want.floats(row)[i];
        a = std::fma(0.25f, walked.floats(row)[i] - a, a);
      }
    }
  }
  ASSERT_TRUE(Replay(form, strategy, first + second, state, {}, &average).ok());
  EXPECT_EQ(average.values.HashHex(), want.HashHex());
  EXPECT_EQ(state.HashHex(), walked.HashHex());
}

TEST(ScalarReplay, WhatIsDroppedOfALogAreWholeMovements) {
  const ScalarForm form = *ScalarForm::Of(Fresh(), kTrained);  // records of 24 bytes
  std::string three(72, '\0');
  const std::string one(24, '\0');
  three[7] = three[31] = '\x80';  // bit 63 of the round: with the next
  const std::string log = one + three + one;
  EXPECT_EQ(BytesBeyond(form, log, 121), 0u);
  EXPECT_EQ(BytesBeyond(form, log, 120), 24u);
  EXPECT_EQ(BytesBeyond(form, log, 97), 24u);
  EXPECT_EQ(BytesBeyond(form, log, 96), 96u);
  EXPECT_EQ(BytesBeyond(form, log, 24), 120u);
}

TEST(ScalarReplay, ADamagedLogIsRefused) {
  const ScalarForm form = *ScalarForm::Of(Fresh(), kTrained);
  ParameterSet state = Start();
  const absl::Status cut = Replay(form, StrategySection(), std::string(25, 'x'), state);
  EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(cut.message()).find("got 25 bytes, want records of 24"), std::string::npos)
      << cut;
  JobSpec spec = Fresh();
  spec.scalars.pool = 4;
  const ScalarForm pool = *ScalarForm::Of(spec, kTrained);
  EXPECT_EQ(Replay(pool, StrategySection(), std::string(48, 'x'), state).code(),
            absl::StatusCode::kDataLoss);
  const std::string nan = std::string(8, '\0') + std::string(16, '\xff');
  EXPECT_EQ(Replay(form, StrategySection(), nan, state).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet

// Rounds under masks in groups: a sum of each, the rule over their means, and what becomes of a
// group whose clients vanish or lie.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "coordinator/rounds/masked_round.h"
#include "masked_fixture.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/draw.h"
#include "privacy/secagg/shared/messages.h"

namespace rivulet {
namespace {

using testing::HasSubstr;
using Names = std::vector<std::string>;

// "a", "b", ...
Names First(size_t count) {
  Names names;
  for (size_t at = 0; at < count; ++at) names.emplace_back(1, static_cast<char>('a' + at));
  return names;
}

float MedianOf(std::vector<float> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class GroupedRounds : public MaskedFederationTest {
 protected:
  static JobSpec Spec(size_t clients, int groups) {
    JobSpec spec = MaskedToySpec();
    spec.job.num_rounds = 1;
    spec.job.min_available_clients = static_cast<int>(clients);
    spec.secure_aggregation.range = 100;  // norms of honest updates are about 2
    spec.robust.rule = "median";
    spec.robust.faulty = 1;  // wants 3 groups
    spec.robust.groups = groups;
    return spec;
  }
  void Begin(size_t clients, const JobSpec& spec) {
    clients_ = First(clients);
    StartPrivate(spec);
    ConnectMembers(clients_);
    job_ = Submit();
  }
  // The one round was published, without the groups that `left_out` names.
  RoundView Finished() {
    const JobView view = Run(job_);
    EXPECT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
    return view.rounds.back();
  }

  // The group of each client, by the rosters that were sent.
  Names GroupOf(const std::string& client) const {
    const auto roster = secagg::Decode<secagg::Roster>(masked_.rosters.at(client));
    Names group;
    for (const std::string& name : clients_) {
      for (const secagg::RosterEntry& entry : roster->entries) {
        if (entry.fingerprint == Sha256Of(name)) group.push_back(name);
      }
    }
    return group;
  }
  std::set<Names> Groups() const {
    std::set<Names> groups;
    for (const std::string& client : clients_) {
      if (masked_.rosters.contains(client)) groups.insert(GroupOf(client));
    }
    return groups;
  }

  ParameterSet UpdateOf(const std::string& client, const std::string& state) const {
    const ParameterSet delta = ToyTrain(client, 1, state).delta;
    if (!boosted_.contains(client)) return delta;
    ParameterSet boosted = Boosted(delta);
    double squares = 0;
    for (size_t row = 0; row < boosted.size(); ++row) {
      for (const float value : boosted.floats(row)) squares += double{value} * value;
    }
    const double factor = spec_.secure_aggregation.range / std::sqrt(squares);
    for (size_t row = 0; row < boosted.size(); ++row) {
      for (float& value : boosted.floats(row)) value = static_cast<float>(value * factor);
    }
    return boosted;
  }
  // The first state moved by the median of the groups' means.
  ParameterSet MedianState(const std::set<Names>& groups) const {
    ParameterSet state = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
    const std::string sha256 = Sha256Hex(SafetensorsBytes(state));
    std::vector<ParameterSet> means;
    for (const Names& group : groups) {
      ParameterSet& mean = means.emplace_back(ToyManifest());
      for (const std::string& client : group) {
        const ParameterSet update = UpdateOf(client, sha256);
        for (size_t row = 0; row < mean.size(); ++row) {
          for (size_t at = 0; at < mean.floats(row).size(); ++at) {
            mean.floats(row)[at] += update.floats(row)[at] / static_cast<float>(group.size());
          }
        }
      }
    }
    for (size_t row = 0; row < state.size(); ++row) {
      for (size_t at = 0; at < state.floats(row).size(); ++at) {
        std::vector<float> values;
        for (const ParameterSet& mean : means) values.push_back(mean.floats(row)[at]);
        state.floats(row)[at] += MedianOf(values);
      }
    }
    return state;
  }
  ParameterSet State() { return StateOf(*federation_, *blobs_, job_); }
  void ExpectMedianOf(const std::set<Names>& groups) {
    EXPECT_LT(LargestDifference(State(), MedianState(groups)), StepOf(spec_));
  }

  Names clients_;
  std::string job_;
};

TEST_F(GroupedRounds, TheStateMovesByTheMedianOfTheMeans) {
  Begin(14, Spec(14, 3));
  const RoundView round = Finished();
  EXPECT_EQ(round.reported, clients_);
  EXPECT_THAT(round.figures.left_out, testing::IsEmpty());
  const std::set<Names> groups = Groups();
  std::multiset<size_t> sizes;
  for (const Names& group : groups) sizes.insert(group.size());
  EXPECT_THAT(sizes, testing::ElementsAre(4, 5, 5));
  ExpectMedianOf(groups);
  EXPECT_EQ(round.figures.examples, 14);  // of all the sums
  EXPECT_NEAR(round.figures.loss, 2, 1e-4);
}

// Two partitions of 12 into 3 groups are equal with probability 1 in 5775; three, 1 in 3e7.
TEST_F(GroupedRounds, TheGroupsAreOthersInEveryRound) {
  JobSpec spec = Spec(12, 3);
  spec.job.num_rounds = 3;
  Begin(12, spec);
  std::set<std::set<Names>> partitions;
  for (int step = 0; step < 5000 && !Show(job_).ended(); ++step) {
    if (!Once()) clock_.Advance(seconds(5));
    if (masked_.rosters.size() != 12) continue;
    partitions.insert(Groups());
    masked_.rosters.clear();
  }
  EXPECT_EQ(Show(job_).state, JobState::kFinished);
  EXPECT_GE(partitions.size(), 2u);
}

TEST_F(GroupedRounds, TooSmallACohortMakesFewerGroups) {
  Begin(13, Spec(13, 5));
  EXPECT_EQ(Finished().reported, clients_);
  EXPECT_EQ(Groups().size(), 3u);
  ExpectMedianOf(Groups());
}

TEST_F(GroupedRounds, APoisonedGroupDoesNotMoveTheMedian) {
  boosted_ = {"c"};
  Begin(12, Spec(12, 3));
  Finished();
  const std::set<Names> groups = Groups();
  ExpectMedianOf(groups);
  // Honest numbers are below 1; between those of the others' means lies the median.
  const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  EXPECT_LT(LargestDifference(State(), first), 1);
}

TEST_F(GroupedRounds, TheSameLiarMovesTheMeanOfAll) {
  boosted_ = {"c"};
  JobSpec spec = Spec(12, 0);
  spec.robust.rule = "none";
  Begin(12, spec);
  Finished();
  const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  EXPECT_GT(LargestDifference(State(), first), 1);
}

TEST_F(GroupedRounds, KrumLeavesAGroupOutAndSaysWhich) {
  boosted_ = {"c"};
  JobSpec spec = Spec(20, 5);
  spec.robust.rule = "multi-krum";  // keeps n - f - 2 = 2 of 5
  Begin(20, spec);
  const RoundView round = Finished();
  ASSERT_EQ(round.figures.left_out.size(), 3u);
  const auto names_c = [](const std::string& line) {
    return line.find("c,") != std::string::npos || line.find("c)") != std::string::npos;
  };
  EXPECT_EQ(std::count_if(round.figures.left_out.begin(), round.figures.left_out.end(), names_c),
            1);
  EXPECT_THAT(round.figures.left_out[0], HasSubstr("): the rule gave it no part"));
}

TEST_F(GroupedRounds, ANormBoundScalesTheMeanOfAGroup) {
  boosted_ = {"c"};
  JobSpec spec = Spec(12, 3);
  spec.robust.rule = "norm-bound";
  spec.robust.norm_bound = 1.5;  // norms of honest means are about 1, of the liar's 25
  Begin(12, spec);
  Finished();
  const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  double squares = 0;
  const ParameterSet last = State();
  for (size_t row = 0; row < last.size(); ++row) {
    for (size_t at = 0; at < last.floats(row).size(); ++at) {
      const double moved = last.floats(row)[at] - first.floats(row)[at];
      squares += moved * moved;
    }
  }
  EXPECT_LE(std::sqrt(squares), 1.5 + StepOf(spec_));
}

// A group of 4 is below the fewest of a sum when one of them vanishes.
class GroupedVanishing : public GroupedRounds, public testing::WithParamInterface<Vanishes> {};

TEST_P(GroupedVanishing, AGroupThatDropsIsLeftOut) {
  vanish_["c"] = GetParam();
  Begin(16, Spec(16, 4));
  const RoundView round = Finished();
  ASSERT_EQ(round.figures.left_out.size(), 1u) << testing::PrintToString(round.figures.left_out);
  EXPECT_THAT(round.figures.left_out[0], testing::ContainsRegex("group [1-4] \\(.*\\bc\\b.*\\): "));
  EXPECT_EQ(round.reported.size(), 12u);
  std::set<Names> others;
  for (const Names& group : Groups()) {
    if (std::includes(round.reported.begin(), round.reported.end(), group.begin(), group.end())) {
      others.insert(group);
    }
  }
  EXPECT_EQ(others.size(), 3u);
  ExpectMedianOf(others);
  // Its members hear of what kind that was; names are for the operator.
  Names heard = refused_;
  heard.insert(heard.end(), masked_.cancelled.begin(), masked_.cancelled.end());
  size_t of_group = 0;
  for (const std::string& told : heard) {
    if (told.find("left out") == std::string::npos) continue;
    ++of_group;
    EXPECT_THAT(told, testing::MatchesRegex("[a-p]: (masking: the group of '[a-p]'|its group) is "
                                            "left out: [A-Z0-9_]+"));
  }
  // After the shares of c all others have sent their updates, and nobody is at work any more.
  EXPECT_EQ(of_group > 0, GetParam() != Vanishes::kAfterShares);
}

INSTANTIATE_TEST_SUITE_P(BeforeItsUpload, GroupedVanishing,
                         testing::Values(Vanishes::kAfterNonce, Vanishes::kAfterKeys,
                                         Vanishes::kAfterShares));

TEST_F(GroupedRounds, OneThatCommitsToNothingIsInNoGroup) {
  vanish_["c"] = Vanishes::kBeforeKeys;
  Begin(16, Spec(16, 4));
  const RoundView round = Finished();
  EXPECT_THAT(round.figures.left_out, testing::IsEmpty());
  EXPECT_EQ(round.attempt, 1u);
  EXPECT_EQ(round.reported.size(), 15u);
  EXPECT_EQ(Groups().size(), 3u);  // of 5 each
  ExpectMedianOf(Groups());
  EXPECT_THAT(Show(job_).failures.at(0).text, HasSubstr("sent no commitment within 10 s"));
}

// Whoever may keep a nonce back chooses between two partitions: the draw is repeated without it.
TEST_F(GroupedRounds, ANonceThatDoesNotComeEndsTheAttemptAndExcludesItsClient) {
  vanish_["c"] = Vanishes::kAfterCommitment;
  JobSpec spec = Spec(16, 4);
  spec.job.min_available_clients = 15;
  Begin(16, spec);
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 2u);
  EXPECT_EQ(round.reported.size(), 15u);
  ExpectMedianOf(Groups());
  const JobView view = Show(job_);
  EXPECT_THAT(view.rounds.front().reason, HasSubstr("without the nonce of 'c'"));
  EXPECT_THAT(view.failures.at(0).text, HasSubstr("sent no nonce within 10 s"));
}

TEST_F(GroupedRounds, OneThatGivesUpBeforeItsNonceEndsTheAttemptToo) {
  JobSpec spec = Spec(16, 4);
  spec.job.min_available_clients = 15;
  Begin(16, spec);
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  std::erase_if(masked_.messages, [](const auto& message) { return message.first == "c"; });
  ASSERT_TRUE(federation_->ReportFailure("c", job_, 1, 1, "failed", "out of memory").ok());
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 2u);
  EXPECT_EQ(round.reported.size(), 15u);
  EXPECT_THAT(Show(job_).rounds.front().reason, HasSubstr("gave its task up"));
}

// Its report has a row of the attempt already; three attempts that excluded a client are none that
// end the job, after a restart either.
TEST_F(GroupedRounds, WhoGaveUpIsExcludedAfterARestartToo) {
  JobSpec spec = Spec(16, 4);
  spec.job.min_available_clients = 13;
  Begin(16, spec);
  for (const std::string client : {"c", "d", "e"}) {
    masked_.told.clear();
    const auto pooled = [&] { return masked_.told.contains(secagg::MessageKind::kPool); };
    for (int step = 0; step < 5000 && !pooled(); ++step) {
      if (!Once()) clock_.Advance(seconds(1));  // until the next attempt begins
    }
    const auto attempt = static_cast<uint32_t>(Show(job_).rounds.size());
    std::erase_if(masked_.messages, [&](const auto& message) { return message.first == client; });
    ASSERT_TRUE(federation_->ReportFailure(client, job_, 1, attempt, "failed", "no memory").ok());
    for (int step = 0; step < 5000 && Show(job_).rounds.size() == attempt; ++step) {
      if (!Once()) clock_.Advance(seconds(1));
    }
  }
  EXPECT_EQ(Show(job_).excluded.size(), 3u);
  RestartPrivate();
  EXPECT_EQ(Show(job_).excluded.size(), 3u);
  ConnectMembers(clients_);
  const RoundView round = Finished();
  EXPECT_GE(round.attempt, 4u);
  EXPECT_EQ(round.reported.size(), 13u);
}

TEST_F(GroupedRounds, NoReportExcludesItsClientByItsCode) {
  Begin(16, Spec(16, 4));
  while (members_.Of("a").task == nullptr) ASSERT_TRUE(Once());
  ASSERT_TRUE(federation_->ReportFailure("a", job_, 1, 1, "excluded", "or so it says").ok());
  EXPECT_EQ(Show(job_).failures.at(0).code, "failed");
  RestartPrivate();
  EXPECT_THAT(Show(job_).excluded, testing::IsEmpty());
}

// What it was shown may be the coordinator's fault: it stays in the job. But it would refuse again.
TEST_F(GroupedRounds, OneThatRefusesThePoolEndsTheAttemptAndSitsTheRoundOut) {
  JobSpec spec = Spec(16, 4);
  spec.job.num_rounds = 2;
  spec.job.min_available_clients = 16;
  Begin(16, spec);
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  std::erase_if(masked_.messages, [](const auto& message) { return message.first == "c"; });
  const std::string why = "ROSTER_SELF: own commitment is missing or altered";
  ASSERT_TRUE(federation_->ReportFailure("c", job_, 1, 1, "failed", why).ok());
  const RoundView round = Finished();
  const JobView view = Show(job_);
  ASSERT_EQ(view.rounds.size(), 3u);
  EXPECT_THAT(view.rounds[0].reason, HasSubstr("gave its task up: ROSTER_SELF"));
  EXPECT_THAT(view.rounds[0].reason, HasSubstr("; c refused: ROSTER_SELF: own commitment"));
  EXPECT_EQ(view.rounds[1].attempt, 2u);
  EXPECT_EQ(view.rounds[1].reported.size(), 15u);
  EXPECT_THAT(view.rounds[1].cohort, testing::Not(testing::Contains("c")));
  EXPECT_THAT(view.excluded, testing::IsEmpty());
  EXPECT_EQ(round.reported, clients_);
}

// The same said by a message of the protocol: as an agent does that was restarted meanwhile.
TEST_F(GroupedRounds, AnAbortInTheDrawIsARefusalToo) {
  Begin(16, Spec(16, 4));
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  std::erase_if(masked_.messages, [](const auto& message) { return message.first == "c"; });
  const std::string abort = secagg::Encode(secagg::Abort{.reason = secagg::Reason::kPolicy});
  ASSERT_TRUE(federation_->Masking("c", {job_, 1, 1, abort, {}}).ok());
  const RoundView round = Finished();
  EXPECT_THAT(Show(job_).rounds[0].reason, HasSubstr("; c refused: POLICY: by its own word"));
  EXPECT_EQ(round.attempt, 2u);
  EXPECT_THAT(round.cohort, testing::Not(testing::Contains("c")));
  EXPECT_THAT(Show(job_).excluded, testing::IsEmpty());
}

TEST_F(GroupedRounds, WhoRefusedSitsTheRoundOutAfterARestartToo) {
  Begin(16, Spec(16, 4));
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  std::erase_if(masked_.messages, [](const auto& message) { return message.first == "c"; });
  ASSERT_TRUE(federation_->ReportFailure("c", job_, 1, 1, "refused_policy", "policy: no").ok());
  for (int step = 0; step < 5000 && Show(job_).rounds.size() < 2; ++step) {
    if (!Once()) clock_.Advance(seconds(1));
  }
  RestartPrivate();
  ConnectMembers(clients_);
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 3u);
  EXPECT_EQ(round.reported.size(), 15u);
  EXPECT_THAT(round.cohort, testing::Not(testing::Contains("c")));
}

// One after the other, each when the pool is known: a round without them is made in the end.
TEST_F(GroupedRounds, ThreeOwnersWhoRefuseDoNotEndTheJob) {
  Begin(16, Spec(16, 4));
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    masked_.told.clear();
    const auto pooled = [&] { return masked_.told.contains(secagg::MessageKind::kPool); };
    const auto opened = [&] { return Show(job_).rounds.size() >= attempt; };
    for (int step = 0; step < 5000 && !(opened() && pooled()); ++step) {
      if (!Once()) clock_.Advance(seconds(1));
    }
    const RoundView round = Show(job_).rounds.back();
    const std::string client = round.cohort.front();
    ASSERT_TRUE(federation_
                    ->ReportFailure(client, job_, 1, round.attempt, "refused_policy",
                                    "policy: robust.groups: got sums of 4 clients")
                    .ok());
    std::erase_if(masked_.messages, [&](const auto& message) { return message.first == client; });
  }
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 4u);
  EXPECT_EQ(round.reported.size(), 13u);
  for (const RoundView& abandoned : Show(job_).rounds) {
    if (abandoned.attempt == 4) continue;
    // The operator reads whose owner refused, and what.
    EXPECT_THAT(abandoned.reason, HasSubstr("; " + abandoned.cohort.front() +
                                            " refused: policy: robust.groups: got"));
  }
}

// Eleven of the twelve that three groups take: one attempt is lost, and the next is none the worse.
TEST_F(GroupedRounds, APoolThatIsTooSmallEndsOneAttempt) {
  for (const std::string& client : First(5)) vanish_[client] = Vanishes::kBeforeKeys;
  Begin(16, Spec(16, 4));
  for (int step = 0; step < 5000 && Show(job_).rounds.size() < 2; ++step) {
    if (!Once()) clock_.Advance(seconds(5));
  }
  EXPECT_TRUE(masked_.told.contains(secagg::MessageKind::kAbort));
  vanish_.clear();
  EXPECT_EQ(Finished().attempt, 2u);
  EXPECT_EQ(Finished().reported, clients_);
}

// Its nonce is there; its group does not wait for its keys.
TEST_F(GroupedRounds, OneThatGivesUpAfterItsNonceIsMissedByItsGroupAlone) {
  Begin(15, Spec(15, 3));
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  std::string first = masked_.messages.front().first;
  ASSERT_TRUE(Once());
  ASSERT_TRUE(federation_->ReportFailure(first, job_, 1, 1, "failed", "out of memory").ok());
  vanish_[first] = Vanishes::kAfterNonce;
  const auto before = clock_.Monotonic();
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 1u);
  EXPECT_EQ(round.reported.size(), 14u);
  EXPECT_LT(clock_.Monotonic() - before, spec_.secure_aggregation.phase_deadline);
}

TEST_F(GroupedRounds, OneThatGivesUpBeforeThePoolIsFixedCostsNothing) {
  Begin(16, Spec(16, 4));
  while (members_.Of("a").task == nullptr) ASSERT_TRUE(Once());
  ASSERT_FALSE(masked_.told.contains(secagg::MessageKind::kPool));
  ASSERT_TRUE(federation_->ReportFailure("a", job_, 1, 1, "failed", "out of memory").ok());
  const auto before = clock_.Monotonic();
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 1u);
  EXPECT_EQ(round.reported.size(), 15u);
  EXPECT_LT(clock_.Monotonic() - before, spec_.secure_aggregation.phase_deadline);
}

TEST_F(GroupedRounds, APoolComesWithTheCertificatesThatItNames) {
  Begin(12, Spec(12, 3));
  while (!masked_.told.contains(secagg::MessageKind::kPool)) ASSERT_TRUE(Once());
  const auto& certificates = masked_.messages.front().second.certificates;
  ASSERT_EQ(certificates.size(), 12u);
  EXPECT_THAT(certificates, testing::Contains("certificate of a"));
  EXPECT_THAT(certificates, testing::Contains("certificate of l"));
}

// A client that was away while the nonces were told catches up.
TEST_F(GroupedRounds, OneThatComesBackIsToldWhatWasDrawn) {
  Begin(12, Spec(12, 3));
  while (!masked_.told.contains(secagg::MessageKind::kNonces)) ASSERT_TRUE(Once());
  std::erase_if(masked_.messages, [](const auto& message) { return message.first == "c"; });
  while (!masked_.messages.empty()) ASSERT_TRUE(Once());
  ConnectMembers({"c"});
  std::vector<secagg::MessageKind> told;
  for (const auto& [client, message] : masked_.messages) {
    if (client == "c") told.push_back(static_cast<secagg::MessageKind>(message.bytes[0]));
  }
  EXPECT_THAT(told, testing::ElementsAre(secagg::MessageKind::kPool, secagg::MessageKind::kNonces));
  while (!masked_.rosters.contains("c")) ASSERT_TRUE(Once());
  EXPECT_THAT(refused_, testing::IsEmpty());  // what it said again of the draw was taken
  EXPECT_EQ(Finished().reported, clients_);
  EXPECT_EQ(Finished().attempt, 1u);
}

// Four of five are enough to endorse and to unmask; two of one group would be too many.
class GroupedLate : public GroupedRounds, public testing::WithParamInterface<Vanishes> {};

TEST_P(GroupedLate, OneThatVanishesAfterItsUploadCostsNothing) {
  vanish_["c"] = GetParam();
  Begin(15, Spec(15, 3));
  EXPECT_EQ(Finished().reported, clients_);
  ExpectMedianOf(Groups());
}

INSTANTIATE_TEST_SUITE_P(AfterItsUpload, GroupedLate,
                         testing::Values(Vanishes::kAfterUpload, Vanishes::kAfterEndorsing));

// Shares of one group are given and do not suffice: the others publish, and nothing is repeated.
TEST_F(GroupedRounds, AGroupThatCannotBeOpenedIsLeftOut) {
  Begin(16, Spec(16, 4));
  while (Groups().size() < 4 || masked_.rosters.size() < 16) ASSERT_TRUE(Once());
  const Names group = GroupOf("a");
  for (size_t at = 0; at < 2; ++at) vanish_[group[at]] = Vanishes::kAfterEndorsing;
  const RoundView round = Finished();
  EXPECT_EQ(round.attempt, 1u);
  ASSERT_EQ(round.figures.left_out.size(), 1u);
  EXPECT_THAT(round.figures.left_out[0], HasSubstr("too few unmasking shares"));
  std::set<Names> others = Groups();
  others.erase(group);
  ExpectMedianOf(others);
}

// What is no masked vector makes noise of the sum. Four checksums of 20 bits or more see it but
// with probability 2^-80.
TEST_F(GroupedRounds, AGroupWhoseSumIsSpoiledIsLeftOut) {
  garbling_ = {"c"};
  Begin(16, Spec(16, 4));
  const RoundView round = Finished();
  ASSERT_EQ(round.figures.left_out.size(), 1u);
  EXPECT_THAT(round.figures.left_out[0], testing::AnyOf(HasSubstr("RANGE"), HasSubstr("CHECKSUM")));
  std::set<Names> others = Groups();
  others.erase(GroupOf("c"));
  ExpectMedianOf(others);
}

// Shares were given: another attempt would open sums that differ by a client.
TEST_F(GroupedRounds, WithTooFewSumsTheJobEndsAndNamesTheGroup) {
  garbling_ = {"c"};
  Begin(12, Spec(12, 3));
  const JobView view = Run(job_);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.rounds.size(), 1u);
  EXPECT_THAT(view.reason, HasSubstr("got sums of 2 of 3 groups, want 3; group "));
}

// Two of a group of five vanish in every attempt; 13 of 15 would be enough updates.
TEST_F(GroupedRounds, WithTooFewGroupsTheAttemptIsAbandoned) {
  Begin(15, Spec(15, 3));
  bool chosen = false;
  for (int step = 0; step < 5000 && Show(job_).rounds.size() < 2; ++step) {
    if (!chosen && masked_.rosters.contains("a")) {
      const Names group = GroupOf("a");
      vanish_ = {{group[0], Vanishes::kAfterKeys}, {group[1], Vanishes::kAfterKeys}};
      chosen = true;
    }
    if (!Once()) clock_.Advance(seconds(5));
  }
  const RoundView round = Show(job_).rounds.front();
  EXPECT_EQ(round.state, RoundState::kAbandoned);
  EXPECT_THAT(round.reason, HasSubstr("got sums of 2 of 3 groups, want 3; group "));
  // Whoever of the other groups was still at work hears how many, and nobody's name.
  EXPECT_FALSE(masked_.cancelled.empty());
  for (const std::string& told : masked_.cancelled) {
    const std::string reason = told.substr(told.find(": ") + 2);
    if (reason.starts_with("round 1 abandoned")) {
      EXPECT_EQ(reason, "round 1 abandoned: got sums of 2 of 3 groups, want 3; 1 by DEADLINE");
    }
  }
}

TEST_F(GroupedRounds, TheFewestHoldsForTheGroupAndTheClientsPolicySeesIt) {
  for (const std::string& name : First(12)) members_.Of(name).self.policy.n_min = 5;
  Begin(12, Spec(12, 3));
  const JobView view = Run(job_);
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.failures.at(0).text, HasSubstr("n_min: got 4, want at least 5"));
}

// Every group's parameters are its own and of its draw; a task begins with those of the pool alone.
TEST_F(GroupedRounds, TheParametersBindTheGroupAndTheDraw) {
  const auto form = MaskedForm::Of(Spec(12, 3), ToyManifest());
  ASSERT_TRUE(form.ok()) << form.status();
  const auto begins = [&](const std::string& client, const secagg::Params& params) {
    const MaskedTaskFacts facts{
        "rnd-1", 1, 1, std::string(64, '0'), "toy", secagg::Encode(secagg::Parameters{params})};
    return MaskedTask::Begin(members_.Of(client).self, facts, *form).ok();
  };
  MaskedAttempt attempt{"rnd-1", 1, 1, std::string(64, '0'), "toy", 12};
  std::set<Bytes32> sid0s;
  for (const uint8_t draw : {1, 2}) {
    for (attempt.group = 0; attempt.group < 3; ++attempt.group) {
      attempt.drawn.fill(draw);
      sid0s.insert(secagg::Sid0(form->ParamsOf(attempt)));
      EXPECT_FALSE(begins("a", form->ParamsOf(attempt)));
    }
  }
  EXPECT_EQ(sid0s.size(), 6u);
  attempt.group = 0;
  attempt.drawn = {};
  attempt.cohort = 4;
  EXPECT_FALSE(begins("b", form->ParamsOf(attempt)));  // a pool of 4 makes no round
  attempt.cohort = 12;
  EXPECT_TRUE(begins("c", form->ParamsOf(attempt)));
}

// A state of one group, as stored, with these messages of a draw.
std::string StoredWith(const Names& drawn) {
  const auto form = MaskedForm::Of(MaskedToySpec(), ToyManifest());
  MaskedAttempt attempt{"rnd-1", 1, 1, std::string(64, '0'), "toy", 4};
  const auto round = MaskedRound::Start({{form->ParamsOf(attempt), First(4)}}, 1, {}, {});
  const std::string state = (*round)->Serialise();
  const auto head = [](const Names& messages) {
    secagg::ByteWriter out;
    out.U8(2).U32(1).Lp("").U64(0).U32(static_cast<uint32_t>(messages.size()));
    for (const std::string& message : messages) out.Lp(message);
    return out.Take();
  };
  return head(drawn) + state.substr(head({}).size());
}

TEST(MaskedRoundState, HasNothingOfADrawOrAPoolAndItsNonces) {
  secagg::Pool pool;
  pool.entries.resize(4);
  const secagg::Nonces nonces{.sid = secagg::DrawId(pool.pool, pool.entries),
                              .nonces = {4, Bytes32{}}};
  secagg::Nonces others = nonces;
  others.sid[0] ^= 1;
  const std::string one = secagg::Encode(pool), two = secagg::Encode(nonces);
  const auto restored = [](const Names& drawn) {
    return MaskedRound::Restore(StoredWith(drawn), {}, {}).status();
  };
  EXPECT_TRUE(restored({}).ok()) << restored({});
  EXPECT_TRUE(restored({one, two}).ok()) << restored({one, two});
  for (const Names& drawn : std::vector<Names>{{one},
                                               {"", ""},
                                               {two, one},
                                               {one, secagg::Encode(others)},
                                               {one.substr(0, one.size() - 1), two},
                                               {one, two, two}}) {
    EXPECT_EQ(restored(drawn).code(), absl::StatusCode::kDataLoss) << restored(drawn);
  }
}

// A coordinator killed after any number of steps goes on with the groups that had their rosters.
class GroupedRestart : public GroupedRounds, public testing::WithParamInterface<int> {};

TEST_P(GroupedRestart, GoesOnToTheEnd) {
  Begin(12, Spec(12, 3));
  for (int step = 0; step < GetParam(); ++step) (void)Once();
  RestartPrivate();
  ConnectMembers(clients_);
  EXPECT_EQ(Finished().reported, clients_);
  EXPECT_EQ(Groups().size(), 3u);
  ExpectMedianOf(Groups());
}

TEST_P(GroupedRestart, GoesOnWithoutTheGroupThatWasLeftOut) {
  vanish_["c"] = Vanishes::kAfterKeys;
  Begin(16, Spec(16, 4));
  for (int step = 0; step < GetParam(); ++step) {
    if (!Once()) clock_.Advance(seconds(5));
  }
  RestartPrivate();
  ConnectMembers(clients_);
  const RoundView round = Finished();
  ASSERT_EQ(round.figures.left_out.size(), 1u) << testing::PrintToString(round.figures.left_out);
  std::set<Names> others;
  for (const Names& group : Groups()) {
    if (std::includes(round.reported.begin(), round.reported.end(), group.begin(), group.end())) {
      others.insert(group);
    }
  }
  EXPECT_EQ(others.size(), 3u);
  ExpectMedianOf(others);
}

INSTANTIATE_TEST_SUITE_P(AfterSteps, GroupedRestart, testing::Range(6, 126, 2));

}  // namespace
}  // namespace rivulet

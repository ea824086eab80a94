#include <gtest/gtest.h>

#include "tests/unit/privacy/secagg_machines/refusal.h"

// A server that lies about who survived, repeats a round or replays a session: cases 38 to 50 of
// the protocol's section 11. n = 4, t = T_g = 3 where a test does not say otherwise.
namespace rivulet::secagg {
namespace {

template <typename Set>
Set SetOf(uint32_t n, std::initializer_list<uint32_t> members) {
  Set set(n);
  for (const uint32_t member : members) set.Insert(member);
  return set;
}

class LyingSurvivors : public testing::Test {
 protected:
  LyingSurvivors() : cohort_(4, SmallParams()), run_(cohort_) {
    run_.AdvertiseAll();
    run_.RosterAll();
    run_.ForwardAll();
    run_.MaskAll();
  }
  ClientSession& victim() { return cohort_.session(0); }
  SurvivorSet With(U3Set u3) const {
    SurvivorSet survivors = run_.survivors();
    survivors.u3 = std::move(u3);
    return survivors;
  }
  void Refuses(const SurvivorSet& survivors, Reason reason) {
    ExpectRefusal(victim(), victim().OnSurvivors(survivors), reason);
  }
  void RefusesQuorum(const Endorsements& endorsements) {
    MemoryLedger ledger = cohort_.client(0).ledger;
    ClientSession copy(cohort_.ContextOf(0, ledger));
    ASSERT_TRUE(copy.Restore(victim().Serialise()).ok());
    ExpectRefusal(copy, copy.OnEndorsements(endorsements), Reason::kQuorum);
  }
  // By members who sign whatever the server likes.
  Endorsements Bought(const std::vector<uint32_t>& members, const std::string& message) {
    Endorsements out{.sid = run_.server.sid()};
    for (const uint32_t member : members)
      out.endorsers.push_back({member, cohort_.client(member).signer->Sign(message)});
    return out;
  }

  Cohort cohort_;
  HonestRun run_;
};

TEST_F(LyingSurvivors, Case38TheClientItselfIsNotAmongThem) {
  Refuses(With(SetOf<U3Set>(4, {1, 2, 3})), Reason::kU3);
}

TEST_F(LyingSurvivors, Case38TheClientHasNotUploaded) {
  Cohort cohort(4, SmallParams());
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  SurvivorSet survivors{
      .sid = run.server.sid(), .u2 = run.server.u2(), .u3 = SetOf<U3Set>(4, {0, 1, 2, 3})};
  ExpectRefusal(cohort.session(0), cohort.session(0).OnSurvivors(survivors), Reason::kU3);
}

// Four hold enough of its shares, so that nothing else is wrong with them (case 41).
TEST(LyingSets, Case39FewerThanTheRoundAsksFor) {
  Params params = SmallParams();
  params.n_min = 5;
  Cohort cohort(5, params);  // t = 4
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  run.MaskAll();
  SurvivorSet survivors = run.survivors();
  survivors.u3 = SetOf<U3Set>(5, {0, 1, 2, 3});
  const absl::Status refused = cohort.session(0).OnSurvivors(survivors).status();
  EXPECT_NE(refused.message().find("survivors: got 4, want at least 5"), std::string_view::npos)
      << refused;
  ExpectRefusal(cohort.session(0), refused, Reason::kU3);
}

TEST(LyingSets, Case40U3IsNoSubsetOfU2) {
  Cohort cohort(5, SmallParams());
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.gone = {4};
  run.RosterAll();
  run.ForwardAll();
  run.MaskAll();
  SurvivorSet survivors = run.survivors();
  EXPECT_FALSE(survivors.u2.Contains(4));
  survivors.u3.Insert(4);
  ExpectRefusal(cohort.session(0), cohort.session(0).OnSurvivors(survivors), Reason::kU3);
}

TEST(LyingSets, Case41TooFewHoldersOfTheClientsSharesSurvive) {
  Cohort cohort(6, SmallParams());  // t = 4, n_min = 3
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  run.MaskAll();
  SurvivorSet survivors = run.survivors();
  survivors.u3 = SetOf<U3Set>(6, {0, 1, 2});
  ExpectRefusal(cohort.session(0), cohort.session(0).OnSurvivors(survivors), Reason::kU3);
}

TEST_F(LyingSurvivors, Case42ASecondSet) {
  const std::string before = victim().Serialise();
  const auto endorsement = victim().OnSurvivors(run_.survivors());
  ASSERT_TRUE(endorsement.ok());
  EXPECT_EQ(victim().OnSurvivors(run_.survivors()).value(), *endorsement);
  Refuses(With(SetOf<U3Set>(4, {0, 1, 2})), Reason::kSecondU3);
  cohort_.Renew(0);  // nor after a crash that lost the first one
  ASSERT_TRUE(victim().Restore(before).ok());
  Refuses(With(SetOf<U3Set>(4, {0, 1, 2})), Reason::kSecondU3);
}

TEST_F(LyingSurvivors, Case43OneEndorsementTooFew) {
  run_.SurvivorsAll();
  Endorsements fewer = run_.endorsements();
  ASSERT_EQ(fewer.endorsers.size(), 3u);
  fewer.endorsers.pop_back();
  RefusesQuorum(fewer);
  RefusesQuorum(Endorsements{.sid = run_.server.sid()});
  EXPECT_TRUE(victim().OnEndorsements(run_.endorsements()).ok());
}

TEST_F(LyingSurvivors, Case44EndorsementsOfAnotherSet) {
  run_.SurvivorsAll();
  const U2Set u2 = run_.server.u2();
  const std::string other = EndorsementMessage(run_.server.sid(), u2, SetOf<U3Set>(4, {1, 2, 3}));
  RefusesQuorum(Bought({1, 2, 3}, other));
  Bytes32 elsewhere = run_.server.sid();  // the same sets in another session
  elsewhere[0] ^= 1;
  RefusesQuorum(Bought({1, 2, 3}, EndorsementMessage(elsewhere, u2, run_.server.u3())));
  Endorsements swapped = run_.endorsements();
  std::swap(swapped.endorsers[0].signature, swapped.endorsers[1].signature);
  RefusesQuorum(swapped);
  Endorsements garbage = run_.endorsements();
  garbage.endorsers[2].signature.fill(0);
  RefusesQuorum(garbage);
}

TEST_F(LyingSurvivors, Case45AnEndorserCountsOnce) {
  run_.SurvivorsAll();
  Endorsements repeated = run_.endorsements();
  repeated.endorsers[2] = repeated.endorsers[1];
  RefusesQuorum(repeated);
}

TEST_F(LyingSurvivors, Case46AnEndorserOutsideTheRoster) {
  run_.SurvivorsAll();
  for (const uint32_t index : {4u, 5000u, UINT32_MAX}) {
    Endorsements outside = run_.endorsements();
    outside.endorsers[1].index = index;
    RefusesQuorum(outside);
  }
}

TEST(LyingSets, Case46AnEndorserWhoDidNotSurvive) {
  Cohort cohort(5, SmallParams());  // t = T_g = 4
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  run.gone = {4};
  run.MaskAll();
  run.SurvivorsAll();
  Endorsements dead = run.endorsements();
  dead.endorsers[3] = {4, cohort.client(4).signer->Sign(EndorsementMessage(
                              run.server.sid(), run.server.u2(), run.server.u3()))};
  ExpectRefusal(cohort.session(0), cohort.session(0).OnEndorsements(dead), Reason::kQuorum);
}

TEST_F(LyingSurvivors, Case47U2IsNotTheOneThatMasksWereMadeFor) {
  SurvivorSet survivors = run_.survivors();
  survivors.u2 = SetOf<U2Set>(4, {0, 1, 2});
  survivors.u3 = SetOf<U3Set>(4, {0, 1, 2});
  Refuses(survivors, Reason::kU2);
}

TEST_F(LyingSurvivors, Case48SharesAreAskedForBeforeTheEndorsements) {
  const UnmaskRequest request{
      .sid = run_.server.sid(), .u2 = run_.server.u2(), .u3 = run_.server.u3()};
  const std::string before = victim().Serialise();
  ExpectRefusal(victim(), victim().OnUnmaskRequest(request), Reason::kQuorum);
  cohort_.Renew(0);
  ASSERT_TRUE(victim().Restore(before).ok());
  const std::string set = EndorsementMessage(run_.server.sid(), run_.server.u2(), run_.server.u3());
  ExpectRefusal(victim(), victim().OnEndorsements(Bought({1, 2, 3}, set)), Reason::kQuorum);
  cohort_.Renew(0);
  ASSERT_TRUE(victim().Restore(before).ok());
  ASSERT_TRUE(victim().OnSurvivors(run_.survivors()).ok());
  ExpectRefusal(victim(), victim().OnUnmaskRequest(request), Reason::kQuorum);
}

TEST_F(LyingSurvivors, Case49ANewAttemptAfterTheShares) {
  run_.SurvivorsAll();
  run_.UnmaskAll();
  Params next = cohort_.params();
  next.attempt = 1;
  cohort_.Renew(0);
  ExpectRefusal(victim(), victim().Advertise(next, cohort_.LocalOf(next)),
                Reason::kAlreadyRevealed);
  next.round += 1;  // another round is another matter
  cohort_.Renew(0);
  EXPECT_TRUE(victim().Advertise(next, cohort_.LocalOf(next)).ok());
}

TEST(LyingAttempts, Case49TwoAttemptsAtOnceGetTheSharesOnce) {
  Params second = SmallParams();
  second.attempt = 1;
  Cohort first_cohort(4, SmallParams()), second_cohort(4, second);
  HonestRun first(first_cohort), later(second_cohort);
  for (HonestRun* run : {&first, &later}) {
    run->AdvertiseAll();
    run->RosterAll();
    run->ForwardAll();
    run->MaskAll();
    run->SurvivorsAll();
  }
  // One client in both: what it wrote down in either attempt.
  MemoryLedger& ledger = second_cohort.client(0).ledger;
  ClientSession both(first_cohort.ContextOf(0, ledger));
  ASSERT_TRUE(both.Restore(first_cohort.session(0).Serialise()).ok());
  ASSERT_TRUE(second_cohort.session(0).OnEndorsements(later.endorsements()).ok());
  ExpectRefusal(both, both.OnEndorsements(first.endorsements()), Reason::kAlreadyRevealed);
}

TEST_F(LyingSurvivors, Case50AReplayAgainstARestartedClient) {
  const std::string roster = Encode(run_.roster());
  const std::string forward = Encode(run_.forward(0));
  run_.SurvivorsAll();
  // It had not answered yet: its ledger knows the attempt.
  cohort_.Renew(0);
  ExpectRefusal(victim(), victim().Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params())),
                Reason::kParams);
  // Without its session it takes no part: every message is out of order, and nothing is answered.
  cohort_.Renew(0);
  for (const std::string& message :
       {roster, forward, Encode(run_.survivors()), Encode(run_.endorsements())}) {
    EXPECT_FALSE(victim().Handle(message).ok());
  }
  EXPECT_EQ(victim().phase(), ClientSession::Phase::kNew);
}

TEST_F(LyingSurvivors, Case50AReplayAgainstAClientThatHasAnswered) {
  run_.SurvivorsAll();
  run_.UnmaskAll();
  cohort_.Renew(0);
  ExpectRefusal(victim(), victim().Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params())),
                Reason::kAlreadyRevealed);
}

TEST_F(LyingSurvivors, AfterTheSharesTheSameBytesAreAllThereIs) {
  run_.SurvivorsAll();
  const auto answer = victim().OnEndorsements(run_.endorsements());
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(victim().OnEndorsements(run_.endorsements()).value(), *answer);
  EXPECT_EQ(victim().OnSurvivors(run_.survivors()).ok(), true);
  EXPECT_FALSE(victim().Mask(cohort_.InputOf(0)).ok());  // its keys are gone
  UnmaskRequest other{
      .sid = run_.server.sid(), .u2 = run_.server.u2(), .u3 = SetOf<U3Set>(4, {0, 1, 2})};
  ExpectRefusal(victim(), victim().OnUnmaskRequest(other), Reason::kAlreadyRevealed);
}

TEST_F(LyingSurvivors, NeverBothSharesOfOneMember) {
  run_.SurvivorsAll();
  const auto unmask = Decode<Unmask>(victim().OnEndorsements(run_.endorsements()).value());
  ASSERT_EQ(unmask->shares.size(), 4u);
  for (uint32_t owner = 0; owner < 4; ++owner) {
    EXPECT_EQ(unmask->shares[owner].owner, owner);
    EXPECT_EQ(unmask->shares[owner].kind, ShareKind::kSelfSeed);
  }
}

TEST(LyingSets, InMode0AreRefusedTheSameWay) {
  const auto refuses = [](auto change, Reason reason, const char* text) {
    Params params = SmallParams(Mode::kSemiHonest);
    params.n_min = 5;
    Cohort cohort(5, params);
    HonestRun run(cohort);
    run.AdvertiseAll();
    run.RosterAll();
    run.ForwardAll();
    run.MaskAll();
    UnmaskRequest request = run.request();
    change(request);
    const absl::Status refused = cohort.session(0).OnUnmaskRequest(request).status();
    EXPECT_NE(refused.message().find(text), std::string_view::npos) << refused;
    ExpectRefusal(cohort.session(0), refused, reason);
  };
  refuses(
      [](UnmaskRequest& request) {
        request.u2 = SetOf<U2Set>(5, {0, 1, 2, 3});
      },
      Reason::kU2, "U2 is not the one");
  refuses(
      [](UnmaskRequest& request) {
        request.u3 = SetOf<U3Set>(5, {1, 2, 3, 4});
      },
      Reason::kU3, "this client is not among the survivors");
  refuses(
      [](UnmaskRequest& request) {
        request.u3 = SetOf<U3Set>(5, {0, 1, 2, 3});
      },
      Reason::kU3, "survivors: got 4, want at least 5");
}

TEST(LyingAttempts, EqualInputsOfTwoAttemptsGiveUnrelatedBytes) {
  std::vector<std::string> uploads;
  for (uint32_t attempt = 0; attempt < 2; ++attempt) {
    Params params = SmallParams();
    params.attempt = attempt;
    Cohort cohort(4, params);
    HonestRun run(cohort);
    run.AdvertiseAll();
    run.RosterAll();
    run.ForwardAll();
    uploads.push_back(cohort.session(0).Mask(cohort.InputOf(0))->packed);
  }
  int equal = 0;  // of 39 bytes 39/256 are equal by chance; more than 4 once in 2 million runs
  for (size_t at = 0; at < uploads[0].size(); ++at) equal += uploads[0][at] == uploads[1][at];
  EXPECT_LE(equal, 4);
}

}  // namespace
}  // namespace rivulet::secagg

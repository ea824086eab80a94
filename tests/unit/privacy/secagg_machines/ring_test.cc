#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/unit/privacy/secagg_machines/refusal.h"

namespace rivulet::secagg {
namespace {

// A point at which to vanish for some clients; the others stay.
void DropAFew(TolerantRun& run, const std::vector<std::pair<uint32_t, int>>& drops) {
  for (const auto& [client, point] : drops) run.drop_at[client] = point;
}

class Rings : public testing::TestWithParam<Mode> {};

// n = 80: k = 14, t = 10 in mode 1; k = 10, t = 5 in mode 0.
TEST_P(Rings, GiveTheSumOfTheSurvivors) {
  Cohort cohort(80, RingParams(GetParam()), false);
  TolerantRun run(cohort);
  DropAFew(run, {{3, 1}, {17, 1}, {30, 2}, {31, 2}, {64, 3}, {79, 4}});
  const auto sum = run.Run();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(run.server.rule().kind, kRingGraph);
  EXPECT_EQ(run.server.rule().k, GetParam() == Mode::kMalicious ? 14u : 10u);
  EXPECT_EQ(run.server.u2().Count(), 78u);
  EXPECT_EQ(run.Survivors().size(), 76u);
  EXPECT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors()));
}

TEST_P(Rings, DoWithoutTwoNonces) {
  Cohort cohort(80, RingParams(GetParam()), false);
  TolerantRun run(cohort, [](Leg leg, uint32_t u, std::string bytes) {
    return leg == Leg::kReveal && (u == 5 || u == 6) ? std::string() : bytes;
  });
  const auto sum = run.Run();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(run.Survivors().size(), 78u);
  EXPECT_EQ(ValuesOf(*sum), cohort.PlainSum(run.Survivors()));
}

TEST_P(Rings, EndWithoutThree) {
  Cohort cohort(80, RingParams(GetParam()), false);
  TolerantRun run(cohort, [](Leg leg, uint32_t u, std::string bytes) {
    return leg == Leg::kReveal && u >= 77 ? std::string() : bytes;
  });
  EXPECT_EQ(ReasonOf(run.Run().status()), Reason::kNonce);
  EXPECT_EQ(run.server.aborted_for(), Reason::kNonce);
}

INSTANTIATE_TEST_SUITE_P(Of, Rings, testing::Values(Mode::kSemiHonest, Mode::kMalicious),
                         [](const auto& p) {
                           return p.param == Mode::kMalicious ? "Mode1" : "Mode0";
                         });

TEST(RingServers, RefuseANonceThatWasNotCommittedTo) {
  Cohort cohort(80, RingParams(), false);
  HonestRun run(cohort);
  run.AdvertiseAll();
  auto reveal = Decode<Reveal>(cohort.session(0).OnRoster(run.roster()).value());
  reveal->nonce[0] ^= 1;
  EXPECT_EQ(ReasonOf(run.server.OnReveal(cohort.fingerprint(0), *reveal)), Reason::kNonce);
}

TEST(RingServers, GoOnAfterACrashAtEveryStep) {
  Cohort cohort(80, RingParams(), false);
  HonestRun run(cohort);
  const auto crash = [&] {
    run.server = ServerSession::Restore(run.server.Serialise(), cohort.verifier()).value();
    for (uint32_t u = 0; u < 80; ++u) {
      const std::string state = cohort.session(u).Serialise();
      cohort.Renew(u);
      ASSERT_TRUE(cohort.session(u).Restore(state).ok());
    }
  };
  run.AdvertiseAll();
  crash();
  run.RosterAll();
  crash();
  run.ForwardAll();
  crash();
  run.MaskAll();
  crash();
  run.SurvivorsAll();
  crash();
  run.UnmaskAll();
  crash();
  std::vector<uint32_t> all(80);
  for (uint32_t u = 0; u < 80; ++u) all[u] = u;
  EXPECT_EQ(ValuesOf(run.server.Finish(run.sum).value()), cohort.PlainSum(all));
}

// A server that shows two halves of a ring different survivors, with c corrupt members endorsing
// both: neither half reaches the quorum of the roster.
TEST(SplitViews, ReachNoQuorum) {
  Cohort cohort(80, RingParams(), false);  // c = 4, T_g = 43
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  run.MaskAll();
  const uint32_t corrupt = CorruptClients(80, cohort.params().gamma_ppm);
  ASSERT_EQ(corrupt, 4u);
  for (const uint32_t half : {0u, 1u}) {
    SurvivorSet shown = run.survivors();
    U3Set u3(80);
    for (uint32_t u = 0; u < 80; ++u) {
      if (u != 4 + half) u3.Insert(u);  // one member of each half is "dead" in one view
    }
    shown.u3 = u3;
    const std::string message = EndorsementMessage(shown.sid, shown.u2, shown.u3);
    Endorsements collected{.sid = shown.sid};
    for (uint32_t u = 0; u < 80; ++u) {
      if (!u3.Contains(u)) continue;
      if (u < corrupt) collected.endorsers.push_back({u, cohort.client(u).signer->Sign(message)});
      if (u < corrupt || u % 2 != half) continue;
      const auto answer = cohort.session(u).OnSurvivors(shown);
      ASSERT_TRUE(answer.ok()) << answer.status();
      collected.endorsers.push_back({u, Decode<Endorsement>(*answer)->signature});
    }
    EXPECT_GE(collected.endorsers.size(), 41u);
    const uint32_t victim = 10 + half;
    ExpectRefusal(cohort.session(victim), cohort.session(victim).OnEndorsements(collected),
                  Reason::kQuorum);
  }
}

// Two models for two clients: other parameters, other sid0, nothing in common.
TEST(SplitViews, OfTheModelMeetInNoSession) {
  Params other = SmallParams();
  other.model_sha256[0] ^= 1;
  Cohort cohort(4, SmallParams());
  ServerSession server = cohort.NewServer();
  const auto bytes = cohort.session(3).Advertise(other, cohort.LocalOf(other));
  ASSERT_TRUE(bytes.ok());
  auto message = Decode<Advertisement>(*bytes).value();
  EXPECT_FALSE(server.OnAdvertisement(cohort.certificate(3), message).ok());
  // A server that mixes them all the same: the others find a signature over other parameters.
  Roster roster{.sid0 = server.sid0(), .rule = cohort.params().RuleOf(4).value(), .entries = {}};
  for (uint32_t u = 0; u < 3; ++u) {
    const auto own = cohort.session(u).Advertise(cohort.params(), cohort.LocalOf(cohort.params()));
    roster.entries.push_back(Decode<Advertisement>(*own)->entry);
  }
  roster.entries.push_back(message.entry);
  ExpectRefusal(cohort.session(0), cohort.session(0).OnRoster(roster), Reason::kRosterSignature);
}

// Pearson's statistic of the bytes of a masked vector of zeros: 255 degrees of freedom, above 350
// once in 13 000 runs; the seed is fixed.
TEST(MaskedVectors, LookUniform) {
  Params params = SmallParams();
  params.d = 100'000;
  Cohort cohort(4, params);
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  const auto upload = cohort.session(0).Mask(RingVector(params.b, params.length())).value();
  std::vector<double> counts(256);
  for (const char byte : upload.packed) ++counts[static_cast<uint8_t>(byte)];
  const double expected = static_cast<double>(upload.packed.size()) / 256;
  double statistic = 0;
  for (const double count : counts) statistic += (count - expected) * (count - expected) / expected;
  EXPECT_LT(statistic, 350);
}

}  // namespace
}  // namespace rivulet::secagg

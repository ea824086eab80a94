#include <gtest/gtest.h>

#include <algorithm>

#include "privacy/secagg/shared/topology.h"
#include "tests/unit/privacy/secagg_machines/low_order_points.h"
#include "tests/unit/privacy/secagg_machines/refusal.h"

// A server that lies about who takes part: cases 11 to 30 of the protocol's section 11. Client 0 is
// the victim; the others are the server's where a case needs their signatures.
namespace rivulet::secagg {
namespace {

class LyingRoster : public testing::Test {
 protected:
  LyingRoster() : cohort_(5, SmallParams()) {
    for (uint32_t u = 0; u < 5; ++u) entries_.push_back(Advertised(u));
  }

  RosterEntry Advertised(uint32_t u) {
    const auto bytes =
        cohort_.session(u).Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params()));
    return Decode<Advertisement>(*bytes)->entry;
  }
  // What the accomplice u signs.
  RosterEntry Signed(uint32_t u, RosterEntry entry) {
    entry.signature =
        cohort_.client(u).signer->Sign(AdvertisementMessage(Sid0(cohort_.params()), entry));
    return entry;
  }
  // A roster that is right but for its entries.
  Roster Of(std::vector<RosterEntry> entries) const {
    const uint32_t n = static_cast<uint32_t>(entries.size());
    return {.sid0 = Sid0(cohort_.params()),
            .rule = cohort_.params().RuleOf(n).value_or(GraphRule()),
            .entries = std::move(entries)};
  }
  void Refuses(const Roster& roster, Reason reason) {
    ClientSession& victim = cohort_.session(0);
    ExpectRefusal(victim, victim.OnRoster(roster), reason);
  }
  // On a copy of the victim: for cases of several rosters.
  void CopyRefuses(const Roster& roster, Reason reason) {
    MemoryLedger ledger = cohort_.client(0).ledger;
    ClientSession copy(cohort_.ContextOf(0, ledger));
    ASSERT_TRUE(copy.Restore(cohort_.session(0).Serialise()).ok());
    ExpectRefusal(copy, copy.OnRoster(roster), reason);
  }

  Cohort cohort_;
  std::vector<RosterEntry> entries_;
};

TEST_F(LyingRoster, ThatDoesNotLieIsAccepted) {
  const auto shares = cohort_.session(0).OnRoster(Of(entries_));
  EXPECT_TRUE(shares.ok()) << shares.status();
}

TEST_F(LyingRoster, Case11TheClientItselfIsMissing) {
  entries_.erase(entries_.begin());
  Refuses(Of(entries_), Reason::kRosterSelf);
}

TEST_F(LyingRoster, Case12TheClientsOwnEntryIsAltered) {
  for (Bytes32 RosterEntry::*field :
       {&RosterEntry::channel_key, &RosterEntry::mask_key, &RosterEntry::nonce_commitment,
        &RosterEntry::seed_commitment}) {
    auto entries = entries_;
    (entries[0].*field)[3] ^= 1;
    CopyRefuses(Of(entries), Reason::kRosterSelf);
  }
}

TEST_F(LyingRoster, Case13TheClientIsThereTwice) {
  entries_.insert(entries_.begin(), entries_[0]);
  Refuses(Of(entries_), Reason::kRosterSelf);
}

TEST_F(LyingRoster, Case14TwoMembersWithOneMaskKey) {
  entries_[2].mask_key = entries_[1].mask_key;
  entries_[2] = Signed(2, entries_[2]);
  Refuses(Of(entries_), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, Case15TwoMembersWithOneChannelKey) {
  entries_[2].channel_key = entries_[0].channel_key;
  entries_[2] = Signed(2, entries_[2]);
  Refuses(Of(entries_), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, Case16AMaskKeyThatIsTheVictimsChannelKey) {
  entries_[2].mask_key = entries_[0].channel_key;
  entries_[2] = Signed(2, entries_[2]);
  Refuses(Of(entries_), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, Case17AKeyOfLowOrder) {
  for (const Bytes32& point : LowOrderPoints()) {
    for (Bytes32 RosterEntry::*field : {&RosterEntry::channel_key, &RosterEntry::mask_key}) {
      auto entries = entries_;
      entries[3].*field = point;
      entries[3] = Signed(3, entries[3]);
      CopyRefuses(Of(entries), Reason::kLowOrder);
    }
  }
}

TEST_F(LyingRoster, Case18ASignatureThatDoesNotHold) {
  auto altered = entries_;
  altered[1].signature[5] ^= 1;
  CopyRefuses(Of(altered), Reason::kRosterSignature);
  altered = entries_;
  altered[4].mask_key[0] ^= 1;  // a key of the server's own
  CopyRefuses(Of(altered), Reason::kRosterSignature);
  std::swap(entries_[1].signature, entries_[2].signature);
  Refuses(Of(entries_), Reason::kRosterSignature);
}

TEST_F(LyingRoster, Case19ACertificateOfAnotherAuthority) {
  entries_[4].fingerprint = {0xff, 1};  // not in the victim's trust store
  entries_[4] = Signed(4, entries_[4]);
  Refuses(Of(entries_), Reason::kRosterSignature);
}

TEST_F(LyingRoster, Case20ACertificateThatIsRevokedOrExpired) {
  cohort_.distrusted.insert(cohort_.fingerprint(2));
  Refuses(Of(entries_), Reason::kRosterSignature);
}

TEST_F(LyingRoster, Case21TooFewMembers) {
  entries_.resize(3);
  Refuses(Of(entries_), Reason::kRosterSmall);
}

TEST_F(LyingRoster, Case22TooFewOrganisations) {
  cohort_.policy.org_min = 3;
  cohort_.policy.orgs = {"org-0", "org-1", "somebody else's"};
  const std::string state = cohort_.session(0).Serialise();
  cohort_.Renew(0);
  ASSERT_TRUE(cohort_.session(0).Restore(state).ok());
  CopyRefuses(Of(entries_), Reason::kRosterSmall);
  cohort_.policy.org_min = 2;  // exactly as many as there are
  cohort_.Renew(0);
  ASSERT_TRUE(cohort_.session(0).Restore(state).ok());
  EXPECT_TRUE(cohort_.session(0).OnRoster(Of(entries_)).ok());
}

TEST_F(LyingRoster, Case23MembersOutOfOrder) {
  std::swap(entries_[2], entries_[3]);
  Refuses(Of(entries_), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, Case24AnotherDegreeOrThreshold) {
  for (uint32_t GraphRule::*field : {&GraphRule::k, &GraphRule::t}) {
    for (const int off : {-1, 1}) {
      Roster roster = Of(entries_);
      roster.rule.*field += off;
      CopyRefuses(roster, Reason::kGraph);
    }
  }
  Roster roster = Of(entries_);
  roster.rule.kind = kRingGraph;
  Refuses(roster, Reason::kGraph);
}

TEST_F(LyingRoster, Case25AnotherQuorum) {
  Roster roster = Of(entries_);
  --roster.rule.quorum;
  CopyRefuses(roster, Reason::kGraph);
  roster.rule.quorum = 0;
  Refuses(roster, Reason::kGraph);
}

TEST_F(LyingRoster, Case26TwoCertificatesOfOneClient) {
  cohort_.certificate(3).client_id = cohort_.certificate(2).client_id;
  Refuses(Of(entries_), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, Case27ASecondRosterForOneAttempt) {
  const std::string before = cohort_.session(0).Serialise();
  ASSERT_TRUE(cohort_.session(0).OnRoster(Of(entries_)).ok());
  auto fewer = entries_;
  fewer.pop_back();
  Refuses(Of(fewer), Reason::kRosterDuplicate);
  cohort_.Renew(0);  // nor after a crash that lost the first one
  ASSERT_TRUE(cohort_.session(0).Restore(before).ok());
  Refuses(Of(fewer), Reason::kRosterDuplicate);
}

TEST_F(LyingRoster, ARosterThatWouldOpenTooFewHonestInputsIsRefused) {
  cohort_.policy.h_min = 4;  // n = 5, t = 4, c = 1: h = 3
  const std::string state = cohort_.session(0).Serialise();
  cohort_.Renew(0);
  ASSERT_TRUE(cohort_.session(0).Restore(state).ok());
  Refuses(Of(entries_), Reason::kRosterSmall);
}

TEST_F(LyingRoster, OfAnotherAttemptIsNoReasonToEndThisOne) {
  Roster roster = Of(entries_);
  roster.sid0[0] ^= 1;
  EXPECT_EQ(cohort_.session(0).OnRoster(roster).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(cohort_.session(0).OnRoster(Of(entries_)).ok());
}

// n = 80 of a ring, signatures stubbed; the victim waits for the nonces.
class LyingNonces : public testing::Test {
 protected:
  LyingNonces() : cohort_(80, RingParams(), false) {
    HonestRun run(cohort_);
    run.AdvertiseAll();
    nonces_.nonces.resize(80);
    for (uint32_t u = 0; u < 80; ++u) {
      const auto reveal = Decode<Reveal>(cohort_.session(u).OnRoster(run.roster()).value());
      nonces_.sid = reveal->sid;
      nonces_.nonces[u] = reveal->nonce;
    }
  }
  void Refuses(const Nonces& nonces) {
    MemoryLedger ledger = cohort_.client(0).ledger;
    ClientSession copy(cohort_.ContextOf(0, ledger));
    ASSERT_TRUE(copy.Restore(cohort_.session(0).Serialise()).ok());
    ExpectRefusal(copy, copy.OnNonces(nonces), Reason::kNonce);
  }

  Cohort cohort_;
  Nonces nonces_;
};

TEST_F(LyingNonces, Case28ANonceThatWasNotCommittedTo) {
  (*nonces_.nonces[41])[0] ^= 1;
  Refuses(nonces_);
  (*nonces_.nonces[41])[0] ^= 1;
  std::swap(nonces_.nonces[41], nonces_.nonces[42]);
  Refuses(nonces_);
}

TEST_F(LyingNonces, Case29TheVictimsOwnNonceIsMissing) {
  nonces_.nonces[0].reset();
  Refuses(nonces_);
}

TEST_F(LyingNonces, Case30TooManyAreMissing) {
  nonces_.nonces[10].reset();
  nonces_.nonces[20].reset();
  Nonces three = nonces_;
  three.nonces[30].reset();
  Refuses(three);
  Nonces fewer = nonces_;
  fewer.nonces.pop_back();
  Refuses(fewer);
  EXPECT_TRUE(cohort_.session(0).OnNonces(nonces_).ok());  // two may be
  EXPECT_EQ(MaxMissingNonces(2048), 2u);
  EXPECT_EQ(MaxMissingNonces(2049), 1u);
}

TEST_F(LyingNonces, ASecondListIsRefusedAndTheFirstIsAnsweredAgain) {
  const auto shares = cohort_.session(0).OnNonces(nonces_);
  ASSERT_TRUE(shares.ok());
  EXPECT_EQ(cohort_.session(0).OnNonces(nonces_).value(), *shares);
  nonces_.nonces[10].reset();
  ExpectRefusal(cohort_.session(0), cohort_.session(0).OnNonces(nonces_), Reason::kNonce);
}

TEST_F(LyingNonces, AMemberWithoutANonceIsNotInU2) {
  nonces_.nonces[10].reset();
  ASSERT_TRUE(cohort_.session(0).OnNonces(nonces_).ok());
  Forward forward{.sid = nonces_.sid, .u2 = U2Set(80)};
  for (uint32_t u = 0; u < 80; ++u) forward.u2.Insert(u);
  ExpectRefusal(cohort_.session(0), cohort_.session(0).OnForward(forward), Reason::kU2);
}

TEST_F(LyingNonces, ARingIsRefusedByAnOwnerWhoWantsACompleteGraph) {
  Cohort strict(80, RingParams(), false);
  strict.policy.ring = false;
  for (uint32_t u = 0; u < 80; ++u) strict.Renew(u);
  HonestRun run(strict);
  run.AdvertiseAll();
  ExpectRefusal(strict.session(0), strict.session(0).OnRoster(run.roster()), Reason::kGraph);
}

}  // namespace
}  // namespace rivulet::secagg

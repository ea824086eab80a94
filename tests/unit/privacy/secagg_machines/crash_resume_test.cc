#include <gtest/gtest.h>

#include "privacy/secagg/shared/bytes.h"
#include "tests/unit/privacy/secagg_machines/refusal.h"

// Clients and servers that die and go on from what they wrote down. The exhaustive drop tests
// restore every session at every step; here: what a restored one says again, and what it must not.
namespace rivulet::secagg {
namespace {

class Crash : public testing::Test {
 protected:
  Crash() : cohort_(4, SmallParams()), run_(cohort_) {}
  ClientSession& client() { return cohort_.session(0); }
  // The process of client 0 dies; it goes on from `state`.
  void Resume(const std::string& state) {
    cohort_.Renew(0);
    ASSERT_TRUE(client().Restore(state).ok());
  }
  void Resume() { Resume(client().Serialise()); }

  Cohort cohort_;
  HonestRun run_;
};

TEST_F(Crash, AClientSaysTheSameBytesAgain) {
  const Params& params = cohort_.params();
  const auto advertised = client().Advertise(params, cohort_.LocalOf(params));
  run_.AdvertiseAll();
  Resume();
  EXPECT_EQ(client().Advertise(params, cohort_.LocalOf(params)).value(), *advertised);

  const auto shares = client().OnRoster(run_.roster());
  ASSERT_TRUE(shares.ok());
  Resume();
  EXPECT_EQ(client().OnRoster(run_.roster()).value(), *shares);
  run_.RosterAll();

  ASSERT_TRUE(client().OnForward(run_.forward(0)).ok());
  Resume();
  const auto upload = client().Mask(cohort_.InputOf(0));
  ASSERT_TRUE(upload.ok());
  Resume();
  const auto again = client().Mask(cohort_.InputOf(0));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->packed, upload->packed);
  EXPECT_EQ(again->header, upload->header);
  EXPECT_EQ(again->trailer, upload->trailer);
  run_.ForwardAll();
  run_.MaskAll();

  const auto endorsed = client().OnSurvivors(run_.survivors());
  Resume();
  EXPECT_EQ(client().OnSurvivors(run_.survivors()).value(), *endorsed);
  EXPECT_EQ(client().Mask(cohort_.InputOf(0))->packed, upload->packed);  // a slow resend
  run_.SurvivorsAll();
  const auto unmask = client().OnEndorsements(run_.endorsements());
  Resume();
  EXPECT_EQ(client().OnEndorsements(run_.endorsements()).value(), *unmask);
  run_.UnmaskAll();
  EXPECT_EQ(ValuesOf(run_.server.Finish(run_.sum).value()), cohort_.PlainSum({0, 1, 2, 3}));
}

// As of a process that starts with a renewed certificate: before the roster, and after.
TEST_F(Crash, AStateServesTheCertificateItWasMadeWithAlone) {
  const Params& params = cohort_.params();
  const auto refused = [this](const std::string& state) {
    const Bytes32 before = cohort_.certificate(0).fingerprint;
    cohort_.certificate(0).fingerprint[0] ^= 1;
    cohort_.Renew(0);
    const absl::Status status = client().Restore(state);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "state: of another certificate");
    cohort_.certificate(0).fingerprint = before;
    Resume(state);
  };
  ASSERT_TRUE(client().Advertise(params, cohort_.LocalOf(params)).ok());
  run_.AdvertiseAll();
  refused(client().Serialise());
  run_.RosterAll();
  refused(client().Serialise());
  run_.ForwardAll();
  run_.MaskAll();
  refused(client().Serialise());
}

TEST_F(Crash, AnotherVectorIsNeverMasked) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  const std::string before = client().Serialise();
  ASSERT_TRUE(client().Mask(cohort_.InputOf(0)).ok());
  RingVector other = cohort_.InputOf(0);
  other.Set(0, other.At(0) + 1);  // rounded differently
  EXPECT_EQ(client().Mask(other).status().code(), absl::StatusCode::kAlreadyExists);
  Resume(before);
  EXPECT_EQ(client().Mask(other).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(client().Mask(cohort_.InputOf(0)).ok());
}

TEST_F(Crash, AnOldStateDealsNoSecondShares) {
  run_.AdvertiseAll();
  const std::string before = client().Serialise();
  ASSERT_TRUE(client().OnRoster(run_.roster()).ok());
  Resume(before);
  ExpectRefusal(client(), client().OnRoster(run_.roster()), Reason::kShareOpen);
}

TEST_F(Crash, AnOldStateGivesTheSameSharesOfTheRoundOrNone) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.MaskAll();
  run_.SurvivorsAll();
  const std::string before = client().Serialise();
  const auto unmask = client().OnEndorsements(run_.endorsements());
  ASSERT_TRUE(unmask.ok());
  Resume(before);
  EXPECT_EQ(client().OnEndorsements(run_.endorsements()).value(), *unmask);
}

TEST_F(Crash, ARefusalOutlivesTheProcess) {
  run_.AdvertiseAll();
  Roster roster = run_.roster();
  roster.rule.t = 2;
  ASSERT_FALSE(client().OnRoster(roster).ok());
  Resume();
  ExpectRefusal(client(), client().OnRoster(run_.roster()), Reason::kGraph);
}

TEST_F(Crash, AfterTheSharesTheStateHoldsNoSecrets) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  const std::string with = client().Serialise();
  run_.MaskAll();
  run_.SurvivorsAll();
  run_.UnmaskAll();
  const std::string without = client().Serialise();
  // Layout: version, phase, refusal (2), parameters (150), then the channel and mask secrets, the
  // self seed and the nonce.
  EXPECT_NE(with.substr(154, 128), std::string(128, '\0'));
  EXPECT_EQ(without.substr(154, 128), std::string(128, '\0'));
  EXPECT_EQ(without.find(with.substr(154, 32)), std::string::npos);
}

TEST_F(Crash, AStateThatIsCutOrLongerIsNone) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  const std::string state = client().Serialise();
  for (size_t length = 0; length < state.size(); ++length) {
    ClientSession session(cohort_.ContextOf(0, cohort_.client(0).ledger));
    EXPECT_FALSE(session.Restore(state.substr(0, length)).ok()) << length;
  }
  ClientSession session(cohort_.ContextOf(0, cohort_.client(0).ledger));
  EXPECT_FALSE(session.Restore(state + "x").ok());
  EXPECT_FALSE(client().Restore(state).ok());  // not a new session
}

TEST_F(Crash, AServersStateThatIsCutOrLongerIsNone) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.MaskAll();
  const std::string state = run_.server.Serialise();
  for (size_t length = 0; length < state.size(); ++length)
    EXPECT_FALSE(ServerSession::Restore(state.substr(0, length), cohort_.verifier()).ok())
        << length;
  EXPECT_FALSE(ServerSession::Restore(state + "x", cohort_.verifier()).ok());
  EXPECT_EQ(ServerSession::Restore(state, cohort_.verifier())->Serialise(), state);
}

// A damaged state that claims a phase whose sets, shares or texts it does not have.
TEST_F(Crash, AStateThatLacksWhatItsPhaseHasBehindItIsNone) {
  using Phase = ClientSession::Phase;
  const auto expect_no_later_phase = [this] {
    std::string state = client().Serialise();
    const uint8_t own = static_cast<uint8_t>(client().phase());
    for (uint8_t phase = own + 1; phase < static_cast<uint8_t>(Phase::kRefused); ++phase) {
      state[1] = static_cast<char>(phase);
      ClientSession session(cohort_.ContextOf(0, cohort_.client(0).ledger));
      EXPECT_FALSE(session.Restore(state).ok()) << int{own} << " as " << int{phase};
    }
  };
  run_.AdvertiseAll();
  expect_no_later_phase();
  run_.RosterAll();
  expect_no_later_phase();
  run_.ForwardAll();
  expect_no_later_phase();
  run_.MaskAll();
  expect_no_later_phase();
  run_.SurvivorsAll();
  expect_no_later_phase();
}

TEST_F(Crash, AServersStateThatLacksWhatItsPhaseHasBehindItIsNone) {
  using Phase = ServerSession::Phase;
  const auto expect_only = [this](Phase least, Phase most) {
    std::string state = run_.server.Serialise();
    for (uint8_t phase = 1; phase <= static_cast<uint8_t>(Phase::kAborted); ++phase) {
      if (phase >= static_cast<uint8_t>(least) && phase <= static_cast<uint8_t>(most)) continue;
      state[1] = static_cast<char>(phase);
      EXPECT_FALSE(ServerSession::Restore(state, cohort_.verifier()).ok()) << int{phase};
    }
  };
  expect_only(Phase::kAdvertise, Phase::kAdvertise);
  run_.AdvertiseAll();
  expect_only(Phase::kReveal, Phase::kShare);  // a roster, and nothing fixed yet
  run_.RosterAll();
  expect_only(Phase::kMasked, Phase::kMasked);
  run_.ForwardAll();
  run_.MaskAll();
  expect_only(Phase::kEndorse, Phase::kDone);
}

TEST_F(Crash, AServersStateWithASharerWithoutSharesIsNone) {
  run_.AdvertiseAll();
  run_.gone = {3};
  run_.RosterAll();
  std::string state = run_.server.Serialise();
  ASSERT_TRUE(state.ends_with(std::string("\x01\x07\0", 3)));  // U2 = {0, 1, 2}, no U3
  ASSERT_TRUE(ServerSession::Restore(state, cohort_.verifier()).ok());
  state[state.size() - 2] = 0x0f;
  EXPECT_FALSE(ServerSession::Restore(state, cohort_.verifier()).ok());
}

TEST_F(Crash, AServerGoesOnWithTheSameSurvivors) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.gone = {3};
  run_.MaskAll();
  const std::string frozen = run_.server.Serialise();
  run_.server = ServerSession::Restore(frozen, cohort_.verifier()).value();
  EXPECT_EQ(Decode<SurvivorSet>(run_.server.FreezeSurvivors().value())->u3, run_.survivors().u3);
  // The fourth upload comes at last: too late.
  ASSERT_TRUE(cohort_.session(3).Mask(cohort_.InputOf(3)).ok());
  const auto late = cohort_.session(3).Mask(cohort_.InputOf(3));
  EXPECT_EQ(ReasonOf(run_.server.Handle(cohort_.fingerprint(3), late->trailer)), Reason::kDeadline);
  run_.SurvivorsAll();
  run_.UnmaskAll();
  run_.server = ServerSession::Restore(run_.server.Serialise(), cohort_.verifier()).value();
  EXPECT_EQ(ValuesOf(run_.server.Finish(run_.sum).value()), cohort_.PlainSum({0, 1, 2}));
  run_.server = ServerSession::Restore(run_.server.Serialise(), cohort_.verifier()).value();
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kDone);
}

TEST_F(Crash, AfterTheSumTheServersStateHoldsNoShares) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.MaskAll();
  run_.SurvivorsAll();
  run_.UnmaskAll();
  const std::string answer = client().OnEndorsements(run_.endorsements()).value();
  const auto share = Decode<Unmask>(answer)->shares[2].value;
  const std::string needle(ViewOf(share.bytes()));
  EXPECT_NE(run_.server.Serialise().find(needle), std::string::npos);
  ASSERT_TRUE(run_.server.Finish(run_.sum).ok());
  EXPECT_EQ(run_.server.Serialise().find(needle), std::string::npos);
  EXPECT_TRUE(run_.server.Handle(cohort_.fingerprint(0), answer).ok());  // a late retry
}

// A ledger whose disk is full.
class FullLedger : public RoundLedger {
 public:
  absl::StatusOr<std::string> PutOnce(LedgerTable, std::string_view, std::string_view) override {
    return Refuse(absl::StatusCode::kResourceExhausted, "ledger: the disk is full");
  }
  absl::StatusOr<std::optional<std::string>> Find(LedgerTable, std::string_view) override {
    return std::optional<std::string>();
  }
};

TEST_F(Crash, WhatTheLedgerCannotWriteIsNotSaid) {
  FullLedger full;
  ClientSession session(cohort_.ContextOf(0, full));
  EXPECT_EQ(session.Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params())).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(session.phase(), ClientSession::Phase::kNew);
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.MaskAll();
  run_.SurvivorsAll();
  ClientSession late(cohort_.ContextOf(0, full));
  ASSERT_TRUE(late.Restore(client().Serialise()).ok());
  EXPECT_EQ(late.OnEndorsements(run_.endorsements()).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(late.phase(), ClientSession::Phase::kEndorsed);  // may be tried again
}

// Fails the first write to every table.
class FlakyLedger : public RoundLedger {
 public:
  absl::StatusOr<std::string> PutOnce(LedgerTable table, std::string_view key,
                                      std::string_view value) override {
    if (failed_.insert(table).second)
      return Refuse(absl::StatusCode::kUnavailable, "ledger: not now");
    return rows_.PutOnce(table, key, value);
  }
  absl::StatusOr<std::optional<std::string>> Find(LedgerTable table,
                                                  std::string_view key) override {
    return rows_.Find(table, key);
  }

 private:
  std::set<LedgerTable> failed_;
  MemoryLedger rows_;
};

TEST(FlakyLedgers, EveryStepIsRepeatedAndGoesOn) {
  Cohort cohort(4, SmallParams());
  FlakyLedger flaky;
  cohort.client(0).session = std::make_unique<ClientSession>(cohort.ContextOf(0, flaky));
  ClientSession& client = cohort.session(0);
  const auto fails = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  };
  HonestRun run(cohort);
  fails(client.Advertise(cohort.params(), cohort.LocalOf(cohort.params())).status());
  run.AdvertiseAll();
  fails(client.OnRoster(run.roster()).status());  // the roster
  fails(client.OnRoster(run.roster()).status());  // its shares
  run.RosterAll();
  fails(client.OnForward(run.forward(0)));
  run.ForwardAll();
  fails(client.Mask(cohort.InputOf(0)).status());
  run.MaskAll();
  fails(client.OnSurvivors(run.survivors()).status());
  run.SurvivorsAll();
  fails(client.OnEndorsements(run.endorsements()).status());
  run.UnmaskAll();
  EXPECT_EQ(ValuesOf(run.server.Finish(run.sum).value()), cohort.PlainSum({0, 1, 2, 3}));
}

}  // namespace
}  // namespace rivulet::secagg

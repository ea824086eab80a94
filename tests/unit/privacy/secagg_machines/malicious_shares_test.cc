#include <gtest/gtest.h>

#include "privacy/crypto/aead.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/bytes.h"
#include "tests/unit/privacy/secagg_machines/refusal.h"

// A server that lies about shares: cases 31 to 37 of the protocol's section 11. n = 4, t = 3.
namespace rivulet::secagg {
namespace {

class LyingForward : public testing::Test {
 protected:
  LyingForward() : cohort_(4, SmallParams()), run_(cohort_) {
    run_.AdvertiseAll();
    run_.RosterAll();
  }
  ClientSession& victim() { return cohort_.session(0); }
  void Refuses(const Forward& forward, Reason reason) {
    ExpectRefusal(victim(), victim().OnForward(forward), reason);
  }

  Cohort cohort_;
  HonestRun run_;
};

TEST_F(LyingForward, Case31AnAlteredCiphertextIsReportedAndTheSumStaysExact) {
  // Clients 0 and 1 each get a share that does not open, of different senders.
  for (const uint32_t receiver : {0, 1}) {
    Forward forward = run_.forward(receiver);
    forward.shares[receiver].sealed[40] ^= 1;  // of client 1 to 0, of client 2 to 1
    ASSERT_TRUE(cohort_.session(receiver).OnForward(forward).ok());
  }
  for (const uint32_t u : {2, 3}) ASSERT_TRUE(cohort_.session(u).OnForward(run_.forward(u)).ok());
  run_.MaskAll();
  run_.SurvivorsAll();
  run_.UnmaskAll();
  const auto opened = run_.server.Finish(run_.sum);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(ValuesOf(*opened), cohort_.PlainSum({0, 1, 2, 3}));
  EXPECT_TRUE(run_.server.blame().holders.empty());
}

TEST_F(LyingForward, Case31TheReportNamesTheSender) {
  Forward forward = run_.forward(0);
  forward.shares[1].sealed[0] ^= 1;
  ASSERT_TRUE(victim().OnForward(forward).ok());
  const auto upload = victim().Mask(cohort_.InputOf(0));
  const auto trailer = Decode<MaskedTrailer>(upload->trailer);
  EXPECT_EQ(trailer->failed.Indices(), std::vector<uint32_t>{2});
}

TEST_F(LyingForward, Case32CiphertextsOfSwappedSendersDoNotOpen) {
  Forward forward = run_.forward(0);
  std::swap(forward.shares[0].sealed, forward.shares[1].sealed);
  Refuses(forward, Reason::kShareOpen);
}

TEST_F(LyingForward, Case32AClientsOwnCiphertextsSentBackDoNotOpen) {
  const auto sent = Decode<Shares>(victim().OnRoster(run_.roster()).value());
  Forward forward = run_.forward(0);
  for (size_t index = 0; index < 3; ++index)
    forward.shares[index].sealed = sent->shares[index].sealed;
  Refuses(forward, Reason::kShareOpen);
}

TEST_F(LyingForward, Case33CiphertextsOfAnotherAttempt) {
  const Forward old = run_.forward(0);
  Params next = cohort_.params();
  next.attempt = 1;
  Cohort again(4, next);
  HonestRun second(again);
  second.AdvertiseAll();
  second.RosterAll();
  Forward forward = second.forward(0);
  forward.shares = old.shares;
  ExpectRefusal(again.session(0), again.session(0).OnForward(forward), Reason::kShareOpen);
}

TEST_F(LyingForward, Case35U2WithoutTheClientItself) {
  Forward forward = run_.forward(0);
  U2Set without(4);
  for (const uint32_t u : {1, 2, 3}) without.Insert(u);
  forward.u2 = without;
  Refuses(forward, Reason::kU2);
}

TEST_F(LyingForward, Case36TooFewSharesOpen) {
  Forward forward = run_.forward(0);
  forward.shares[0].sealed[20] ^= 1;
  forward.shares[2].sealed[20] ^= 1;  // one of three is left: 1 + 1 < t
  Refuses(forward, Reason::kShareOpen);
}

TEST_F(LyingForward, Case37ASecondForward) {
  const Forward forward = run_.forward(0);
  const std::string before = victim().Serialise();
  ASSERT_TRUE(victim().OnForward(forward).ok());
  EXPECT_TRUE(victim().OnForward(forward).ok());  // the same again: a retry
  Forward other = forward;
  other.u2 = U2Set(4);
  for (const uint32_t u : {0, 1, 2}) other.u2.Insert(u);
  other.shares.pop_back();
  Refuses(other, Reason::kU2);
  cohort_.Renew(0);  // nor after a crash that lost the first one
  ASSERT_TRUE(victim().Restore(before).ok());
  Refuses(other, Reason::kU2);
}

TEST_F(LyingForward, AListThatDoesNotFitU2IsRefused) {
  const auto refuses = [&](const Forward& forward) {
    MemoryLedger ledger = cohort_.client(0).ledger;
    ClientSession copy(cohort_.ContextOf(0, ledger));
    ASSERT_TRUE(copy.Restore(victim().Serialise()).ok());
    ExpectRefusal(copy, copy.OnForward(forward), Reason::kU2);
  };
  Forward fewer = run_.forward(0);
  fewer.shares.pop_back();
  refuses(fewer);
  Forward more = run_.forward(0);
  more.shares.push_back(more.shares.back());
  refuses(more);
  Forward shuffled = run_.forward(0);
  std::swap(shuffled.shares[0], shuffled.shares[1]);
  refuses(shuffled);
  Forward small = run_.forward(0);  // below n_min
  small.u2 = U2Set(4);
  small.u2.Insert(0);
  small.u2.Insert(1);
  small.shares.resize(1);
  refuses(small);
  Forward wide = run_.forward(0);
  wide.u2 = U2Set(5);
  for (uint32_t u = 0; u < 4; ++u) wide.u2.Insert(u);
  refuses(wide);
}

// Accomplices of the server, whose keys the test holds, deal shares with wrong positions.
class WrongPositions : public testing::Test {
 protected:
  WrongPositions() : cohort_(4, SmallParams()), server_(cohort_.NewServer()) {
    for (uint32_t u = 0; u < 4; ++u) {
      RosterEntry entry;
      if (u == 0 || u == 3) {
        const auto bytes =
            cohort_.session(u).Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params()));
        entry = Decode<Advertisement>(*bytes)->entry;
      } else {
        channels_[u] = X25519PairOf(cohort_.client(u).entropy->Secret());
        entry.fingerprint = cohort_.fingerprint(u);
        entry.channel_key = channels_[u].public_key;
        entry.mask_key = X25519PairOf(cohort_.client(u).entropy->Secret()).public_key;
        entry.signature =
            cohort_.client(u).signer->Sign(AdvertisementMessage(Sid0(cohort_.params()), entry));
      }
      roster_.entries.push_back(entry);
    }
    roster_.sid0 = Sid0(cohort_.params());
    roster_.rule = cohort_.params().RuleOf(4).value();
    EXPECT_TRUE(cohort_.session(0).OnRoster(roster_).ok());
    const auto honest = Decode<Shares>(cohort_.session(3).OnRoster(roster_).value());
    forward_ = {.sid = cohort_.session(0).sid(), .u2 = U2Set(4), .shares = {}};
    for (uint32_t u = 0; u < 4; ++u) forward_.u2.Insert(u);
    forward_.shares = {Letter(1, 1, 0, 1), Letter(2, 2, 0, 1), {3, honest->shares[0].sealed}};
  }

  // From accomplice `from` to the victim; the plain text says what it likes.
  AddressedShare Letter(uint32_t from, uint32_t sender, uint32_t receiver, uint16_t x) {
    const SessionView view{
        .sid0 = roster_.sid0, .sid = cohort_.session(0).sid(), .entries = roster_.entries};
    const auto keys = ChannelKeysOf(view, X25519Key(channels_[from].secret), from, 0);
    const std::string plain =
        ByteWriter().U32(sender).U32(receiver).U16(x).Raw(std::string(64, 'x')).Take();
    const GcmIv iv{static_cast<uint8_t>(from)};
    const std::string sealed =
        ByteWriter()
            .Raw(iv)
            .Raw(SealAes256Gcm(keys->outgoing, iv, ShareAad(view.sid, from, 0), plain))
            .Take();
    return {from, ByteReader(sealed).Array<kSealedShareBytes>()};
  }

  Cohort cohort_;
  ServerSession server_;
  std::map<uint32_t, X25519Pair> channels_;
  Roster roster_;
  Forward forward_;
};

TEST_F(WrongPositions, RightOnesAreAccepted) {
  EXPECT_TRUE(cohort_.session(0).OnForward(forward_).ok());
  const auto upload = cohort_.session(0).Mask(cohort_.InputOf(0));
  EXPECT_EQ(Decode<MaskedTrailer>(upload->trailer)->failed.Count(), 0u);
}

TEST_F(WrongPositions, Case34OneIsReported) {
  forward_.shares[0] = Letter(1, 1, 0, 2);
  EXPECT_TRUE(cohort_.session(0).OnForward(forward_).ok());
  const auto upload = cohort_.session(0).Mask(cohort_.InputOf(0));
  EXPECT_EQ(Decode<MaskedTrailer>(upload->trailer)->failed.Indices(), std::vector<uint32_t>{1});
}

TEST_F(WrongPositions, Case34SeveralAreRefused) {
  forward_.shares[0] = Letter(1, 1, 0, 0);
  forward_.shares[1] = Letter(2, 2, 0, 2);
  ExpectRefusal(cohort_.session(0), cohort_.session(0).OnForward(forward_), Reason::kShareOpen);
}

TEST_F(WrongPositions, OtherNamesThanThoseOfTheEnvelopeAreRefused) {
  forward_.shares[0] = Letter(1, 2, 0, 1);
  forward_.shares[1] = Letter(2, 2, 1, 1);
  ExpectRefusal(cohort_.session(0), cohort_.session(0).OnForward(forward_), Reason::kShareOpen);
}

}  // namespace
}  // namespace rivulet::secagg

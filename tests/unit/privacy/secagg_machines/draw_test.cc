// The draw of groups: what it gives, who may vanish in it, and what a client refuses of a server
// that wants to choose.
#include <gtest/gtest.h>

#include <algorithm>

#include "privacy/secagg/client/client_draw.h"
#include "privacy/secagg/server/server_draw.h"
#include "privacy/secagg/shared/ring.h"
#include "privacy/secagg/shared/transcript.h"
#include "tests/unit/privacy/secagg_machines/refusal.h"

namespace rivulet::secagg {
namespace {

constexpr uint32_t kMembers = 9, kGroups = 2, kFewest = 8;

Bytes32 Filled(uint8_t value) {
  Bytes32 bytes;
  bytes.fill(value);
  return bytes;
}

Params PoolParams() {
  Params params = SmallParams();
  params.n_max = kMembers;
  params.b = static_cast<uint8_t>(RingBits(params));
  return params;
}

// By hashlib and hmac of Python after the comments of draw.h and groups.h.
TEST(DrawGroups, KnownAnswer) {
  std::vector<Bytes32> nonces;
  for (uint8_t at = 0; at < 10; ++at) nonces.push_back(Filled(at));
  const std::vector<std::vector<uint32_t>> want = {{1, 2, 4, 6}, {0, 5, 8}, {3, 7, 9}};
  EXPECT_EQ(*DrawGroups(Filled(1), nonces, 3), want);
}

TEST(DrawGroups, EveryNonceAndThePoolCount) {
  std::vector<Bytes32> nonces(64);
  const auto first = *DrawGroups(Filled(1), nonces, 8);
  EXPECT_NE(*DrawGroups(Filled(2), nonces, 8), first);
  for (Bytes32& nonce : nonces) {
    nonce[31] ^= 1;
    EXPECT_NE(*DrawGroups(Filled(1), nonces, 8), first);
    nonce[31] ^= 1;
  }
  EXPECT_FALSE(DrawGroups(Filled(1), nonces, 0).ok());
  EXPECT_FALSE(DrawGroups(Filled(1), nonces, 65).ok());
}

TEST(PoolId, IsOfItsRoundAttemptJobStateDocumentAndSizeAndOfNoSession) {
  std::set<Bytes32> names;
  Params params = PoolParams();
  names.insert(Sid0(params));
  names.insert(PoolId(params));
  for (const auto& change : std::vector<std::function<void(Params&)>>{
           [](Params& p) { ++p.round; }, [](Params& p) { ++p.attempt; },
           [](Params& p) { p.job_id[0] ^= 1; }, [](Params& p) { p.model_sha256[0] ^= 1; },
           [](Params& p) { p.config_sha256[0] ^= 1; }, [](Params& p) { ++p.n_max; }}) {
    Params other = params;
    change(other);
    names.insert(PoolId(other));
  }
  EXPECT_EQ(names.size(), 8u);
}

class Draws : public testing::Test {
 protected:
  Draws() : cohort_(kMembers, PoolParams()) {
    for (uint32_t u = 0; u < kMembers; ++u) Renew(u);
  }
  void Renew(uint32_t u) {
    draws_.insert_or_assign(
        u, std::make_unique<ClientDraw>(cohort_.ContextOf(u, cohort_.client(u).ledger)));
  }
  ClientDraw& draw(uint32_t u) { return *draws_.at(u); }
  static Bytes32 NonceOf(uint32_t u) { return Filled(static_cast<uint8_t>(100 + u)); }
  absl::StatusOr<std::string> Commit(uint32_t u) {
    return draw(u).Commit(cohort_.params(), kFewest, NonceOf(u));
  }
  ServerDraw NewServer() {
    std::set<std::string> allowed;
    for (uint32_t u = 0; u < kMembers; ++u) allowed.insert(cohort_.certificate(u).client_id);
    return *ServerDraw::Start(cohort_.params(), kFewest, allowed, cohort_.verifier());
  }
  // Everybody has committed: the honest list.
  Pool HonestPool() {
    Pool pool{.pool = PoolId(cohort_.params())};
    for (uint32_t u = 0; u < kMembers; ++u) {
      const auto bytes = Commit(u);
      EXPECT_TRUE(bytes.ok()) << bytes.status();
      pool.entries.push_back(Decode<Commitment>(*bytes)->entry);
    }
    return pool;
  }
  Nonces HonestNonces(const Pool& pool) {
    Nonces nonces{.sid = DrawId(pool.pool, pool.entries)};
    for (uint32_t u = 0; u < kMembers; ++u) nonces.nonces.push_back(NonceOf(u));
    return nonces;
  }
  // What the accomplice u signs for this pool.
  PoolEntry Signed(uint32_t u, PoolEntry entry) {
    entry.signature =
        cohort_.client(u).signer->Sign(CommitmentMessage(PoolId(cohort_.params()), entry));
    return entry;
  }
  void ExpectRefusal(const absl::Status& status, Reason reason) {
    ASSERT_TRUE(ReasonOf(status).has_value()) << status;
    EXPECT_EQ(NameOf(*ReasonOf(status)), NameOf(reason)) << status;
    EXPECT_EQ(draw(0).phase(), ClientDraw::Phase::kRefused);
    // It is final, also after a restart, and the server hears of it.
    EXPECT_EQ(ReasonOf(draw(0).OnPool({}).status()), reason);
    ClientDraw again(cohort_.ContextOf(0, cohort_.client(0).ledger));
    ASSERT_TRUE(again.Restore(draw(0).Serialise()).ok());
    EXPECT_EQ(ReasonOf(again.OnNonces({}, kGroups)), reason);
    const auto abort = Decode<Abort>(draw(0).AbortMessage());
    ASSERT_TRUE(abort.ok());
    EXPECT_EQ(abort->reason, reason);
  }
  void RefusesPool(const Pool& pool, Reason reason) {
    ExpectRefusal(draw(0).OnPool(pool).status(), reason);
  }
  void RefusesNonces(const Nonces& nonces) {
    ExpectRefusal(draw(0).OnNonces(nonces, kGroups), Reason::kNonce);
  }

  Cohort cohort_;
  std::map<uint32_t, std::unique_ptr<ClientDraw>> draws_;
};

TEST_F(Draws, ServerAndAllClientsComeToTheSameGroups) {
  ServerDraw server = NewServer();
  for (uint32_t u = 0; u < kMembers; ++u) {
    const auto message = Decode<Commitment>(*Commit(u));
    ASSERT_TRUE(server.OnCommitment(cohort_.certificate(u), *message).ok());
    ASSERT_TRUE(server.OnCommitment(cohort_.certificate(u), *message).ok());  // again
  }
  const auto pool = Decode<Pool>(*server.ClosePool());
  for (uint32_t u = 0; u < kMembers; ++u) {
    const auto message = Decode<Reveal>(*draw(u).OnPool(*pool));
    ASSERT_TRUE(server.OnReveal(cohort_.fingerprint(u), *message).ok());
    ASSERT_TRUE(server.OnReveal(cohort_.fingerprint(u), *message).ok());
  }
  const auto nonces = Decode<Nonces>(*server.CloseReveal());
  const auto groups = server.Groups(kGroups);
  ASSERT_TRUE(groups.ok());
  EXPECT_EQ((*groups)[0].size() + (*groups)[1].size(), kMembers);
  for (uint32_t u = 0; u < kMembers; ++u) {
    ASSERT_TRUE(draw(u).OnNonces(*nonces, kGroups).ok());
    const DrawnGroup& own = draw(u).group();
    EXPECT_EQ(own.drawn, server.drawn());
    std::vector<Bytes32> members;
    for (const auto& member : (*groups)[own.index]) members.push_back(member.fingerprint);
    EXPECT_EQ(own.members, members);
    EXPECT_TRUE(std::binary_search(members.begin(), members.end(), cohort_.fingerprint(u)));
  }
}

// ---- what a client refuses of the list ----

TEST_F(Draws, AListWithoutTheClientIsRefused) {
  Pool pool = HonestPool();
  pool.entries.erase(pool.entries.begin());
  RefusesPool(pool, Reason::kRosterSelf);
}

TEST_F(Draws, AListWithAnotherCommitmentOfTheClientIsRefused) {
  Pool pool = HonestPool();
  pool.entries[0].nonce_commitment[0] ^= 1;
  RefusesPool(pool, Reason::kRosterSelf);
}

TEST_F(Draws, AMemberTwiceIsRefused) {
  Pool pool = HonestPool();
  pool.entries[2] = pool.entries[1];
  RefusesPool(pool, Reason::kRosterDuplicate);
}

TEST_F(Draws, AListThatIsNotAscendingIsRefused) {
  Pool pool = HonestPool();
  std::swap(pool.entries[1], pool.entries[2]);
  RefusesPool(pool, Reason::kRosterDuplicate);
}

TEST_F(Draws, AClientWithTwoCertificatesIsRefused) {
  const Pool pool = HonestPool();
  cohort_.certificate(3).client_id = cohort_.certificate(4).client_id;
  RefusesPool(pool, Reason::kRosterDuplicate);
}

TEST_F(Draws, ACommitmentWithoutItsSignatureIsRefused) {
  Pool pool = HonestPool();
  pool.entries[5].signature = {};
  RefusesPool(pool, Reason::kRosterSignature);
}

TEST_F(Draws, ACommitmentThatTheServerChangedIsRefused) {
  Pool pool = HonestPool();
  pool.entries[5].nonce_commitment = Filled(7);
  RefusesPool(pool, Reason::kRosterSignature);
}

TEST_F(Draws, CommitmentsThatAreSwappedAreRefused) {
  Pool pool = HonestPool();
  std::swap(pool.entries[5].nonce_commitment, pool.entries[6].nonce_commitment);
  std::swap(pool.entries[5].signature, pool.entries[6].signature);
  RefusesPool(pool, Reason::kRosterSignature);
}

TEST_F(Draws, ACommitmentOfAnotherRoundAttemptOrJobIsRefused) {
  const Pool pool = HonestPool();
  const std::string before = draw(0).Serialise();
  for (const auto& change : std::vector<std::function<void(Params&)>>{
           [](Params& p) { ++p.round; }, [](Params& p) { ++p.attempt; },
           [](Params& p) { p.job_id[0] ^= 1; }}) {
    Params other = cohort_.params();
    change(other);
    Pool replayed = pool;
    replayed.entries[5].signature =
        cohort_.client(5).signer->Sign(CommitmentMessage(PoolId(other), pool.entries[5]));
    Renew(0);
    ASSERT_TRUE(draw(0).Restore(before).ok());
    RefusesPool(replayed, Reason::kRosterSignature);
  }
}

TEST_F(Draws, AMemberThatTheClientDoesNotTrustIsRefused) {
  const Pool pool = HonestPool();
  cohort_.distrusted.insert(cohort_.fingerprint(7));
  RefusesPool(pool, Reason::kRosterSignature);
}

TEST_F(Draws, AListOfFewerThanTheJobNeedsIsRefused) {
  Pool pool = HonestPool();
  pool.entries.resize(kFewest - 1);
  RefusesPool(pool, Reason::kRosterSmall);
}

TEST_F(Draws, AListOfMoreThanWereInvitedIsRefused) {
  Pool pool = HonestPool();
  PoolEntry more{.fingerprint = Filled(255)};
  pool.entries.push_back(Signed(1, more));
  RefusesPool(pool, Reason::kRosterSmall);
}

TEST_F(Draws, AListOfAnotherAttemptChangesNothing) {
  Pool pool = HonestPool();
  Pool other = pool;
  other.pool[0] ^= 1;
  EXPECT_FALSE(ReasonOf(draw(0).OnPool(other).status()).has_value());
  EXPECT_TRUE(draw(0).OnPool(pool).ok());
}

TEST_F(Draws, ASecondListIsRefusedAlsoByAClientThatForgotTheFirst) {
  const Pool pool = HonestPool();
  const std::string before = draw(0).Serialise();
  const auto reveal = draw(0).OnPool(pool);
  EXPECT_EQ(*draw(0).OnPool(pool), *reveal);
  Pool other = pool;
  other.entries.pop_back();
  Renew(0);  // as after a crash before its state was stored
  ASSERT_TRUE(draw(0).Restore(before).ok());
  RefusesPool(other, Reason::kRosterDuplicate);
}

// ---- what it refuses of the nonces ----

TEST_F(Draws, ANonceThatIsMissingIsRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  Nonces nonces = HonestNonces(pool);
  nonces.nonces[4] = std::nullopt;
  RefusesNonces(nonces);
}

TEST_F(Draws, AMissingOrAlteredNonceOfItsOwnIsRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  const std::string before = draw(0).Serialise();
  for (const std::optional<Bytes32>& own : {std::optional<Bytes32>(), {Filled(1)}}) {
    Nonces nonces = HonestNonces(pool);
    nonces.nonces[0] = own;
    Renew(0);
    ASSERT_TRUE(draw(0).Restore(before).ok());
    RefusesNonces(nonces);
  }
}

TEST_F(Draws, ACommitmentThatIsOpenedOtherwiseIsRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  Nonces nonces = HonestNonces(pool);
  nonces.nonces[4] = Filled(1);
  RefusesNonces(nonces);
}

TEST_F(Draws, NoncesThatAreSwappedAreRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  Nonces nonces = HonestNonces(pool);
  std::swap(nonces.nonces[4], nonces.nonces[5]);
  RefusesNonces(nonces);
}

TEST_F(Draws, NoncesOfMoreOrFewerThanTheListAreRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  const std::string before = draw(0).Serialise();
  for (const size_t size : {kMembers - 1, kMembers + 1}) {
    Nonces nonces = HonestNonces(pool);
    nonces.nonces.resize(size, Filled(1));
    Renew(0);
    ASSERT_TRUE(draw(0).Restore(before).ok());
    RefusesNonces(nonces);
  }
}

TEST_F(Draws, ASecondListOfNoncesIsRefused) {
  const Pool pool = HonestPool();
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  Nonces nonces = HonestNonces(pool);
  ASSERT_TRUE(draw(0).OnNonces(nonces, kGroups).ok());
  ASSERT_TRUE(draw(0).OnNonces(nonces, kGroups).ok());
  nonces.nonces[4] = Filled(1);
  RefusesNonces(nonces);
}

TEST_F(Draws, NoncesOfAnotherDrawOrBeforeTheListChangeNothing) {
  const Pool pool = HonestPool();
  Nonces nonces = HonestNonces(pool);
  EXPECT_FALSE(ReasonOf(draw(0).OnNonces(nonces, kGroups)).has_value());
  ASSERT_TRUE(draw(0).OnPool(pool).ok());
  nonces.sid[0] ^= 1;
  EXPECT_FALSE(ReasonOf(draw(0).OnNonces(nonces, kGroups)).has_value());
  EXPECT_EQ(draw(0).phase(), ClientDraw::Phase::kRevealed);
}

// ---- how often it takes part ----

TEST_F(Draws, AnAttemptHasOneCommitmentAlsoOfAClientThatForgotIt) {
  const auto first = Commit(0);
  EXPECT_EQ(*Commit(0), *first);
  Renew(0);
  const auto second = draw(0).Commit(cohort_.params(), kFewest, Filled(1));
  EXPECT_EQ(ReasonOf(second.status()), Reason::kParams);
}

// Each attempt is a draw: the owner says how many a server may have.
TEST_F(Draws, ThereAreNoMoreThanTheOwnersAttempts) {
  cohort_.policy.attempts_max = 2;
  for (uint32_t attempt = 0; attempt < 4; ++attempt) {
    Renew(0);
    Params params = cohort_.params();
    params.attempt = attempt;
    const auto said = draw(0).Commit(params, kFewest, NonceOf(0));
    EXPECT_EQ(said.ok(), attempt < 2) << said.status();
    EXPECT_EQ(ReasonOf(said.status()) == Reason::kPolicy, attempt >= 2);
  }
}

TEST_F(Draws, ThereIsNoneInARoundThatSharesWereGivenIn) {
  const Params& params = cohort_.params();
  const std::string round =
      std::string(params.job_id.begin(), params.job_id.end()) +
      std::string(reinterpret_cast<const char*>(&params.round), sizeof(params.round));
  ASSERT_TRUE(cohort_.client(0).ledger.PutOnce(LedgerTable::kRevealed, round, "shares").ok());
  EXPECT_EQ(ReasonOf(Commit(0).status()), Reason::kAlreadyRevealed);
}

TEST_F(Draws, ACohortOutOfBoundsIsRefused) {
  for (const uint32_t invited : {0u, kFewest - 1, kMaxMembers + 1}) {
    Renew(0);
    Params params = cohort_.params();
    params.n_max = invited;
    EXPECT_EQ(ReasonOf(draw(0).Commit(params, kFewest, NonceOf(0)).status()), Reason::kParams);
  }
}

TEST_F(Draws, TheServersEndIsFinal) {
  const Pool pool = HonestPool();
  EXPECT_FALSE(ReasonOf(draw(0).OnAbort({.id = Filled(1), .reason = Reason::kNonce})).has_value());
  EXPECT_EQ(ReasonOf(draw(0).OnAbort({.id = pool.pool, .reason = Reason::kNonce})), Reason::kNonce);
  EXPECT_EQ(ReasonOf(draw(0).OnPool(pool).status()), Reason::kNonce);
  EXPECT_EQ(draw(0).AbortMessage(), "");
}

TEST_F(Draws, ARestartedClientSaysTheSame) {
  const auto restart = [this] {
    const std::string state = draw(0).Serialise();
    Renew(0);
    ASSERT_TRUE(draw(0).Restore(state).ok());
    EXPECT_EQ(draw(0).Serialise(), state);
  };
  const Pool pool = HonestPool();
  const auto commitment = Commit(0);
  restart();
  EXPECT_EQ(*Commit(0), *commitment);
  const auto reveal = draw(0).OnPool(pool);
  restart();
  EXPECT_EQ(*draw(0).OnPool(pool), *reveal);
  ASSERT_TRUE(draw(0).OnNonces(HonestNonces(pool), kGroups).ok());
  const DrawnGroup group = draw(0).group();
  restart();
  EXPECT_EQ(draw(0).group().members, group.members);
  EXPECT_EQ(draw(0).group().drawn, group.drawn);
  EXPECT_EQ(*draw(0).OnPool(pool), *reveal);
  ClientDraw anothers(cohort_.ContextOf(1, cohort_.client(1).ledger));
  EXPECT_FALSE(anothers.Restore(draw(0).Serialise()).ok());
}

// It has committed to nothing, and never will in this attempt.
TEST_F(Draws, ARefusedCommitmentIsStillRefusedAfterARestart) {
  Params params = cohort_.params();
  params.attempt = kMaxAttempts;
  EXPECT_EQ(ReasonOf(draw(0).Commit(params, 0, Filled(9)).status()), Reason::kParams);
  const std::string abort = draw(0).AbortMessage();
  EXPECT_EQ(Decode<Abort>(abort)->id, PoolId(params));
  const std::string state = draw(0).Serialise();
  Renew(0);
  const absl::Status restored = draw(0).Restore(state);
  ASSERT_TRUE(restored.ok()) << restored;
  EXPECT_EQ(draw(0).phase(), ClientDraw::Phase::kRefused);
  EXPECT_EQ(draw(0).Serialise(), state);
  EXPECT_EQ(draw(0).AbortMessage(), abort);
  EXPECT_EQ(ReasonOf(Commit(0).status()), Reason::kParams);
}

// ---- the session after it ----

TEST_F(Draws, ARosterWithAMemberOfAnotherGroupIsRefusedAlsoAfterARestart) {
  LocalRound local = cohort_.LocalOf(cohort_.params());
  std::vector<RosterEntry> entries;
  for (uint32_t u = 0; u < 5; ++u) {
    const auto bytes = cohort_.session(u).Advertise(cohort_.params(), [&] {
      if (u == 0) {
        for (uint32_t member = 0; member < 4; ++member)
          local.group.push_back(cohort_.fingerprint(member));
      }
      return local;
    }());
    entries.push_back(Decode<Advertisement>(*bytes)->entry);
  }
  const auto roster_of = [&](uint32_t n) {
    return Roster{.sid0 = Sid0(cohort_.params()),
                  .rule = *cohort_.params().RuleOf(n),
                  .entries = {entries.begin(), entries.begin() + n}};
  };
  const std::string state = cohort_.session(0).Serialise();
  cohort_.Renew(0);
  ASSERT_TRUE(cohort_.session(0).Restore(state).ok());
  secagg::ExpectRefusal(cohort_.session(0), cohort_.session(0).OnRoster(roster_of(5)),
                        Reason::kGroup);
  cohort_.Renew(0);
  ASSERT_TRUE(cohort_.session(0).Restore(state).ok());
  EXPECT_TRUE(cohort_.session(0).OnRoster(roster_of(4)).ok());
}

// ---- the server ----

// Every way in which six clients can stay away, keep their nonces back or take part.
TEST_F(Draws, WhoeverVanishesTheDrawIsOfAllWhoCommittedOrThereIsNone) {
  constexpr int kPlayers = 6;
  for (int way = 0; way < 729; ++way) {
    ServerDraw server = NewServer();
    uint32_t committed = 0, kept_back = 0;
    std::vector<int> ends(kMembers, 2);
    for (int u = 0, rest = way; u < kPlayers; ++u, rest /= 3) ends[u] = rest % 3;
    for (uint32_t u = 0; u < kMembers; ++u) {
      if (ends[u] == 0) continue;
      const auto message = Decode<Commitment>(*Commit(u));
      ASSERT_TRUE(server.OnCommitment(cohort_.certificate(u), *message).ok());
      ++committed;
      kept_back += ends[u] == 1;
    }
    const auto pool = server.ClosePool();
    ASSERT_EQ(pool.ok(), committed >= kFewest);
    if (!pool.ok()) {
      EXPECT_EQ(ReasonOf(pool.status()), Reason::kRosterSmall);
      continue;
    }
    const Bytes32 draw = DrawId(PoolId(cohort_.params()), Decode<Pool>(*pool)->entries);
    for (uint32_t u = 0; u < kMembers; ++u) {
      const Reveal message{.sid = draw, .nonce = NonceOf(u)};
      if (ends[u] < 2) continue;
      ASSERT_TRUE(server.OnReveal(cohort_.fingerprint(u), message).ok());
    }
    const auto nonces = server.CloseReveal();
    ASSERT_EQ(nonces.ok(), kept_back == 0);
    if (!nonces.ok()) {
      EXPECT_EQ(ReasonOf(nonces.status()), Reason::kNonce);
      EXPECT_EQ(Decode<Abort>(server.AbortMessage())->reason, Reason::kNonce);
      EXPECT_FALSE(server.Groups(kGroups).ok());
    }
  }
}

TEST_F(Draws, TheServerTakesWhatIsOfTheSenderAndOfThePoolAlone) {
  ServerDraw server = NewServer();
  const Pool honest = HonestPool();
  const auto said = [&](uint32_t u) { return *Decode<Commitment>(*Commit(u)); };
  const auto gives = [&](uint32_t u, const Commitment& message) {
    return server.OnCommitment(cohort_.certificate(u), message).ok();
  };
  EXPECT_FALSE(gives(1, said(0)));  // of another connection
  Commitment other = said(1);
  other.pool[0] ^= 1;
  EXPECT_FALSE(gives(1, other));  // of another attempt
  other = said(1);
  other.entry.signature[0] ^= 1;
  EXPECT_FALSE(gives(1, other));
  MemberCertificate stranger = cohort_.certificate(1);
  stranger.client_id = "stranger";
  EXPECT_FALSE(server.OnCommitment(stranger, said(1)).ok());
  for (uint32_t u = 0; u < kFewest; ++u) EXPECT_TRUE(gives(u, said(u)));
  other = said(1);
  other.entry.nonce_commitment[0] ^= 1;
  other.entry = Signed(1, other.entry);
  EXPECT_FALSE(gives(1, other));  // a second one
  const auto pool = Decode<Pool>(*server.ClosePool());
  EXPECT_FALSE(gives(kMembers - 1, said(kMembers - 1)));  // late
  const Bytes32 draw = DrawId(pool->pool, pool->entries);
  const auto reveals = [&](uint32_t u, const Bytes32& sid, const Bytes32& nonce) {
    return server.OnReveal(cohort_.fingerprint(u), {.sid = sid, .nonce = nonce}).ok();
  };
  EXPECT_FALSE(reveals(0, pool->pool, NonceOf(0)));
  EXPECT_FALSE(reveals(0, draw, NonceOf(1)));
  EXPECT_FALSE(reveals(kMembers - 1, draw, NonceOf(kMembers - 1)));
  EXPECT_TRUE(reveals(0, draw, NonceOf(0)));
  EXPECT_FALSE(reveals(0, draw, NonceOf(1)));
}

TEST_F(Draws, WhoWithdrawsInTimeIsNotInThePool) {
  ServerDraw server = NewServer();
  for (uint32_t u = 0; u < kMembers; ++u) {
    ASSERT_TRUE(server.OnCommitment(cohort_.certificate(u), *Decode<Commitment>(*Commit(u))).ok());
  }
  server.Withdraw(cohort_.certificate(3).client_id);
  EXPECT_FALSE(server.OnCommitment(cohort_.certificate(3), *Decode<Commitment>(*Commit(3))).ok());
  EXPECT_EQ(Decode<Pool>(*server.ClosePool())->entries.size(), kMembers - 1);
  server.Withdraw(cohort_.certificate(4).client_id);
  EXPECT_TRUE(server.IsMember(cohort_.certificate(4).client_id));  // too late
}

}  // namespace
}  // namespace rivulet::secagg

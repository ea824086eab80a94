#include <gtest/gtest.h>

#include <bit>

#include "tests/unit/privacy/secagg_machines/cohort.h"

// Clients that vanish, at every point: the sum is that of the survivors, bit for bit, or there is
// none and a reason.
namespace rivulet::secagg {
namespace {

// A client at some point of an attempt, to go on from more than once.
struct Frozen {
  std::string state;
  MemoryLedger ledger;
};

// Walks the tree of (who advertises, who shares, who uploads, who endorses, who unmasks). A branch
// that the server ends stands for all patterns below it; every pattern is counted.
class DropTree {
 public:
  DropTree(uint32_t n, Mode mode) : cohort_(n, SmallParams(mode), n <= 4) {}

  void Walk() {
    std::vector<Frozen> fresh(cohort_.n());
    for (uint32_t u = 0; u < cohort_.n(); ++u) {
      ClientSession session(cohort_.ContextOf(u, fresh[u].ledger));
      adverts_.push_back(
          session.Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params())).value());
      fresh[u].state = session.Serialise();
    }
    for (uint32_t set = 0; set < (1u << cohort_.n()); ++set) AfterAdvertise(set, fresh);
  }

  uint64_t patterns() const { return patterns_; }
  uint64_t sums() const { return sums_; }

 private:
  // Calls `step` for every client of `set` with its thawed session; freezes it again.
  template <typename Step>
  std::vector<Frozen> ForEach(uint32_t set, std::vector<Frozen> frozen, const Step& step) {
    for (uint32_t u = 0; u < cohort_.n(); ++u) {
      if ((set >> u & 1) == 0) continue;
      ClientSession session(cohort_.ContextOf(u, frozen[u].ledger));
      EXPECT_TRUE(session.Restore(frozen[u].state).ok());
      step(u, session);
      frozen[u].state = session.Serialise();
    }
    return frozen;
  }

  template <typename Next>
  void ForSubsets(uint32_t set, const Next& next) {
    for (uint32_t subset = set;; subset = (subset - 1) & set) {
      next(subset);
      if (subset == 0) break;
    }
  }

  ServerSession Copy(const ServerSession& server) const {
    return ServerSession::Restore(server.Serialise(), cohort_.verifier()).value();
  }

  // The server gave up with the clients of `set` still there, `stages` points of dropping ahead.
  void EndedFor(const ServerSession& server, Reason reason, uint32_t set, int stages) {
    EXPECT_EQ(server.phase(), ServerSession::Phase::kAborted);
    EXPECT_EQ(server.aborted_for(), reason);
    uint64_t patterns = 1;
    for (int member = 0; member < std::popcount(set); ++member) patterns *= stages + 1;
    patterns_ += patterns;
  }

  void AfterAdvertise(uint32_t set, const std::vector<Frozen>& fresh) {
    ServerSession server = cohort_.NewServer();
    for (uint32_t u = 0; u < cohort_.n(); ++u) {
      if ((set >> u & 1) == 0) continue;
      ASSERT_TRUE(
          server.OnAdvertisement(cohort_.certificate(u), Decode<Advertisement>(adverts_[u]).value())
              .ok());
    }
    const auto roster = server.CloseAdvertise();
    if (!roster.ok()) return EndedFor(server, Reason::kRosterSmall, set, Stages(1));
    std::vector<std::string> shares(cohort_.n());
    const auto shared = ForEach(set, fresh, [&](uint32_t u, ClientSession& session) {
      shares[u] = session.Handle(*roster).value();
    });
    ForSubsets(set, [&](uint32_t u2) { AfterShares(u2, Copy(server), shared, shares); });
  }

  void AfterShares(uint32_t set, ServerSession server, const std::vector<Frozen>& clients,
                   const std::vector<std::string>& shares) {
    for (uint32_t u = 0; u < cohort_.n(); ++u) {
      if ((set >> u & 1) == 0) continue;
      ASSERT_TRUE(server.Handle(cohort_.fingerprint(u), shares[u]).ok());
    }
    if (!server.CloseShares().ok()) return EndedFor(server, Reason::kDeadline, set, Stages(2));
    std::vector<MaskedUpload> uploads(cohort_.n());
    const auto masked = ForEach(set, clients, [&](uint32_t u, ClientSession& session) {
      ASSERT_TRUE(session.Handle(server.ForwardFor(cohort_.fingerprint(u)).value()).ok());
      uploads[u] = session.Mask(cohort_.InputOf(u)).value();
    });
    ForSubsets(set, [&](uint32_t u3) { AfterUpload(u3, Copy(server), masked, uploads); });
  }

  void AfterUpload(uint32_t set, ServerSession server, const std::vector<Frozen>& clients,
                   const std::vector<MaskedUpload>& uploads) {
    RingVector sum(cohort_.params().b, cohort_.params().length());
    std::vector<uint32_t> survivors;
    for (uint32_t u = 0; u < cohort_.n(); ++u) {
      if ((set >> u & 1) == 0) continue;
      ASSERT_TRUE(server.Handle(cohort_.fingerprint(u), uploads[u].trailer).ok());
      ASSERT_TRUE(sum.AddPacked(uploads[u].packed).ok());
      survivors.push_back(u);
    }
    const auto message = server.FreezeSurvivors();
    if (!message.ok()) return EndedFor(server, Reason::kDeadline, set, Stages(3));
    const auto plain = cohort_.PlainSum(survivors);
    if (cohort_.params().mode == Mode::kSemiHonest)
      return AfterEndorse(set, server, clients, *message, sum, plain);
    std::vector<std::string> endorsed(cohort_.n());
    const auto signers = ForEach(set, clients, [&](uint32_t u, ClientSession& session) {
      endorsed[u] = session.Handle(*message).value();
    });
    ForSubsets(set, [&](uint32_t endorsing) {
      ServerSession next = Copy(server);
      for (uint32_t u = 0; u < cohort_.n(); ++u) {
        if ((endorsing >> u & 1) == 0) continue;
        ASSERT_TRUE(next.Handle(cohort_.fingerprint(u), endorsed[u]).ok());
      }
      const bool ready = next.EndorsementsReady();
      const auto quorum = next.CloseEndorsements();
      EXPECT_EQ(quorum.ok(), ready);
      if (!quorum.ok()) return EndedFor(next, Reason::kQuorum, endorsing, Stages(4));
      AfterEndorse(endorsing, next, signers, *quorum, sum, plain);
    });
  }

  void AfterEndorse(uint32_t set, const ServerSession& server, const std::vector<Frozen>& clients,
                    const std::string& request, const RingVector& sum,
                    const std::vector<int64_t>& plain) {
    std::vector<std::string> answers(cohort_.n());
    ForEach(set, clients, [&](uint32_t u, ClientSession& session) {
      answers[u] = session.Handle(request).value();
    });
    ForSubsets(set, [&](uint32_t answering) {
      ServerSession last = Copy(server);
      for (uint32_t u = 0; u < cohort_.n(); ++u) {
        if ((answering >> u & 1) == 0) continue;
        ASSERT_TRUE(last.Handle(cohort_.fingerprint(u), answers[u]).ok());
      }
      ++patterns_;
      const auto opened = last.Finish(sum);
      if (std::popcount(answering) < static_cast<int>(last.rule().t)) {
        EXPECT_FALSE(last.UnmaskReady());
        EXPECT_EQ(ReasonOf(opened.status()), Reason::kReconstruct);
        EXPECT_EQ(last.phase(), ServerSession::Phase::kUnmask);
        return;
      }
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_EQ(ValuesOf(*opened), plain);
      ++sums_;
    });
  }

  // Points of dropping after the first `passed`; mode 0 has no endorsing.
  int Stages(int passed) const {
    return (cohort_.params().mode == Mode::kMalicious ? 5 : 4) - passed;
  }

  Cohort cohort_;
  std::vector<std::string> adverts_;
  uint64_t patterns_ = 0, sums_ = 0;
};

uint64_t Power(uint64_t base, uint32_t exponent) {
  return exponent == 0 ? 1 : base * Power(base, exponent - 1);
}

// Patterns that must give a sum, counted one by one from the thresholds of the protocol's section
// 5 (gamma .1: one corrupt client up to n = 19). Of `points` points a client may drop at.
uint64_t SumsExpected(uint32_t n, Mode mode) {
  const uint32_t points = mode == Mode::kMalicious ? 5 : 4;
  uint64_t sums = 0;
  for (uint64_t pattern = 0; pattern < Power(points + 1, n); ++pattern) {
    std::vector<uint32_t> left(points);  // clients still there after each point
    uint64_t rest = pattern;
    for (uint32_t u = 0; u < n; ++u, rest /= points + 1) {
      for (uint32_t point = 0; point < rest % (points + 1); ++point) ++left[point];
    }
    const uint32_t roster = left[0];
    const uint32_t t = mode == Mode::kMalicious ? (roster + 1) / 2 + 1 : roster / 2 + 1;
    const uint32_t enough = std::max(3u, t);
    bool sum = roster >= (mode == Mode::kMalicious ? 4 : 3) && left[1] >= enough &&
               left[2] >= enough && left.back() >= t;
    if (mode == Mode::kMalicious) sum = sum && left[3] >= t;
    sums += sum;
  }
  return sums;
}

class ExhaustiveDrops : public testing::TestWithParam<uint32_t> {};

TEST_P(ExhaustiveDrops, OfMode1GiveTheSumOfTheSurvivorsOrAReason) {
  DropTree tree(GetParam(), Mode::kMalicious);
  tree.Walk();
  EXPECT_EQ(tree.patterns(), Power(6, GetParam()));
  EXPECT_EQ(tree.sums(), SumsExpected(GetParam(), Mode::kMalicious));
}

TEST_P(ExhaustiveDrops, OfMode0GiveTheSumOfTheSurvivorsOrAReason) {
  DropTree tree(GetParam(), Mode::kSemiHonest);
  tree.Walk();
  EXPECT_EQ(tree.patterns(), Power(5, GetParam()));
  EXPECT_EQ(tree.sums(), SumsExpected(GetParam(), Mode::kSemiHonest));
}

INSTANTIATE_TEST_SUITE_P(Cohorts, ExhaustiveDrops, testing::Values(4, 5, 6),
                         [](const auto& p) { return "Of" + std::to_string(p.param); });

}  // namespace
}  // namespace rivulet::secagg

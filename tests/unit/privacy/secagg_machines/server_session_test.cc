#include <gtest/gtest.h>

#include "common/io/sha256.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"
#include "tests/unit/privacy/secagg_machines/low_order_points.h"

// Clients that lie to the server, and sums that are not what they should be.
namespace rivulet::secagg {
namespace {

using absl::StatusCode;

class LyingClients : public testing::Test {
 protected:
  LyingClients() : cohort_(5, SmallParams()), run_(cohort_) {}
  Advertisement Advertised(uint32_t u) {
    const auto bytes =
        cohort_.session(u).Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params()));
    return Decode<Advertisement>(*bytes).value();
  }
  absl::Status Offer(uint32_t u, Advertisement message) {
    message.entry.signature =
        cohort_.client(u).signer->Sign(AdvertisementMessage(Sid0(cohort_.params()), message.entry));
    return run_.server.OnAdvertisement(cohort_.certificate(u), message);
  }
  void Until(ServerSession::Phase phase) {
    run_.AdvertiseAll();
    if (phase == ServerSession::Phase::kShare) return;
    run_.RosterAll();
    run_.ForwardAll();
    if (phase == ServerSession::Phase::kMasked) return;
    run_.MaskAll();
    if (phase == ServerSession::Phase::kEndorse) return;
    run_.SurvivorsAll();
  }
  Unmask AnswerOf(uint32_t u) {
    return Decode<Unmask>(cohort_.session(u).OnEndorsements(run_.endorsements()).value()).value();
  }

  Cohort cohort_;
  HonestRun run_;
};

TEST_F(LyingClients, AnAdvertisementIsCheckedAndTheFirstOneWins) {
  ServerSession& server = run_.server;
  const Advertisement honest = Advertised(0);
  Advertisement message = honest;
  message.entry.signature[0] ^= 1;
  EXPECT_EQ(ReasonOf(server.OnAdvertisement(cohort_.certificate(0), message)),
            Reason::kRosterSignature);
  EXPECT_EQ(server.OnAdvertisement(cohort_.certificate(1), honest).code(),
            StatusCode::kInvalidArgument);  // somebody else's certificate
  message = honest;
  message.sid0[0] ^= 1;
  EXPECT_EQ(Offer(0, message).code(), StatusCode::kInvalidArgument);
  message = honest;
  message.entry.mask_key = message.entry.channel_key;
  EXPECT_EQ(ReasonOf(Offer(0, message)), Reason::kRosterDuplicate);
  for (const Bytes32& point : LowOrderPoints()) {
    message = honest;
    message.entry.mask_key = point;
    EXPECT_EQ(ReasonOf(Offer(0, message)), Reason::kLowOrder);
  }
  EXPECT_EQ(server.advertised(), 0u);
  ASSERT_TRUE(server.OnAdvertisement(cohort_.certificate(0), honest).ok());
  EXPECT_TRUE(server.OnAdvertisement(cohort_.certificate(0), honest).ok());
  EXPECT_EQ(Offer(0, message).code(), StatusCode::kAlreadyExists);
  Advertisement copied = Advertised(1);
  copied.entry.channel_key = honest.entry.mask_key;
  EXPECT_EQ(ReasonOf(Offer(1, copied)), Reason::kRosterDuplicate);
  cohort_.certificate(2).client_id = cohort_.certificate(0).client_id;
  EXPECT_EQ(Offer(2, Advertised(2)).code(), StatusCode::kAlreadyExists);
  cohort_.certificate(3).client_id = "a stranger";
  EXPECT_EQ(Offer(3, Advertised(3)).code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(server.advertised(), 1u);
}

TEST_F(LyingClients, ARosterHasRoomForNMax) {
  Params params = SmallParams();
  params.n_max = 4;
  params.b = static_cast<uint8_t>(RingBits(params));
  Cohort cohort(5, params);
  ServerSession server = cohort.NewServer();
  for (uint32_t u = 0; u < 5; ++u) {
    const auto message =
        Decode<Advertisement>(cohort.session(u).Advertise(params, cohort.LocalOf(params)).value());
    EXPECT_EQ(server.OnAdvertisement(cohort.certificate(u), *message).code(),
              u < 4 ? StatusCode::kOk : StatusCode::kResourceExhausted);
  }
}

TEST_F(LyingClients, SharesGoToExactlyTheNeighbours) {
  Until(ServerSession::Phase::kShare);
  const auto shares = Decode<Shares>(cohort_.session(0).OnRoster(run_.roster()).value()).value();
  const auto offer = [&](auto change) {
    Shares message = shares;
    change(message);
    return run_.server.OnShares(cohort_.fingerprint(0), message).code();
  };
  EXPECT_EQ(offer([](Shares& m) { m.shares.pop_back(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Shares& m) { m.shares.push_back(m.shares[0]); }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Shares& m) { std::swap(m.shares[0], m.shares[1]); }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Shares& m) { m.shares[0].peer = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Shares& m) { m.sid[0] ^= 1; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(run_.server.OnShares(Bytes32{9}, shares).code(), StatusCode::kNotFound);
  EXPECT_EQ(offer([](Shares&) {}), StatusCode::kOk);
  EXPECT_EQ(offer([](Shares&) {}), StatusCode::kOk);
  EXPECT_EQ(offer([](Shares& m) { m.shares[0].sealed[50] ^= 1; }), StatusCode::kAlreadyExists);
  EXPECT_EQ(run_.server.shared(), 1u);
}

TEST_F(LyingClients, SharesAfterTheDeadlineAreTooLate) {
  Until(ServerSession::Phase::kShare);
  for (uint32_t u = 0; u < 4; ++u) {
    const auto bytes = cohort_.session(u).OnRoster(run_.roster());
    ASSERT_TRUE(run_.server.Handle(cohort_.fingerprint(u), *bytes).ok());
  }
  ASSERT_TRUE(run_.server.CloseShares().ok());
  const auto late = cohort_.session(4).OnRoster(run_.roster());
  EXPECT_EQ(ReasonOf(run_.server.Handle(cohort_.fingerprint(4), *late)), Reason::kDeadline);
  EXPECT_EQ(run_.server.ForwardFor(cohort_.fingerprint(4)).status().code(), StatusCode::kNotFound);
  const auto again = cohort_.session(0).OnRoster(run_.roster());
  EXPECT_TRUE(run_.server.Handle(cohort_.fingerprint(0), *again).ok());
  EXPECT_EQ(run_.server.u2().Count(), 4u);
}

TEST_F(LyingClients, AnUploadIsCheckedAgainstItsTrailer) {
  Until(ServerSession::Phase::kMasked);
  const auto upload = cohort_.session(0).Mask(cohort_.InputOf(0)).value();
  const auto trailer = Decode<MaskedTrailer>(upload.trailer).value();
  const Params& params = cohort_.params();
  EXPECT_TRUE(CheckMasked(params, upload.packed, trailer).ok());
  EXPECT_FALSE(CheckMasked(params, upload.packed + "x", trailer).ok());
  EXPECT_FALSE(CheckMasked(params, upload.packed.substr(1), trailer).ok());
  std::string altered = upload.packed;
  altered[7] ^= 1;
  EXPECT_FALSE(CheckMasked(params, altered, trailer).ok());

  MaskedTrailer message = trailer;
  message.packed_sha256[0] ^= 1;
  EXPECT_EQ(ReasonOf(run_.server.OnMasked(cohort_.fingerprint(0), message)),
            Reason::kRosterSignature);
  EXPECT_EQ(ReasonOf(run_.server.OnMasked(cohort_.fingerprint(1), trailer)),
            Reason::kRosterSignature);  // another client's
  message = trailer;
  message.failed.Insert(0);  // its own share is not sent
  EXPECT_EQ(run_.server.OnMasked(cohort_.fingerprint(0), message).code(),
            StatusCode::kInvalidArgument);
  message.failed = FailedSet(6);
  EXPECT_EQ(run_.server.OnMasked(cohort_.fingerprint(0), message).code(),
            StatusCode::kInvalidArgument);
  const MaskedHeader header{.sid = run_.server.sid(), .index = 1, .packed_bytes = 39};
  EXPECT_FALSE(run_.server.OnMaskedHeader(cohort_.fingerprint(0), header).ok());
  EXPECT_TRUE(run_.server.OnMaskedHeader(cohort_.fingerprint(1), header).ok());
  EXPECT_EQ(run_.server.masked(), 0u);
}

TEST(Uploads, PaddingBitsMustBeZero) {
  Params params = SmallParams();  // 13 coordinates of 17 bits: 221 of 224 bits
  params.p = 9;
  params.b = 17;
  Cohort cohort(4, params);
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  auto upload = cohort.session(0).Mask(RingVector(17, 13)).value();
  auto trailer = Decode<MaskedTrailer>(upload.trailer).value();
  EXPECT_TRUE(CheckMasked(params, upload.packed, trailer).ok());
  upload.packed.back() = static_cast<char>(upload.packed.back() | 0x80);
  trailer.packed_sha256 = Sha256Of(upload.packed);
  EXPECT_EQ(CheckMasked(params, upload.packed, trailer).code(), StatusCode::kInvalidArgument);
}

TEST_F(LyingClients, AnEndorsementOfAnotherSetIsNotCounted) {
  Until(ServerSession::Phase::kEndorse);
  U3Set other(5);
  other.Insert(0);
  const std::string message = EndorsementMessage(run_.server.sid(), run_.server.u2(), other);
  const Endorsement wrong{.sid = run_.server.sid(),
                          .signature = cohort_.client(0).signer->Sign(message)};
  EXPECT_EQ(ReasonOf(run_.server.OnEndorsement(cohort_.fingerprint(0), wrong)), Reason::kQuorum);
  EXPECT_FALSE(run_.server.EndorsementsReady());
  EXPECT_EQ(ReasonOf(run_.server.CloseEndorsements().status()), Reason::kQuorum);
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kAborted);
  EXPECT_EQ(Decode<Abort>(run_.server.AbortMessage())->reason, Reason::kQuorum);
}

TEST_F(LyingClients, AnUnmaskHasOneShareOfTheRightKindForEverybodyItServes) {
  run_.AdvertiseAll();
  run_.RosterAll();
  run_.ForwardAll();
  run_.gone = {4};
  run_.MaskAll();
  run_.SurvivorsAll();
  const Unmask honest = AnswerOf(0);
  EXPECT_EQ(honest.shares[4].kind, ShareKind::kMaskSecret);
  const auto offer = [&](auto change) {
    Unmask message = honest;
    change(message);
    return run_.server.OnUnmask(cohort_.fingerprint(0), message).code();
  };
  EXPECT_EQ(offer([](Unmask& m) { m.shares.pop_back(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Unmask& m) { m.shares[4].kind = ShareKind::kSelfSeed; }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Unmask& m) { m.shares.push_back(m.shares[0]); }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(offer([](Unmask& m) { m.shares[2].owner = 3; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(run_.server.OnUnmask(cohort_.fingerprint(4), honest).code(), StatusCode::kNotFound);
  EXPECT_EQ(offer([](Unmask&) {}), StatusCode::kOk);
  EXPECT_EQ(offer([](Unmask&) {}), StatusCode::kOk);
  EXPECT_EQ(offer([](Unmask& m) { m.shares[0].value = Secret32(); }), StatusCode::kAlreadyExists);
}

TEST_F(LyingClients, OneWrongShareOfEverySecretIsCorrectedAndNamed) {
  Until(ServerSession::Phase::kUnmask);
  for (uint32_t u = 0; u < 5; ++u) {
    Unmask answer = AnswerOf(u);
    if (u == 1) {
      for (OwnedShare& share : answer.shares) share.value = cohort_.client(1).entropy->Secret();
    }
    ASSERT_TRUE(run_.server.OnUnmask(cohort_.fingerprint(u), answer).ok());
  }
  const auto opened = run_.server.Finish(run_.sum);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(ValuesOf(*opened), cohort_.PlainSum({0, 1, 2, 3, 4}));
  EXPECT_EQ(run_.server.blame().holders, std::vector<uint32_t>{1});
  EXPECT_TRUE(run_.server.blame().dealers.empty());
}

TEST_F(LyingClients, WrongSharesWaitForMoreAndThenEndTheAttempt) {
  Until(ServerSession::Phase::kUnmask);
  for (uint32_t u = 0; u < 5; ++u) {
    Unmask answer = AnswerOf(u);
    if (u <= 1) answer.shares[3].value = cohort_.client(u).entropy->Secret();
    ASSERT_TRUE(run_.server.OnUnmask(cohort_.fingerprint(u), answer).ok());
    if (u < 3) continue;
    EXPECT_EQ(ReasonOf(run_.server.Reconstruct()), Reason::kReconstruct);
    EXPECT_EQ(run_.server.phase(),
              u == 3 ? ServerSession::Phase::kUnmask : ServerSession::Phase::kAborted);
  }
  EXPECT_EQ(run_.server.blame().dealers, std::vector<uint32_t>{3});
}

// Whoever rebuilds the secrets elsewhere decides by the shares that were there when it began.
TEST_F(LyingClients, SharesAreTakenWhileSecretsAreRebuilt) {
  Until(ServerSession::Phase::kUnmask);
  const auto answer = [&](uint32_t u) {
    Unmask unmask = AnswerOf(u);
    if (u <= 1) unmask.shares[3].value = cohort_.client(u).entropy->Secret();
    return run_.server.OnUnmask(cohort_.fingerprint(u), unmask);
  };
  for (uint32_t u = 0; u < 4; ++u) ASSERT_TRUE(answer(u).ok());
  auto work = run_.server.BeginReconstruct();
  ASSERT_TRUE(work.ok()) << work.status();
  ASSERT_TRUE(answer(4).ok());
  work->Run();
  EXPECT_EQ(run_.server.Take(*std::move(work)).code(), StatusCode::kUnavailable);
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kUnmask);
  EXPECT_TRUE(run_.server.blame().dealers.empty());
  EXPECT_EQ(ReasonOf(run_.server.Reconstruct()), Reason::kReconstruct);
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kAborted);
}

TEST_F(LyingClients, WhatWasRebuiltForAnAttemptThatEndedIsDropped) {
  Until(ServerSession::Phase::kUnmask);
  for (uint32_t u = 0; u < 5; ++u) {
    ASSERT_TRUE(run_.server.OnUnmask(cohort_.fingerprint(u), AnswerOf(u)).ok());
  }
  auto work = run_.server.BeginReconstruct();
  ASSERT_TRUE(work.ok()) << work.status();
  work->Run();
  run_.server.GiveUp(Reason::kDeadline);
  EXPECT_FALSE(run_.server.Take(*std::move(work)).ok());
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kAborted);
}

TEST(Corrections, TwoLiarsOfTenAreNamed) {
  Cohort cohort(10, SmallParams());  // t = 6: 10 shares correct 2
  HonestRun run(cohort);
  run.AdvertiseAll();
  run.RosterAll();
  run.ForwardAll();
  run.MaskAll();
  run.SurvivorsAll();
  for (uint32_t u = 0; u < 10; ++u) {
    auto answer = Decode<Unmask>(cohort.session(u).OnEndorsements(run.endorsements()).value());
    if (u == 2 || u == 7) answer->shares[u].value = cohort.client(u).entropy->Secret();
    if (u == 2) answer->shares[0].value = Secret32();
    if (u == 7) answer->shares[0].value = Secret32(Bytes32{1});
    ASSERT_TRUE(run.server.OnUnmask(cohort.fingerprint(u), *answer).ok());
  }
  const auto opened = run.server.Finish(run.sum);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(run.server.blame().holders, (std::vector<uint32_t>{2, 7}));
}

// A sum that is not of honest vectors: found before anything is used.
class WrongSums : public testing::Test {
 protected:
  WrongSums() : cohort_(4, SmallParams()), run_(cohort_) {
    run_.AdvertiseAll();
    run_.RosterAll();
    run_.ForwardAll();
  }
  // Client 0 uploads `vector`; the sum is altered by `change` before it is unmasked.
  absl::StatusOr<RingVector> Finish(const RingVector& vector,
                                    const std::function<void(RingVector&)>& change = {}) {
    const auto upload = cohort_.session(0).Mask(vector).value();
    EXPECT_TRUE(run_.server.Handle(cohort_.fingerprint(0), upload.trailer).ok());
    EXPECT_TRUE(run_.sum.AddPacked(upload.packed).ok());
    run_.gone = {0};
    run_.MaskAll();
    run_.gone.clear();
    run_.SurvivorsAll();
    run_.UnmaskAll();
    if (change) change(run_.sum);
    return run_.server.Finish(run_.sum);
  }

  Cohort cohort_;
  HonestRun run_;
};

TEST_F(WrongSums, TheLargestHonestOneIsAccepted) {
  RingVector vector = cohort_.InputOf(0);
  const int64_t others = cohort_.PlainSum({1, 2, 3})[0];
  vector.SetSigned(0, 4 * 32767 - others);
  const auto opened = Finish(vector);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->SignedAt(0), 4 * 32767);
}

TEST_F(WrongSums, ACoordinateOutOfRangeIsFound) {
  RingVector vector = cohort_.InputOf(0);
  const int64_t others = cohort_.PlainSum({1, 2, 3})[0];
  vector.SetSigned(0, 4 * 32767 - others + 1);
  EXPECT_EQ(ReasonOf(Finish(vector).status()), Reason::kRange);
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kAborted);
}

TEST_F(WrongSums, ASmallErrorInACoordinateIsFoundByTheChecksums) {
  EXPECT_EQ(
      ReasonOf(
          Finish(cohort_.InputOf(0), [](RingVector& sum) { sum.Set(3, sum.At(3) + 1); }).status()),
      Reason::kChecksum);
}

TEST_F(WrongSums, AVectorThatIsMissingFromTheSumIsFound) {
  EXPECT_TRUE(ReasonOf(Finish(cohort_.InputOf(0),
                              [&](RingVector& sum) { sum = RingVector(sum.bits(), sum.size()); })
                           .status())
                  .has_value());
}

TEST_F(WrongSums, NoWeightAtAllIsFound) {
  RingVector vector = cohort_.InputOf(0);
  vector.SetSigned(8, -3);  // the others weigh 3
  EXPECT_EQ(ReasonOf(Finish(vector).status()), Reason::kRange);
}

TEST_F(WrongSums, MoreWeightThanClientsIsFound) {
  RingVector vector = cohort_.InputOf(0);
  vector.SetSigned(8, 2);
  EXPECT_EQ(ReasonOf(Finish(vector).status()), Reason::kRange);
}

TEST_F(WrongSums, OfAnotherShapeIsRefusedAndTheSessionGoesOn) {
  EXPECT_EQ(
      Finish(cohort_.InputOf(0), [](RingVector& sum) { sum = RingVector(24, 12); }).status().code(),
      StatusCode::kInvalidArgument);
  EXPECT_EQ(run_.server.phase(), ServerSession::Phase::kUnmask);
}

TEST(ServerSessions, GiveUpEndsAnAttemptForAReasonOfTheCallers) {
  Cohort cohort(4, SmallParams());
  ServerSession server = cohort.NewServer();
  EXPECT_EQ(server.AbortMessage(), "");
  server.GiveUp(Reason::kDeadline);
  EXPECT_EQ(ReasonOf(server.CloseAdvertise().status()), Reason::kDeadline);
  const auto abort = Decode<Abort>(server.AbortMessage());
  EXPECT_EQ(abort->id, server.sid0());
  const auto session =
      cohort.session(0).Advertise(cohort.params(), cohort.LocalOf(cohort.params()));
  ASSERT_TRUE(session.ok());
  EXPECT_EQ(ReasonOf(cohort.session(0).Handle(server.AbortMessage()).status()), Reason::kDeadline);
  EXPECT_EQ(cohort.session(0).phase(), ClientSession::Phase::kRefused);
  EXPECT_EQ(cohort.session(0).AbortMessage(), "");  // it is the server that ended it
}

TEST(ServerSessions, StartRefusesParametersThatContradictEachOther) {
  Params params = SmallParams();
  params.b = 23;
  EXPECT_EQ(ReasonOf(ServerSession::Start(params, {}, StubVerifier()).status()), Reason::kParams);
}

}  // namespace
}  // namespace rivulet::secagg

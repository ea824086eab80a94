// How much uploads may take up, and how long.
#include "coordinator/rpc/upload_ledger.h"

#include <cmath>

#include "service_fixture.h"

namespace rivulet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

UploadLimits Limits(uint64_t bytes_in_flight) {
  UploadLimits limits;
  limits.bytes_in_flight = bytes_in_flight;
  return limits;
}

TEST(UploadLedger, WhatIsInFlightOverAllUploadsIsBounded) {
  UploadLedger ledger(Limits(150));
  const uint64_t ann = *ledger.Begin("ann", 100);
  const absl::Status refused = ledger.Begin("bob", 60).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RemedyOf(refused), Remedy::kRetryLater);
  EXPECT_EQ(refused.message(),
            "upload: got 60 bytes beside 100 in flight, want at most 150 in all");
  ledger.Arrived(ann, 50);
  EXPECT_TRUE(ledger.Begin("bob", 60).ok());
  EXPECT_FALSE(ledger.Begin("cid", 60).ok());
  ledger.End("ann", ann);
  EXPECT_TRUE(ledger.Begin("cid", 60).ok());
}

TEST(UploadLedger, AnUploadAboveTheLimitGoesAlone) {
  UploadLedger ledger(Limits(150));
  const auto large = ledger.Begin("ann", 1000);
  ASSERT_TRUE(large.ok());
  EXPECT_FALSE(ledger.Begin("bob", 1).ok());
  ledger.End("ann", *large);
  EXPECT_TRUE(ledger.Begin("bob", 1).ok());
  EXPECT_FALSE(ledger.Begin("ann", 1000).ok());
}

TEST(UploadLedger, ANewerUploadOfOneAgentTakesThePlaceOfTheOlder) {
  UploadLedger ledger(Limits(150));
  const uint64_t older = *ledger.Begin("ann", 100);
  const uint64_t newer = *ledger.Begin("ann", 100);
  EXPECT_FALSE(ledger.IsLatest("ann", older));
  EXPECT_TRUE(ledger.IsLatest("ann", newer));
  ledger.Arrived(older, 100);
  ledger.End("ann", older);
  EXPECT_TRUE(ledger.IsLatest("ann", newer));
  EXPECT_FALSE(ledger.Begin("bob", 60).ok());  // the newer one's bytes still count
}

TEST(UploadLedger, OfALargeUploadOnlyAPartCounts) {
  UploadLimits limits = Limits(150);
  limits.bytes_of_one = 40;
  UploadLedger ledger(limits);
  const uint64_t ann = *ledger.Begin("ann", 1000);
  EXPECT_EQ(ledger.in_flight(), 40u);
  ASSERT_TRUE(ledger.Begin("bob", 1000).ok());
  ASSERT_TRUE(ledger.Begin("cid", 1000).ok());
  EXPECT_EQ(ledger.Begin("dan", 1000).status().message(),
            "upload: got 40 bytes beside 120 in flight, want at most 150 in all");
  EXPECT_TRUE(ledger.Begin("eve", 30).ok());
  ledger.Arrived(ann, 960);
  EXPECT_EQ(ledger.in_flight(), 150u);
  ledger.Arrived(ann, 15);
  EXPECT_EQ(ledger.in_flight(), 135u);
  ledger.End("ann", ann);
  EXPECT_EQ(ledger.in_flight(), 110u);
}

TEST(UploadLedger, ANewerUploadThatIsRefusedLeavesTheOlderItsTurn) {
  UploadLedger ledger(Limits(150));
  const uint64_t older = *ledger.Begin("ann", 50);
  ASSERT_TRUE(ledger.Begin("bob", 80).ok());
  EXPECT_FALSE(ledger.Begin("ann", 100).ok());
  EXPECT_TRUE(ledger.IsLatest("ann", older));
  EXPECT_EQ(ledger.in_flight(), 130u);
  EXPECT_TRUE(ledger.Begin("ann", 70).ok());  // in the place of the older one
  EXPECT_EQ(ledger.in_flight(), 150u);
}

// Is a peer cut that needs `each` for every chunk?
bool IsCut(seconds each) {
  const UploadLimits limits;
  UploadPace::Time now;
  UploadPace pace;
  for (int chunk = 0; chunk < 100; ++chunk) {
    pace.StartWaiting(now);
    for (seconds waited{0}; waited <= each; ++waited) {
      if (!pace.Check(now + waited, limits).ok()) return true;
    }
    now += each;
    pace.StopWaiting(now);
    pace.Count(kChunkBytes);
  }
  return false;
}

// 1 MiB is 32 s at 32 KiB/s.
TEST(UploadPace, APeerJustFastEnoughIsNeverCutAndASlowerOneIs) {
  EXPECT_FALSE(IsCut(seconds(31)));
  EXPECT_FALSE(IsCut(seconds(32)));
  EXPECT_TRUE(IsCut(seconds(34)));
}

TEST(UploadPace, TinyChunksAreNoPace) {
  const UploadLimits limits;
  UploadPace::Time now;
  UploadPace pace;
  while (now < UploadPace::Time(seconds(32))) {
    pace.StartWaiting(now);
    now += seconds(1);
    pace.StopWaiting(now);
    pace.Count(1);
  }
  pace.StartWaiting(now);
  EXPECT_TRUE(pace.Check(now, limits).ok());  // 32 bytes, and 1 MiB that may be under way
  EXPECT_FALSE(pace.Check(now + seconds(1), limits).ok());
}

TEST(UploadPace, OnlyWaitingForThePeerCounts) {
  const UploadLimits limits;
  const UploadPace::Time start;
  UploadPace pace;
  pace.StartWaiting(start);
  pace.StopWaiting(start + seconds(1));
  pace.Count(1 << 20);
  pace.StartWaiting(start + seconds(1000));  // the disk took its time
  // 2 MiB, one here and one perhaps under way, are 64 s at 32 KiB/s: the first took one of them.
  EXPECT_TRUE(pace.Check(start + seconds(1059), limits).ok());
  pace.StopWaiting(start + seconds(1059));
  pace.StartWaiting(start + seconds(2000));
  EXPECT_TRUE(pace.Check(start + seconds(2004), limits).ok());
  const absl::Status slow = pace.Check(start + seconds(2005), limits);
  EXPECT_EQ(slow.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(slow.message(), "upload: got 1048576 bytes in 65 s, want at least 32768 a second");
  EXPECT_EQ(RemedyOf(slow), Remedy::kRetryLater);
}

TEST(UploadPace, AFastPeerThatFallsSilentIsCutAfterAMinute) {
  const UploadLimits limits;
  const UploadPace::Time start;
  UploadPace pace;
  pace.StartWaiting(start);
  pace.StopWaiting(start + seconds(1));
  pace.Count(64 << 20);
  pace.StartWaiting(start + seconds(1));
  EXPECT_TRUE(pace.Check(start + seconds(60), limits).ok());
  EXPECT_EQ(pace.Check(start + seconds(61), limits).message(), "upload: got nothing for 60 s");
}

class ImpatientServiceTest : public ServiceTest {
 protected:
  ImpatientServiceTest() {
    upload_limits_.silence = seconds(2);
    upload_limits_.look_every = milliseconds(10);
  }
};

// A window of five bytes, the least that gRPC allows, takes the length of an answer and no more.
TEST_F(ImpatientServiceTest, APeerThatNeverReadsTheAnswerIsCut) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const Credentials files = *ReadCredentials(Enrol("ann"));
  grpc::ChannelArguments narrow;  // ChannelLimits() sets the window, and what is set first counts
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5);
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = v1::Federation::NewStub(grpc::CreateCustomChannel(
      address(), MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem}), narrow));
  grpc::ClientContext context;
  const auto stream = stub->Upload(&context);
  ASSERT_TRUE(stream->Write(BeginOf(OutcomeOf(task.key, file))));
  AwaitInFlight(file.size());
  AwaitInFlight(0);
  v1::UploadReply reply;
  EXPECT_FALSE(stream->Read(&reply));  // it had not been sent
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(ImpatientServiceTest, ASilentUploadIsCutAndItsBytesAreKept) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const auto stub = StubOf("ann");
  const Outcome outcome = OutcomeOf(task.key, file);
  {
    grpc::ClientContext context;
    const auto stream = stub->Upload(&context);
    ASSERT_TRUE(stream->Write(BeginOf(outcome)));
    v1::UploadReply reply;
    ASSERT_TRUE(stream->Read(&reply));
    v1::UploadMessage message;
    message.mutable_chunk()->set_data(file.substr(0, kChunkBytes));
    ASSERT_TRUE(stream->Write(message));
    EXPECT_FALSE(stream->Read(&reply));  // until it is cut
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  }
  grpc::ClientContext context;
  const auto stream = stub->Upload(&context);
  ASSERT_TRUE(stream->Write(BeginOf(outcome)));
  v1::UploadReply reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.committed(), kChunkBytes);
  context.TryCancel();
  stream->Finish();
}

TEST_F(ImpatientServiceTest, ACallThatNeverSaysWhatItUploadsIsCutToo) {
  const auto stub = StubOf("ann");
  grpc::ClientContext context;
  const auto stream = stub->Upload(&context);
  v1::UploadReply reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ServiceTest, HoweverAnUploadEndsNothingOfItStaysInFlight) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);
  const Outcome outcome = OutcomeOf(task.key, file);
  const auto stub = StubOf("ann");
  CutUpload(*stub, outcome, file, 1);
  AwaitInFlight(0);
  CutUpload(*stub, outcome, file, 0);
  AwaitInFlight(0);

  const std::string other = Update("someone-else", task);
  Outcome wrong = OutcomeOf(task.key, other);
  wrong.sha256 = std::string(64, 'a');
  EXPECT_EQ(LinkOf("ann").Upload(wrong, other).code(), absl::StatusCode::kDataLoss);
  AwaitInFlight(0);
  ParameterSet delta(BigManifest());
  delta.floats(0)[3] = std::nanf("");
  const std::string refused = SafetensorsBytes(delta);
  EXPECT_EQ(LinkOf("ann").Upload(OutcomeOf(task.key, refused), refused).code(),
            absl::StatusCode::kInvalidArgument);
  AwaitInFlight(0);
  EXPECT_TRUE(LinkOf("ann").Upload(outcome, file).ok());
  AwaitInFlight(0);
}

class SmallBucketTest : public ServiceTest {
 protected:
  SmallBucketTest() { upload_limits_.bytes_in_flight = 5 << 19; }  // 2.5 MiB
};

TEST_F(SmallBucketTest, AResumedUploadIsChargedForWhatIsMissing) {
  const Assignment task = FirstTask();
  const std::string file = Update("ann", task);  // 3.05 MiB
  const auto stub = StubOf("ann");
  CutUpload(*stub, OutcomeOf(task.key, file), file, 2);
  AwaitInFlight(0);
  const auto turn = service_->uploads.Begin("eve", 1 << 20);
  ASSERT_TRUE(turn.ok());
  EXPECT_TRUE(LinkOf("ann").Upload(OutcomeOf(task.key, file), file).ok());
  AwaitInFlight(1 << 20);
}

}  // namespace
}  // namespace rivulet

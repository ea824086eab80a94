// How much uploads may take up, and how long.
#include "coordinator/rpc/upload_ledger.h"

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

TEST(UploadPace, OnlyWaitingForThePeerCounts) {
  const UploadLimits limits;
  const UploadPace::Time start;
  UploadPace pace;
  pace.StartWaiting(start);
  pace.Arrived(start + seconds(1), 1 << 20);
  pace.StartWaiting(start + seconds(1000));  // the disk took its time
  EXPECT_TRUE(pace.Check(start + seconds(1030), limits).ok());
  // 1 MiB is 32 s at 32 KiB/s, of which the first chunk took one.
  EXPECT_TRUE(pace.Check(start + seconds(1031), limits).ok());
  const absl::Status slow = pace.Check(start + seconds(1033), limits);
  EXPECT_EQ(slow.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(slow.message(), "upload: got 1048576 bytes in 34 s, want at least 32768 a second");
  EXPECT_EQ(RemedyOf(slow), Remedy::kRetryLater);
}

TEST(UploadPace, AFastPeerThatFallsSilentIsCutAfterAMinute) {
  const UploadLimits limits;
  const UploadPace::Time start;
  UploadPace pace;
  pace.StartWaiting(start);
  pace.Arrived(start + seconds(1), 64 << 20);
  pace.StartWaiting(start + seconds(1));
  EXPECT_TRUE(pace.Check(start + seconds(60), limits).ok());
  EXPECT_EQ(pace.Check(start + seconds(61), limits).message(), "upload: got nothing for 60 s");
}

class ImpatientServiceTest : public ServiceTest {
 protected:
  ImpatientServiceTest() {
    upload_limits_.silence = milliseconds(200);
    upload_limits_.look_every = milliseconds(10);
  }
};

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

}  // namespace
}  // namespace rivulet

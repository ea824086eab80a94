// Federation: updates that come as payloads of a codec.
#include "coordinator/rounds/coded_round.h"

#include "aggregation/fixed_point_sum.h"
#include "client/upload/update_encoder.h"
#include "common/formats/safetensors.h"
#include "federation_fixture.h"
#include "simulations/rounding/seeded_rounding.h"

namespace rivulet {
namespace {

JobSpec CodedToy(const std::string& codec) {
  JobSpec spec = ToySpec();
  spec.compression.codec = codec;
  spec.compression.fraction = 0.4;
  return spec;
}

// Clients as they are: an encoder with error feedback, and nothing but task, state and base model.
class CodedRoundTest : public FederationTest {
 protected:
  absl::StatusOr<std::string> StateFile(const ToyGateway::Order& order) {
    RV_ASSIGN_OR_RETURN(const auto reader,
                        federation_->OpenState(order.client, order.task.state_sha256));
    std::string file(reader->size(), '\0');
    RV_RETURN_IF_ERROR(reader->Read(0, std::as_writable_bytes(std::span(file))));
    return file;
  }

  ToyUpdate Train(const JobSpec& spec, const ToyGateway::Order& order) {
    const Manifest manifest = ToyManifest();
    const ParameterSet state = *ReadParameterSet(*StateFile(order), &manifest);
    ToyUpdate update = ToyTrain(order.client, order.task.round, order.task.state_sha256);
    const auto payload =
        encoder_.Encode(spec, KeyOf(order), {state, order.task.state_sha256}, update.delta, [&] {
          return absl::StatusOr<std::shared_ptr<const ParameterSet>>(
              std::make_shared<ParameterSet>(*ToyPlanner(spec)("toy")->initial({})));
        });
    EXPECT_TRUE(payload.ok()) << payload.status();
    update.file = *payload;
    return update;
  }

  absl::Status WorkCoded(const JobSpec& spec, const ToyGateway::Order& order) {
    if (order.task.kind == ClientTask::Kind::kEvaluate) return ToyWork(*federation_, order);
    const auto receipt = ToyUpload(*federation_, order.client, order.task, Train(spec, order));
    if (receipt.ok()) encoder_.Accepted(KeyOf(order));
    return receipt.status();
  }

  // To the end; `restart` before the last client of every round, `last_first` in that order.
  std::string Run(const JobSpec& spec, bool restart = false, bool last_first = false) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    encoder_ = UpdateEncoder(nullptr, SeededRounding());
    Start(spec);
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    int trained = 0;
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      const auto order = last_first ? gateway_.orders.back() : gateway_.orders.front();
      std::erase_if(gateway_.orders, [&](const auto& one) { return one.client == order.client; });
      const absl::Status done = WorkCoded(spec, order);
      EXPECT_TRUE(done.ok()) << done;
      if (!done.ok()) break;
      trained += order.task.kind == ClientTask::Kind::kTrain;
      if (!restart || order.task.kind != ClientTask::Kind::kTrain || trained % 3 != 2) continue;
      Restart(spec);
      Connect({"a", "b", "c"});
    }
    view_ = Show(id);
    EXPECT_EQ(view_.state, JobState::kFinished) << view_.reason;
    return view_.state_hash;
  }

  static UploadKey KeyOf(const ToyGateway::Order& order) {
    return {order.task.job_id, order.client, order.task.round, order.task.attempt};
  }

  // Round 1 is open, and a has been asked.
  ToyGateway::Order Open(const JobSpec& spec) {
    Start(spec);
    Connect({"a", "b", "c"});
    Submit();
    OpenFirstRound();
    return Take("a");
  }
  absl::Status Send(const ToyGateway::Order& order, const std::string& payload) {
    ToyUpdate update{payload, 5, ParameterSet(ToyManifest())};
    return ToyUpload(*federation_, order.client, order.task, update).status();
  }

  UpdateEncoder encoder_{nullptr, SeededRounding()};
  JobView view_;
};

class EveryCodec : public CodedRoundTest, public testing::WithParamInterface<const char*> {};

TEST_P(EveryCodec, ReachesOneStateInAnyOrderAndWithRestarts) {
  const JobSpec spec = CodedToy(GetParam());
  const std::string hash = Run(spec);
  EXPECT_EQ(view_.round, 3u);
  EXPECT_EQ(Run(spec, /*restart=*/false, /*last_first=*/true), hash);
  EXPECT_EQ(Run(spec, /*restart=*/true), hash);
  EXPECT_LT(view_.bytes_up, view_.raw_bytes_up);
}

INSTANTIATE_TEST_SUITE_P(Codecs, EveryCodec,
                         testing::Values("bf16", "fp16", "int8", "int4", "int2", "sign", "top-k",
                                         "random-k", "public-top-k", "rotate-lattice", "drive",
                                         "eden", "low-rank", "count-sketch", "fed-obd"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

// The oracle: every payload decoded, the exact mean of what came out, added by FedAvg.
TEST_F(CodedRoundTest, TheStateIsTheReferenceSumOfWhatWasDecoded) {
  for (const char* codec : {"bf16", "int8", "top-k"}) {
    JobSpec spec = CodedToy(codec);
    spec.job.num_rounds = 1;
    Run(spec);
    encoder_ = UpdateEncoder(nullptr, SeededRounding());
    ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
    FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
    const PublicContext shared(spec, ToyManifest(), 1, nullptr, nullptr);
    for (const char* client : {"a", "b", "c"}) {
      const ToyUpdate update = ToyTrain(client, 1, Sha256Hex(SafetensorsBytes(state)));
      const auto payload =
          encoder_.Encode(spec, {view_.id, client, 1, 1}, {state, "first"}, update.delta, {});
      ASSERT_TRUE(payload.ok()) << payload.status();
      ParameterSet decoded(ToyManifest());
      ASSERT_TRUE(
          (*JobCodec(spec, ToyManifest()))->Decode(*payload, shared.context(), decoded).ok());
      ASSERT_TRUE(sum.Add(decoded, update.tokens).ok());
    }
    auto optimizer = *MakeServerOptimizer(spec.strategy, ToyManifest());
    ASSERT_TRUE(optimizer->Apply(*sum.Mean(), state).ok());
    EXPECT_EQ(view_.state_hash, state.HashHex()) << codec;
  }
}

TEST_F(CodedRoundTest, BytesAreThoseThatCameAndThoseThatWouldHave) {
  Run(ToySpec());
  EXPECT_EQ(view_.bytes_up, view_.raw_bytes_up - 3 * 3 * 32);  // metadata, which a state has
  const int64_t raw = view_.raw_bytes_up;
  EXPECT_GT(raw, 0);
  Run(CodedToy("bf16"));
  EXPECT_EQ(view_.raw_bytes_up, raw);
  EXPECT_EQ(view_.bytes_up, 3 * 3 * (32 + 2 * 10));  // header, two bytes a number
  EXPECT_EQ(view_.rounds[1].raw_bytes_up, raw / 3);
}

// What a restarted coordinator has not received itself it reads from the initial state: that must
// not be swept.
TEST_F(CodedRoundTest, TheInitialStateStaysWhereUploadsAreReadByIt) {
  for (const auto& [codec, kept] : {std::pair{"public-top-k", true}, {"top-k", false}}) {
    Run(CodedToy(codec));
    const std::string initial =
        Sha256Hex(SafetensorsBytes(*ToyPlanner(ToySpec())("toy")->initial({})));
    EXPECT_EQ(blobs_->Has(initial), kept) << codec;
  }
}

std::string Bf16Payload(float first) {
  ParameterSet update(ToyManifest());
  const PublicContext shared(CodedToy("bf16"), ToyManifest(), 1, nullptr, nullptr);
  update.floats(0)[0] = std::isfinite(first) ? first : 1.0f;
  std::string payload =
      *(*JobCodec(CodedToy("bf16"), ToyManifest()))->Encode(update, shared.context());
  if (!std::isfinite(first)) payload[33] = '\x7f', payload[32] = '\xc0';  // NaN in bfloat16
  return payload;
}

TEST_F(CodedRoundTest, RubbishIsRefusedAndTheClientToldToLeave) {
  const auto order = Open(CodedToy("bf16"));
  const std::string good = Bf16Payload(0.5f);
  std::string other = good;
  other[0] = 'X';
  for (const std::string& bad : {good.substr(0, good.size() - 1), good.substr(0, 31), good + "x",
                                 other, std::string(good.size(), '\0'), Bf16Payload(128),
                                 Bf16Payload(std::nanf("")), ToyTrain("a", 1, "").file}) {
    const absl::Status refused = Send(order, bad);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
    EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun) << refused;
  }
  EXPECT_EQ(
      Send(order, Bf16Payload(128)).message(),
      "update: a[0]: got 128.000000 after decoding, want a finite value of magnitude below 128");
  EXPECT_TRUE(Send(order, good).ok());
}

TEST_F(CodedRoundTest, NothingLargerThanTheLongestPayloadIsTaken) {
  const JobSpec spec = CodedToy("int8");
  const auto order = Open(spec);
  const uint64_t most = (*JobCodec(spec, ToyManifest()))->MaxEncodedBytes(ToyManifest());
  const absl::Status large = Send(order, std::string(most + 1, '\0'));
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(large.message().find("want 1.." + std::to_string(most)), std::string::npos) << large;
}

// A payload of another round has another support; one of the same round cut off goes on.
TEST_F(CodedRoundTest, AnUploadGoesOnAfterARestartAndIsCheckedAsAWhole) {
  const JobSpec spec = CodedToy("int8");
  auto order = Open(spec);
  const ToyUpdate update = Train(spec, order);
  {
    const auto session = federation_->BeginUpload("a", ToyHeader(order.task, update));
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE((*session)->Append(0, std::as_bytes(std::span(update.file)).first(20)).ok());
  }
  Restart(spec);
  Connect({"a", "b", "c"});
  order = Take("a");
  const auto session = federation_->BeginUpload("a", ToyHeader(order.task, update));
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ((*session)->committed(), 20u);
  EXPECT_EQ((*session)->Finish().status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE((*session)->Append(20, std::as_bytes(std::span(update.file)).subspan(20)).ok());
  EXPECT_TRUE((*session)->Finish().ok());
}

TEST_F(CodedRoundTest, ALosslessStepChangesNothing) {
  JobSpec spec = CodedToy("none");
  spec.compression.zstd = true;
  const std::string plain = Run(ToySpec());
  EXPECT_EQ(Run(spec), plain);
}

}  // namespace
}  // namespace rivulet

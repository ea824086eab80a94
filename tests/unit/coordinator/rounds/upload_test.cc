// Federation: what becomes of uploads, honest, repeated, late and hostile.
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "common/formats/safetensors.h"
#include "common/random.h"
#include "coordinator/rounds/update_layout.h"
#include "federation_fixture.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

TEST_F(FederationTest, ARepeatedUploadGetsTheSameReceiptAndAnotherOneIsRefused) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  Submit();
  OpenFirstRound();
  const auto order = Take("a");
  const Receipt first = *Upload(order);
  const Receipt second = *Upload(order);
  EXPECT_EQ(first.sha256, second.sha256);
  ToyUpdate other = ToyTrain("b", 1, "");
  EXPECT_EQ(ToyUpload(*federation_, "a", order.task, other).status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(Upload(Take("b")).ok());
  ASSERT_TRUE(Upload(Take("c")).ok());
  federation_->Tick();  // published: round 2 is open
  EXPECT_EQ(Upload(order)->sha256, first.sha256);
  Restart(ToySpec());
  const auto after = Upload(order);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->sha256, first.sha256);
  EXPECT_EQ(ToyUpload(*federation_, "a", order.task, other).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(FederationTest, AnUploadResumesAtTheByteItLost) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  Submit();
  OpenFirstRound();
  const auto order = Take("a");
  const ToyUpdate update = ToyTrain("a", 1, order.task.state_sha256);
  const auto bytes = std::as_bytes(std::span(update.file));
  const auto first = *federation_->BeginUpload("a", ToyHeader(order.task, update));
  ASSERT_TRUE(first->Append(0, bytes.first(10)).ok());
  EXPECT_EQ(first->Finish().status().code(), absl::StatusCode::kDataLoss);  // incomplete
  const auto second = *federation_->BeginUpload("a", ToyHeader(order.task, update));
  EXPECT_EQ(second->committed(), 10u);
  EXPECT_EQ(second->Append(11, bytes.subspan(11)).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(second->Append(10, bytes.subspan(10)).ok());
  EXPECT_TRUE(second->Finish().ok());
}

TEST_F(FederationTest, AHalfUploadGoesOnAfterARestart) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  const auto order = Take("a");
  const ToyUpdate update = ToyTrain("a", 1, order.task.state_sha256);
  const auto bytes = std::as_bytes(std::span(update.file));
  {
    const auto session = *federation_->BeginUpload("a", ToyHeader(order.task, update));
    ASSERT_TRUE(session->Append(0, bytes.first(10)).ok());
  }
  Restart(ToySpec());
  const auto session = *federation_->BeginUpload("a", ToyHeader(order.task, update));
  EXPECT_EQ(session->committed(), 10u);
  ASSERT_TRUE(session->Append(10, bytes.subspan(10)).ok());
  const auto receipt = session->Finish();
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_EQ(receipt->sha256, Sha256Hex(update.file));
  EXPECT_EQ(*blobs_->Get(receipt->sha256, bytes.size()), update.file);
  EXPECT_EQ(Show(id).rounds[0].reported, std::vector<std::string>{"a"});
}

TEST_F(FederationTest, AHalfUploadIsKeptWhileItsRoundIsOpenAndNoLonger) {
  namespace fs = std::filesystem;
  const fs::path directory = Scratch();
  const auto reopen = [&] {
    federation_.reset();
    blobs_ = *OpenDirectoryBlobStore(directory);
    Restart(ToySpec());
  };
  reopen();
  Connect({"a", "b", "c"});
  Submit();
  OpenFirstRound();
  const auto order = Take("c");
  {
    const ToyUpdate update = ToyTrain("c", 1, "");
    const auto session = *federation_->BeginUpload("c", ToyHeader(order.task, update));
    ASSERT_TRUE(session->Append(0, std::as_bytes(std::span(update.file)).first(10)).ok());
  }
  reopen();
  EXPECT_FALSE(fs::is_empty(directory / "incoming"));
  Connect({"a", "b", "c"});
  ASSERT_TRUE(Upload(Take("a")).ok());
  ASSERT_TRUE(Upload(Take("b")).ok());
  Pass(seconds(101));  // c is not waited for
  EXPECT_TRUE(fs::is_empty(directory / "incoming"));
  federation_.reset();
  fs::remove_all(directory);
}

TEST_F(FederationTest, EveryHostileUploadIsRefusedWithItsReasonAndTheRoundGoesOn) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  const auto order = Take("a");
  const auto begin = [&](auto change) {
    UpdateHeader header = ToyHeader(order.task, ToyTrain("a", 1, ""));
    change(header);
    return federation_->BeginUpload("a", header).status();
  };
  using Code = absl::StatusCode;
  EXPECT_EQ(begin([](auto& h) { h.bytes = 0; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.bytes = LargestUpdateBytes(ToyManifest()) + 1; }).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.sha256 = "../x"; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.tokens = 0; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.tokens = int64_t{1} << 31; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.examples = -1; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.loss = NAN; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.loss = -1.7e308; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.grad_norm = 1.7e308; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.examples = int64_t{1} << 40; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.steps = int64_t{1} << 62; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(begin([](auto& h) { h.round = 2; }).code(), Code::kFailedPrecondition);
  EXPECT_EQ(begin([](auto& h) { h.attempt = 2; }).code(), Code::kFailedPrecondition);
  EXPECT_EQ(begin([](auto& h) { h.job_id = "no"; }).code(), Code::kNotFound);
  EXPECT_EQ(federation_->BeginUpload("stranger", ToyHeader(order.task, ToyTrain("a", 1, "")))
                .status()
                .code(),
            Code::kPermissionDenied);

  const auto send = [&](ToyUpdate update) {
    update.tokens = 5;
    return ToyUpload(*federation_, "a", order.task, update).status();
  };
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), 128.0f, -200.0f}) {
    ToyUpdate update = ToyTrain("a", 1, "");
    update.delta.floats(1)[2] = bad;
    update.file = SafetensorsBytes(update.delta);
    const absl::Status refused = send(update);
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun);
    EXPECT_NE(refused.message().find("b[2]: got "), std::string_view::npos) << refused;
  }
  const auto shaped = [&](const Manifest& manifest) {
    ToyUpdate update;
    update.file = SafetensorsBytes(ParameterSet(manifest));
    return send(update);
  };
  EXPECT_EQ(shaped({{"a", DType::kF32, {4}}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(shaped({{"a", DType::kF32, {4}}, {"b", DType::kF32, {2, 3}}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(shaped({{"a", DType::kF32, {4}}, {"b", DType::kI32, {3, 2}}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(
      shaped({{"a", DType::kF32, {4}}, {"b", DType::kF32, {3, 2}}, {"c", DType::kF32, {1}}}).code(),
      Code::kInvalidArgument);
  ToyUpdate cut = ToyTrain("a", 1, "");
  cut.file.resize(cut.file.size() - 4);
  EXPECT_EQ(send(cut).code(), Code::kInvalidArgument);
  cut.file = "rubbish";
  EXPECT_EQ(send(cut).code(), Code::kInvalidArgument);

  // Bytes that are not those announced.
  const ToyUpdate honest = ToyTrain("a", 1, order.task.state_sha256);
  const auto session = *federation_->BeginUpload("a", ToyHeader(order.task, honest));
  std::string flipped = honest.file;
  flipped.back() ^= 1;
  ASSERT_TRUE(session->Append(0, std::as_bytes(std::span(flipped))).ok());
  const absl::Status lost = session->Finish().status();
  const std::string twice = flipped + flipped;
  EXPECT_EQ(lost.code(), Code::kDataLoss);
  EXPECT_EQ(RemedyOf(lost), Remedy::kResync);
  EXPECT_EQ(session->Append(0, std::as_bytes(std::span(twice))).code(), Code::kOutOfRange);

  EXPECT_EQ(Show(id).rounds[0].reported.size(), 0u);
  EXPECT_EQ(blobs_->List()->size(), 1u);  // the initial state alone
  EXPECT_TRUE(Upload(order).ok());
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(Show(id).state, JobState::kFinished);
}

// Bit patterns of every class of float.
float HostileValue(RandomCursor& cursor) {
  const uint32_t word = cursor.Next();
  switch (cursor.Bounded(8)) {
    case 0:
      return std::bit_cast<float>(0x7FC00000u | (word & 0x803FFFFFu));  // quiet NaN
    case 1:
      return std::bit_cast<float>(0x7F800001u | (word & 0x803FFFFFu));  // signalling NaN
    case 2:
      return std::bit_cast<float>(0x7F800000u | (word & 0x80000000u));  // infinity
    case 3:
      return std::bit_cast<float>(word & 0x807FFFFFu);  // subnormal or 0
    case 4:
      return std::bit_cast<float>(0x7F7FFFFFu - (word & 0xFF));  // near the largest
    case 5:
      return std::bit_cast<float>(word);  // anything
    case 6:
      return static_cast<float>(static_cast<int32_t>(word));
    default:
      return static_cast<float>(word % 12700) * 0.01f;  // in range, but for the norm
  }
}

// 500 payloads of hostile values and weights, made from a seed, through the whole path of an
// upload. Of what is wrong with one the earliest check speaks: the weight of the header, then the
// first value, then the norm. What is accepted moves the model by no more than the bound.
TEST_F(FederationTest, FiveHundredHostilePayloadsAreRefusedOrBounded) {
  constexpr int kPayloads = 500;
  constexpr double kBound = 2;
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  spec.robust.rule = "norm-bound";
  spec.robust.norm_bound = kBound;
  Start(spec);
  const auto name = [](int client) { return "c" + std::to_string(client); };
  for (int client = 0; client < kPayloads; ++client) Connect({name(client)});
  const std::string id = Submit();
  OpenFirstRound();
  RandomCursor cursor(RandomStream(9, Purpose::kSketch, 0));
  std::map<std::string, int> seen;
  for (int payload = 0; payload < kPayloads; ++payload) {
    const auto order = Take(name(payload));
    ToyUpdate update{"", static_cast<int64_t>(cursor.Bounded(4)) * 60, ParameterSet(ToyManifest())};
    double square = 0;
    bool in_range = true;
    for (size_t row = 0; row < update.delta.size(); ++row) {
      for (float& value : update.delta.floats(row)) {
        value = cursor.Bounded(6) == 0 ? HostileValue(cursor) : 0.01f;
        in_range &= std::fabs(value) < 128;  // NaN is not
        square += double{value} * value;
      }
    }
    update.file = SafetensorsBytes(update.delta);
    const std::string want = update.tokens == 0               ? "tokens: got 0, want 1 .. 2^31 - 1"
                             : !in_range                      ? "want a finite value below 128"
                             : square > 100 * kBound * kBound ? "want at most 20, "
                                                              : "";
    ++seen[want];
    const absl::Status got = ToyUpload(*federation_, order.client, order.task, update).status();
    ASSERT_EQ(got.ok(), want.empty()) << payload << ": " << got;
    if (got.ok()) continue;
    EXPECT_EQ(got.code(), absl::StatusCode::kInvalidArgument) << payload;
    EXPECT_NE(got.message().find(want), std::string_view::npos) << payload << ": " << got;
  }
  EXPECT_EQ(seen.size(), 4u);
  for (const auto& [message, count] : seen) EXPECT_GT(count, 10) << message;
  EXPECT_EQ(Show(id).rounds[0].reported.size(), static_cast<size_t>(seen[""]));

  ParameterSet before = *ToyPlanner(spec)("toy")->initial({});
  Pass(spec.job.round_deadline);
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  const JobView view = Show(id);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  const Manifest manifest = ToyManifest();
  const ParameterSet after = *ReadParameterSet(*blobs_->Get(view.state_sha256, 1 << 20), &manifest);
  double moved = 0;
  for (size_t row = 0; row < after.size(); ++row) {
    for (size_t at = 0; at < after.floats(row).size(); ++at) {
      moved += std::pow(double{after.floats(row)[at]} - before.floats(row)[at], 2);
    }
  }
  EXPECT_LE(std::sqrt(moved), kBound * (1 + 1e-6));
}

TEST_F(FederationTest, AnUpdateOfZerosAndOneThatRepeatsAnothersAreFlaggedAndCount) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  Start(spec);
  std::vector<std::string> flagged;
  federation_->Subscribe("", [&](const JobEvent& event) {
    if (event.type != "client.flagged") return;
    std::string text;
    for (const auto& [key, value] : event.data) text += std::get<std::string>(value) + ": ";
    flagged.push_back(text);
  });
  Connect({"a", "b", "c", "d"});
  const std::string id = Submit();
  OpenFirstRound();
  const ToyUpdate honest = ToyTrain("a", 1, "");
  ToyUpdate zeros{"", 5, ParameterSet(ToyManifest())};
  zeros.file = SafetensorsBytes(zeros.delta);
  const auto send = [&](const std::string& client, const ToyUpdate& update) {
    const auto receipt = ToyUpload(*federation_, client, Take(client).task, update);
    EXPECT_TRUE(receipt.ok()) << receipt.status();
  };
  send("a", honest);
  send("b", ToyTrain("b", 1, ""));
  EXPECT_TRUE(flagged.empty());
  send("c", honest);
  send("d", zeros);
  EXPECT_EQ(flagged, (std::vector<std::string>{"c: its update has the very bytes of that of a: ",
                                               "d: its update is all zeros: "}));
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  EXPECT_EQ(Show(id).state, JobState::kFinished);
  EXPECT_EQ(Show(id).rounds[0].reported.size(), 4u);
}

// Updates are added four at a time, piece by piece, whatever the order of tensors in each file.
TEST_F(FederationTest, MoreUpdatesThanAreAddedTogetherAndOrdersOfTensorsSumExactly) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  Start(spec);
  const std::vector<std::string> clients = {"a", "b", "c", "d", "e", "f"};
  Connect(clients);
  const std::string id = Submit();
  OpenFirstRound();
  ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
  FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
  for (const std::string& client : clients) {
    const auto order = Take(client);
    ToyUpdate update = ToyTrain(client, 1, order.task.state_sha256);
    if (client == "b" || client == "e") update.file = Reordered(update.delta);
    ASSERT_TRUE(sum.Add(update.delta, update.tokens).ok());
    const auto receipt = ToyUpload(*federation_, client, order.task, update);
    ASSERT_TRUE(receipt.ok()) << receipt.status();
  }
  ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
  auto optimizer = *MakeServerOptimizer(spec.strategy, ToyManifest());
  ASSERT_TRUE(optimizer->Apply(*sum.Mean(), state).ok());
  EXPECT_EQ(Show(id).state_hash, state.HashHex());
}

// Lets something happen between the moment that an update is durable and its answer.
class GatedStore : public StateStore {
 public:
  explicit GatedStore(std::unique_ptr<StateStore> inner) : inner_(std::move(inner)) {}
  absl::StatusOr<uint64_t> NextEpoch() override { return inner_->NextEpoch(); }
  absl::StatusOr<StoredState> Load() override {
    absl::StatusOr<StoredState> all = inner_->Load();
    if (lose_an_update) all->updates.pop_back();
    return all;
  }
  absl::Status Commit(const std::vector<Write>& writes) override {
    const absl::Status done = inner_->Commit(writes);
    const bool update = std::holds_alternative<PutUpdate>(writes.front());
    if (done.ok() && update && once_durable) std::exchange(once_durable, nullptr)();
    return done;
  }
  std::function<void()> once_durable;
  bool lose_an_update = false;

 private:
  std::unique_ptr<StateStore> inner_;
};

// The deadline passes while the only update is being committed: its attempt is abandoned. The same
// client's update of the next attempt must enter the sum once.
TEST_F(FederationTest, AnUpdateCommittedWhileItsAttemptIsAbandonedIsInNoSum) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  std::string undisturbed;
  for (const bool late : {false, true}) {
    auto store = std::make_unique<GatedStore>(MakeMemoryStateStore());
    GatedStore* const gate = store.get();
    federation_.reset();
    states_ = std::move(store);
    blobs_ = MakeMemoryBlobStore();
    Start(spec);
    Connect({"a", "b", "c"});
    const std::string id = Submit();
    OpenFirstRound();
    if (late) {
      gate->once_durable = [this] { Pass(seconds(101)); };
      ASSERT_TRUE(Upload(Take("a")).ok());
      ASSERT_EQ(Show(id).rounds.size(), 2u);
      EXPECT_EQ(Show(id).rounds[0].state, RoundState::kAbandoned);
      EXPECT_EQ(Show(id).rounds[1].reported.size(), 0u);
      federation_->Tick();
      EXPECT_EQ(blobs_->List()->size(), 1u);  // the initial state alone
    }
    ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
    EXPECT_EQ(Show(id).state, JobState::kFinished);
    if (late) {
      EXPECT_EQ(Show(id).state_hash, undisturbed);
    }
    undisturbed = Show(id).state_hash;
  }
}

TEST_F(FederationTest, AClosedRoundThatMissesAnUpdateIsNotPublished) {
  auto store = std::make_unique<GatedStore>(MakeMemoryStateStore());
  GatedStore* const gate = store.get();
  states_ = std::move(store);
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  for (const char* client : {"a", "b", "c"}) ASSERT_TRUE(Upload(Take(client)).ok());
  gate->lose_an_update = true;  // closed, not yet aggregated
  Restart(ToySpec());
  federation_->Tick();
  EXPECT_EQ(Show(id).state, JobState::kFailed);
  EXPECT_EQ(Show(id).reason,
            "round 1: attempt 1: got 2 updates, want one of each of the 3 clients counted");
}

TEST_F(FederationTest, ALateUpdateIsToldThatItsRoundHasClosed) {
  Start(ToySpec());
  Connect({"a", "b", "c"});
  const std::string id = Submit();
  OpenFirstRound();
  const auto late = Take("c");
  const auto update = ToyTrain("c", 1, late.task.state_sha256);
  const auto session = *federation_->BeginUpload("c", ToyHeader(late.task, update));
  ASSERT_TRUE(Upload(Take("a")).ok());
  ASSERT_TRUE(Upload(Take("b")).ok());
  Pass(seconds(101));  // two of three are enough after the deadline
  EXPECT_EQ(Show(id).round, 1u);
  EXPECT_EQ(Show(id).rounds[0].missing, std::vector<std::string>{"c"});
  for (const absl::Status& status :
       {session->Append(0, std::as_bytes(std::span(update.file))), Upload(late).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(RemedyOf(status), Remedy::kResync);
  }
  ASSERT_EQ(gateway_.cancelled.size(), 1u);
  EXPECT_EQ(gateway_.cancelled[0], "c: round 1 closed with 2 updates");
}

}  // namespace
}  // namespace rivulet

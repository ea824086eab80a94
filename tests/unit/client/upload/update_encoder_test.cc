#include "client/upload/update_encoder.h"

#include <gtest/gtest.h>

#include "aggregation/upload/plain_upload.h"
#include "common/formats/safetensors.h"
#include "common/random.h"
#include "simulations/rounding/seeded_rounding.h"

namespace rivulet {
namespace {

const Manifest& Encoded() {
  static const Manifest manifest = {{"a", DType::kF32, {40}}, {"b", DType::kF32, {6, 10}}};
  return manifest;
}

// Multiples of 2^-8 below 2: sums of many of them are exact.
ParameterSet UpdateOf(uint64_t seed) {
  ParameterSet set(Encoded());
  RandomCursor cursor(RandomStream(seed, Purpose::kSketch, 0));
  for (size_t row = 0; row < set.size(); ++row) {
    for (float& value : set.floats(row)) {
      value = (static_cast<float>(cursor.Bounded(1025)) - 512) / 256;
    }
  }
  return set;
}

JobSpec CodedSpec(const std::string& codec) {
  JobSpec spec;
  spec.job.seed = 5;
  spec.compression.codec = codec;
  spec.compression.fraction = 0.1;
  return spec;
}

UploadKey Round(uint64_t round) { return {"j", "ann", round, 1}; }
std::string NameOfState(uint64_t round) { return "state " + std::to_string(round); }

void Add(ParameterSet& sum, const ParameterSet& other, float factor) {
  for (size_t row = 0; row < sum.size(); ++row) {
    for (size_t at = 0; at < sum.floats(row).size(); ++at) {
      sum.floats(row)[at] += factor * other.floats(row)[at];
    }
  }
}

double InnerOf(const ParameterSet& a, const ParameterSet& b) {
  double sum = 0;
  for (size_t row = 0; row < a.size(); ++row) {
    for (size_t at = 0; at < a.floats(row).size(); ++at) {
      sum += double{a.floats(row)[at]} * b.floats(row)[at];
    }
  }
  return sum;
}
double SquaresOf(const ParameterSet& set) { return InnerOf(set, set); }

class UpdateEncoderTest : public testing::Test {
 protected:
  std::string Encode(const JobSpec& spec, uint64_t round, const ParameterSet& update) {
    const auto bytes = encoder_.Encode(
        spec, Round(round), {state_, NameOfState(round)}, update,
        [this] { return absl::StatusOr<std::shared_ptr<const ParameterSet>>(initial_); });
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? *bytes : "";
  }
  // As the coordinator does, which has nothing but the job and the states.
  ParameterSet Decode(const JobSpec& spec, uint64_t round, const std::string& payload) {
    ParameterSet out(Encoded());
    const PublicContext shared(spec, Encoded(), round, initial_.get(), &state_);
    const absl::Status decoded =
        (*JobCodec(spec, Encoded()))->Decode(payload, shared.context(), out);
    EXPECT_TRUE(decoded.ok()) << decoded;
    return out;
  }

  ParameterSet state_ = UpdateOf(98);
  std::shared_ptr<const ParameterSet> initial_ = std::make_shared<ParameterSet>(UpdateOf(99));
  UpdateEncoder encoder_{MakeMemoryResidualStore(), SeededRounding()};
};

TEST_F(UpdateEncoderTest, WithoutACodecTheUpdateIsASafetensorsFile) {
  const auto read = ReadParameterSet(Encode(CodedSpec("none"), 1, UpdateOf(1)), &Encoded());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->HashHex(), UpdateOf(1).HashHex());
}

TEST_F(UpdateEncoderTest, TheCoordinatorDecodesEveryCodecFromJobAndStatesAlone) {
  for (const char* codec :
       {"bf16", "fp16", "int8", "int4", "int2", "sign", "top-k", "random-k", "public-top-k",
        "rotate-lattice", "low-rank", "count-sketch", "fed-obd"}) {
    JobSpec spec = CodedSpec(codec);
    spec.compression.fraction = 0.5;
    const std::string payload = Encode(spec, 2, UpdateOf(1));
    EXPECT_LE(payload.size(), (*JobCodec(spec, Encoded()))->MaxEncodedBytes(Encoded())) << codec;
    EXPECT_GT(InnerOf(UpdateOf(1), Decode(spec, 2, payload)),
              0.2 * InnerOf(UpdateOf(1), UpdateOf(1)))
        << codec;
  }
}

// What was decoded of five rounds and what is left of them is what was trained in them.
TEST_F(UpdateEncoderTest, NothingIsLostOverRounds) {
  for (const char* codec : {"top-k", "public-top-k", "random-k", "fed-obd"}) {
    JobSpec spec = CodedSpec(codec);
    auto residuals = std::shared_ptr<ResidualStore>(MakeMemoryResidualStore());
    encoder_ = UpdateEncoder(residuals, SeededRounding());
    ParameterSet difference(Encoded());
    for (uint64_t round = 1; round <= 5; ++round) {
      Add(difference, UpdateOf(round), 1);
      Add(difference, Decode(spec, round, Encode(spec, round, UpdateOf(round))), -1);
      encoder_.Accepted(Round(round));
    }
    const std::optional<ParameterSet> rest = residuals->Take(Round(6), NameOfState(6), Encoded());
    ASSERT_TRUE(rest.has_value()) << codec;
    EXPECT_GT(SquaresOf(*rest), 1) << codec;
    Add(difference, *rest, -1);
    EXPECT_LT(SquaresOf(difference), 1e-8) << codec;
  }
}

TEST_F(UpdateEncoderTest, ARepeatedTaskSendsTheSameBytesAndALostOneIsNotCounted) {
  const JobSpec spec = CodedSpec("top-k");
  const std::string first = Encode(spec, 1, UpdateOf(1));
  EXPECT_EQ(first, Encode(spec, 1, UpdateOf(1)));
  encoder_.Accepted(Round(1));
  EXPECT_EQ(first, Encode(spec, 1, UpdateOf(1)));
  const std::string second = Encode(spec, 2, UpdateOf(2));
  EXPECT_EQ(Encode(spec, 3, UpdateOf(2)), second);  // round 2 was refused
  encoder_.Accepted(Round(3));
  EXPECT_NE(Encode(spec, 4, UpdateOf(2)), second);
}

TEST_F(UpdateEncoderTest, NothingIsCarriedOverWhereItIsSwitchedOffOrNoiseIsAdded) {
  JobSpec off = CodedSpec("top-k");
  off.compression.error_feedback = false;
  JobSpec noise = CodedSpec("top-k");
  noise.privacy.mechanism = "central";
  for (const JobSpec& spec : {off, noise}) {
    const std::string first = Encode(spec, 1, UpdateOf(1));
    encoder_.Accepted(Round(1));
    EXPECT_EQ(first, Encode(spec, 2, UpdateOf(1)));
  }
}

TEST_F(UpdateEncoderTest, RoundingIsSecretUnlessItIsSeeded) {
  const JobSpec spec = CodedSpec("int2");
  EXPECT_EQ(Encode(spec, 1, UpdateOf(1)), Encode(spec, 1, UpdateOf(1)));
  encoder_ = UpdateEncoder();
  EXPECT_NE(Encode(spec, 1, UpdateOf(1)), Encode(spec, 1, UpdateOf(1)));  // 100 numbers of 2 bits
}

TEST_F(UpdateEncoderTest, AnUpdateThatIsNotFiniteIsAnError) {
  ParameterSet bad = UpdateOf(1);
  bad.floats(1)[3] = std::nanf("");
  for (const char* codec : {"int8", "bf16", "top-k"}) {
    const auto bytes =
        encoder_.Encode(CodedSpec(codec), Round(1), {state_, NameOfState(1)}, bad, {});
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument) << codec;
  }
}

}  // namespace
}  // namespace rivulet

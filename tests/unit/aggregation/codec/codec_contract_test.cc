#include <limits>
#include <numeric>

#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

// A codec with settings that suit a few thousand numbers, and how far it may be off.
struct ContractCase {
  std::string label;
  CodecSettings settings;
  double nmse;  // most squared error over squared norm, for normal numbers
};

std::vector<ContractCase> ContractCases() {
  std::vector<ContractCase> cases = {
      {"none", {.name = "none"}, 0},
      {"bf16", {.name = "bf16"}, 0x1p-16},
      {"fp16", {.name = "fp16"}, 0x1p-22 + 1e-6},
      // absmax is about 3 sigma of 256, s = 3 / 127 sigma; variance at most s^2 / 4.
      {"int8", {.name = "int8"}, 2e-4},
      {"int4", {.name = "int4"}, 0.05},
      {"int2", {.name = "int2"}, 1.0},
      {"sign", {.name = "sign", .block = 64}, 0.75},  // 1 - 2 / pi, and uneven scales
      {"top_k", {.name = "top-k", .fraction = 0.1}, 0.9},
      {"top_k_fp16", {.name = "top-k", .fraction = 0.1, .values = "fp16"}, 0.9},
      {"random_k", {.name = "random-k", .fraction = 0.1, .values = "f32"}, 14},  // d / k - 1 = 9
      {"public_top_k", {.name = "public-top-k", .fraction = 0.1}, 1},
      {"rotate_lattice", {.name = "rotate-lattice"}, 3e-4},
      {"rotate_lattice_5", {.name = "rotate-lattice", .bits = 5, .block_log2 = 7}, 0.03},
      {"rotate_lattice_bound", {.name = "rotate-lattice", .bits = 12, .bound = 0.1}, 1e-3},
      {"drive", {.name = "drive", .block_log2 = 9}, 0.7},
      {"eden", {.name = "eden"}, 0.17},
      {"eden_4", {.name = "eden", .bits = 4, .block_log2 = 8}, 0.015},
      {"low_rank", {.name = "low-rank"}, 1},
      {"count_sketch", {.name = "count-sketch", .rows = 3, .columns = 400}, 9},
      {"fed_obd", {.name = "fed-obd"}, 0.01},
  };
  const size_t plain = cases.size();
  for (size_t at = 0; at < plain; ++at) {
    cases.push_back(cases[at]);
    cases.back().label += "_zstd";
    cases.back().settings.zstd = true;
  }
  return cases;
}

class CodecContract : public testing::TestWithParam<ContractCase> {
 protected:
  CodecContract() : codec_(CodecFor(GetParam().settings)) {
    blocks_.resize(manifest_.size());
    std::iota(blocks_.begin(), blocks_.end(), 0u);
  }

  // A fresh source of rounding words for each encoding.
  CodecContext Context() {
    rounding_ = SeededRounding(7);
    return {.root = 11, .round = 3, .blocks = blocks_, .rounding = &rounding_};
  }
  CodecContext ContextFor(const Manifest& manifest) {
    CodecContext context = Context();
    context.blocks = context.blocks.first(manifest.size());
    return context;
  }
  std::string Encoded(const ParameterSet& update) {
    auto payload = codec_->Encode(update, ContextFor(update.manifest()));
    EXPECT_TRUE(payload.ok()) << payload.status();
    return payload.value_or("");
  }
  absl::Status DecodeStatus(std::string_view payload) {
    ParameterSet out(manifest_);
    return codec_->Decode(payload, Context(), out);
  }

  Manifest manifest_ = AwkwardManifest();
  std::unique_ptr<Codec> codec_;
  std::vector<uint32_t> blocks_;
  SeededRounding rounding_{7};
};

TEST_P(CodecContract, DecodesWithinItsErrorAndItsLength) {
  const ParameterSet update = NormalUpdate(manifest_, 1);
  const std::string payload = Encoded(update);
  EXPECT_LE(payload.size(), codec_->MaxEncodedBytes(manifest_));
  const ParameterSet decoded = Decoded(*codec_, payload, manifest_, Context());
  const std::vector<float> want = FlatCopy(update), got = FlatCopy(decoded);
  EXPECT_LE(SquaredDistance(want, got), GetParam().nmse * SquaresOf(want));
  EXPECT_EQ(codec_->name(), GetParam().settings.name);
  EXPECT_FALSE(codec_->traits().error_bound.empty());
}

TEST_P(CodecContract, EqualInputsGiveEqualBytes) {
  const ParameterSet update = NormalUpdate(manifest_, 2);
  EXPECT_EQ(Encoded(update), Encoded(update));
}

TEST_P(CodecContract, EveryTruncationIsRefused) {
  const std::string payload = Encoded(NormalUpdate(manifest_, 3));
  for (size_t size = 0; size < payload.size(); ++size) {
    const absl::Status status = DecodeStatus(payload.substr(0, size));
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size << " " << status;
  }
}

TEST_P(CodecContract, WhatFollowsThePayloadIsRefused) {
  const std::string payload = Encoded(NormalUpdate(manifest_, 3));
  for (const size_t more : {1, 2, 3, 4, 8, 1000}) {
    const absl::Status status = DecodeStatus(payload + std::string(more, '\0'));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << more << " " << status;
  }
}

TEST_P(CodecContract, EveryChangedHeaderByteIsRefusedOrHarmless) {
  const std::string payload = Encoded(NormalUpdate(manifest_, 3));
  for (size_t at = 0; at < 32; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = payload;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const absl::Status status = DecodeStatus(changed);
      // Whether there was a residual is for the client to say.
      const bool feedback = at == 6 && bit == 1 && codec_->traits().feedback;
      ASSERT_EQ(status.code(),
                feedback ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument)
          << at << " " << bit << " " << status;
    }
  }
}

TEST_P(CodecContract, ChangedBytesAreRefusedOrDecodeToFiniteNumbers) {
  const std::string payload = Encoded(NormalUpdate(manifest_, 4));
  RandomCursor cursor(RandomStream(5, Purpose::kSampling, 0));
  for (int repeat = 0; repeat < 300; ++repeat) {
    std::string changed = payload;
    const uint32_t places = 1 + cursor.Bounded(4);
    for (uint32_t place = 0; place < places; ++place) {
      const auto at = 32 + cursor.Bounded(static_cast<uint32_t>(payload.size() - 32));
      changed[at] = static_cast<char>(cursor.Next());
    }
    ParameterSet out(manifest_);
    const absl::Status status = codec_->Decode(changed, Context(), out);
    if (status.ok()) {
      ASSERT_TRUE(CheckFinite(out).ok());
    } else {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    }
  }
}

TEST_P(CodecContract, NotANumberIsRefusedByName) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
        std::numeric_limits<float>::infinity()}) {
    ParameterSet update = NormalUpdate(manifest_, 5);
    update.floats(3)[17] = bad;
    const auto payload = codec_->Encode(update, Context());
    ASSERT_EQ(payload.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(payload.status().message().find("d"), std::string::npos) << payload.status();
    EXPECT_NE(payload.status().message().find("17"), std::string::npos) << payload.status();
  }
}

TEST_P(CodecContract, TooLargeNumbersAreRefused) {
  ParameterSet update = NormalUpdate(manifest_, 5);
  update.floats(0)[1] = 0x1p41f;
  EXPECT_EQ(codec_->Encode(update, Context()).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_P(CodecContract, ZerosDecodeToZeros) {
  const ParameterSet update(manifest_);
  const std::string payload = Encoded(update);
  EXPECT_LE(payload.size(), codec_->MaxEncodedBytes(manifest_));
  for (const float value : FlatCopy(Decoded(*codec_, payload, manifest_, Context()))) {
    // A lattice of public scale stores no scale of its own, and its rounding of 0 is exact.
    ASSERT_EQ(value, 0.0f);
  }
}

TEST_P(CodecContract, EmptyAndTinyUpdatesTravel) {
  for (const Manifest& manifest :
       {Manifest{}, VectorOf(0), VectorOf(1), VectorOf(2), VectorOf(9)}) {
    ParameterSet update(manifest);
    if (!manifest.empty()) std::fill(update.floats(0).begin(), update.floats(0).end(), 0.0625f);
    const std::string payload = Encoded(update);
    EXPECT_LE(payload.size(), codec_->MaxEncodedBytes(manifest));
    const ParameterSet decoded = Decoded(*codec_, payload, manifest, ContextFor(manifest));
    EXPECT_TRUE(CheckFinite(decoded).ok());
    for (size_t size = 0; size < payload.size(); ++size) {
      ParameterSet out(manifest);
      EXPECT_FALSE(codec_->Decode(payload.substr(0, size), ContextFor(manifest), out).ok());
    }
  }
}

TEST_P(CodecContract, AnotherManifestIsRefused) {
  const std::string payload = Encoded(NormalUpdate(manifest_, 6));
  Manifest other = manifest_;
  other[0].shape = {30, 40};
  ParameterSet out(other);
  EXPECT_EQ(codec_->Decode(payload, Context(), out).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(CodecContract, OtherElementTypesAreRefusedByName) {
  Manifest other = manifest_;
  other[2].dtype = DType::kF16;
  const auto payload = codec_->Encode(ParameterSet(other), Context());
  EXPECT_EQ(payload.status().message(), "c: got dtype F16, want F32");
  ParameterSet out(other);
  EXPECT_EQ(codec_->Decode("", Context(), out).message(), "c: got dtype F16, want F32");
}

TEST_P(CodecContract, StochasticCodecsWantARoundingSource) {
  CodecContext context = Context();
  context.rounding = nullptr;
  // random-k is unbiased, and stochastic for int8 values, only without a residual.
  const bool refused = !codec_->Encode(NormalUpdate(manifest_, 7), context).ok();
  EXPECT_EQ(refused, codec_->traits().stochastic);
}

TEST_P(CodecContract, APreviousAggregateOfAnotherManifestIsRefused) {
  const ParameterSet other(VectorOf(3));
  CodecContext context = Context();
  context.previous = &other;
  EXPECT_EQ(codec_->Encode(NormalUpdate(manifest_, 7), context).status().code(),
            absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(All, CodecContract, testing::ValuesIn(ContractCases()),
                         [](const auto& each) { return each.param.label; });

TEST(Codecs, EveryNameIsCoveredByTheContract) {
  for (const std::string_view name : CodecNames()) {
    const std::vector<ContractCase> cases = ContractCases();
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [name](const ContractCase& each) {
      return each.settings.name == name;
    })) << name;
  }
}

TEST(Codecs, UnknownNamesListTheKnownOnes) {
  const auto codec = MakeCodec({.name = "gzip"});
  EXPECT_EQ(codec.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(codec.status().message().find("rotate-lattice"), std::string::npos);
}

TEST(Codecs, SettingsOutOfRangeAreNamed) {
  const std::pair<CodecSettings, std::string> cases[] = {
      {{.name = "top-k", .fraction = 0}, "fraction"},
      {{.name = "top-k", .fraction = std::nan("")}, "fraction"},
      {{.name = "top-k", .values = "f8"}, "values"},
      {{.name = "int8", .block = 100}, "block"},
      {{.name = "sign", .block = 12}, "block"},
      {{.name = "low-rank", .rank = 0}, "rank"},
      {{.name = "count-sketch", .rows = 4}, "rows"},
      {{.name = "count-sketch", .columns = 1u << 27}, "columns"},
      {{.name = "rotate-lattice", .bits = 17}, "bits"},
      {{.name = "eden", .bits = 5}, "bits"},
      {{.name = "drive", .block_log2 = 21}, "block-log2"},
      {{.name = "rotate-lattice", .bound = -1}, "bound"},
      {{.name = "fed-obd", .size_weight = 2}, "size-weight"},
  };
  for (const auto& [settings, field] : cases) {
    const auto codec = MakeCodec(settings);
    ASSERT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_NE(codec.status().message().find("compression." + field), std::string::npos)
        << codec.status();
  }
}

}  // namespace
}  // namespace rivulet

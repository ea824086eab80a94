#include <gtest/gtest.h>

#include "privacy/secagg/shared/bytes.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

namespace rivulet::secagg {
namespace {

template <typename Set>
Set SomeOf(uint32_t n) {
  Set set(n);
  for (uint32_t index = 0; index < n; index += 3) set.Insert(index);
  return set;
}

// One of every kind, in the order of their numbers.
std::vector<Message> OneOfEach() {
  const Bytes32 id{1, 2, 3};
  RosterEntry entry{.fingerprint = {9}, .signature = {8}};
  AddressedShare share{.peer = 7};
  share.sealed[101] = 5;
  const MaskedTrailer trailer{.sid = id, .packed_bytes = 39, .failed = SomeOf<FailedSet>(9)};
  return {
      Parameters{.params = SmallParams()},
      Advertisement{.sid0 = id, .entry = entry},
      Roster{
          .sid0 = id, .rule = {.kind = 0, .k = 3, .t = 3, .quorum = 3}, .entries = {entry, entry}},
      Reveal{.sid = id, .nonce = {4}},
      Nonces{.sid = id, .nonces = {Bytes32{1}, std::nullopt, Bytes32{2}}},
      Shares{.sid = id, .shares = {share, share}},
      Forward{.sid = id, .u2 = SomeOf<U2Set>(10), .shares = {share}},
      MaskedHeader{.sid = id, .index = 3, .packed_bytes = 1u << 31},
      trailer,
      SurvivorSet{.sid = id, .u2 = SomeOf<U2Set>(8), .u3 = SomeOf<U3Set>(8)},
      Endorsement{.sid = id, .signature = {6}},
      Endorsements{.sid = id, .endorsers = {{1, {2}}, {3, {4}}}},
      UnmaskRequest{.sid = id, .u2 = SomeOf<U2Set>(17), .u3 = SomeOf<U3Set>(17)},
      Unmask{.sid = id, .shares = {{2, ShareKind::kMaskSecret, Secret32(Bytes32{3})}}},
      Abort{.id = id, .reason = Reason::kQuorum},
      Commitment{.pool = id, .entry = {.fingerprint = {9}, .signature = {8}}},
      Pool{.pool = id, .entries = {{.fingerprint = {9}}, {.nonce_commitment = {7}}}}};
}

TEST(Messages, ComeBackAsTheyWereSent) {
  const auto messages = OneOfEach();
  ASSERT_EQ(messages.size(), std::variant_size_v<Message>);
  for (size_t kind = 0; kind < messages.size(); ++kind) {
    const std::string bytes = Encode(messages[kind]);
    EXPECT_EQ(static_cast<size_t>(bytes[0]), kind + 1);
    const auto decoded = DecodeMessage(bytes);
    ASSERT_TRUE(decoded.ok()) << kind << decoded.status();
    EXPECT_EQ(decoded->index(), kind);
    EXPECT_EQ(Encode(*decoded), bytes);
  }
}

// By hand from the layouts: kind, id, then the fields.
TEST(Messages, HaveTheSizesOfTheirLayouts) {
  const size_t expected[] = {151,
                             257,
                             50 + 448,
                             65,
                             33 + 4 + 1 + 64,
                             37 + 212,
                             33 + 6 + 4 + 106,
                             45,
                             33 + 104 + 4 + 2,
                             33 + 10,
                             97,
                             37 + 136,
                             33 + 14,
                             37 + 37,
                             34,
                             33 + 128,
                             37 + 256};
  const auto messages = OneOfEach();
  for (size_t kind = 0; kind < messages.size(); ++kind)
    EXPECT_EQ(Encode(messages[kind]).size(), expected[kind]) << kind;
}

TEST(Messages, AreRefusedWhenCutOrLonger) {
  for (const Message& message : OneOfEach()) {
    const std::string bytes = Encode(message);
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_EQ(DecodeMessage(bytes.substr(0, length)).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
    EXPECT_FALSE(DecodeMessage(bytes + std::string(1, '\0')).ok());
  }
}

TEST(Messages, OfUnknownKindOrReasonAreRefused) {
  EXPECT_FALSE(DecodeMessage("").ok());
  for (const int kind : {0, 18, 255}) {
    std::string bytes(34, '\1');
    bytes[0] = static_cast<char>(kind);
    EXPECT_FALSE(DecodeMessage(bytes).ok());
  }
  std::string abort = Encode(Abort{.reason = Reason::kGroup});
  abort.back() = 22;
  EXPECT_FALSE(DecodeMessage(abort).ok());
  abort.back() = 0;
  EXPECT_FALSE(DecodeMessage(abort).ok());
  std::string unmask = Encode(Unmask{.shares = {{0, ShareKind::kMaskSecret, Secret32()}}});
  unmask[33 + 4 + 4] = 2;
  EXPECT_FALSE(DecodeMessage(unmask).ok());
  EXPECT_FALSE(Decode<Roster>(Encode(Reveal{})).ok());
}

TEST(Messages, BitsBehindTheLastMemberAreRefused) {
  std::string bytes = Encode(SurvivorSet{.u2 = U2Set(10), .u3 = U3Set(10)});
  bytes.back() = 4;
  EXPECT_FALSE(DecodeMessage(bytes).ok());
  bytes.back() = 2;
  EXPECT_TRUE(DecodeMessage(bytes).ok());
}

TEST(Messages, CountsAreBounded) {
  // A count that the bytes cannot hold, and sets wider than any roster.
  std::string shares = Encode(Shares{});
  for (size_t at = 33; at < 37; ++at) shares[at] = static_cast<char>(0xff);
  EXPECT_FALSE(DecodeMessage(shares).ok());
  EXPECT_TRUE(DecodeMessage(Encode(UnmaskRequest{.u2 = U2Set(5000), .u3 = U3Set(5000)})).ok());
  EXPECT_FALSE(DecodeMessage(Encode(UnmaskRequest{.u2 = U2Set(5001), .u3 = U3Set(5001)})).ok());
  EXPECT_TRUE(DecodeMessage(Encode(Endorsements{.endorsers = std::vector<Endorser>(5000)})).ok());
  EXPECT_FALSE(DecodeMessage(Encode(Endorsements{.endorsers = std::vector<Endorser>(5001)})).ok());
}

// Sizes whose bytes would be counted as none if n + 7 wrapped: no bitmap follows them.
TEST(Messages, SetsNearTheLargestNumberAreRefused) {
  for (const MessageKind kind :
       {MessageKind::kNonces, MessageKind::kForward, MessageKind::kMaskedTrailer,
        MessageKind::kSurvivorSet, MessageKind::kUnmaskRequest}) {
    const size_t before = kind == MessageKind::kMaskedTrailer ? 33 + 8 + 32 + 64 : 33;
    for (uint32_t n = 0xffffffe0; n != 0; ++n) {
      ByteWriter out;
      out.U8(static_cast<uint8_t>(kind)).Raw(std::string(before - 1, '\0')).U32(n);
      EXPECT_EQ(DecodeMessage(out.Take()).status().code(), absl::StatusCode::kInvalidArgument) << n;
      IndexBits set;
      EXPECT_EQ(set.Assign(n, "").code(), absl::StatusCode::kInvalidArgument) << n;
      EXPECT_EQ(IndexBits::BytesOf(n), uint64_t{n} / 8 + (n % 8 != 0)) << n;
    }
  }
}

TEST(Reasons, KeepTheirNumbersAndNames) {
  const char* names[] = {"POLICY",
                         "PARAMS",
                         "MODEL_MISMATCH",
                         "ROSTER_SELF",
                         "ROSTER_SIGNATURE",
                         "ROSTER_DUPLICATE",
                         "ROSTER_SMALL",
                         "GRAPH",
                         "NONCE",
                         "SHARE_OPEN",
                         "U2",
                         "U3",
                         "QUORUM",
                         "SECOND_U3",
                         "ALREADY_REVEALED",
                         "DEADLINE",
                         "LOW_ORDER",
                         "RANGE",
                         "CHECKSUM",
                         "RECONSTRUCT",
                         "GROUP"};
  for (uint8_t number = 1; number <= 21; ++number) {
    const auto reason = ReasonFrom(number);
    ASSERT_TRUE(reason.has_value());
    EXPECT_EQ(NameOf(*reason), names[number - 1]);
    const absl::Status status = RefuseFor(*reason, "because");
    EXPECT_EQ(ReasonOf(Annotate(status, "somewhere")), reason);
    EXPECT_EQ(status.message(), std::string(names[number - 1]) + ": because");
  }
  EXPECT_EQ(ReasonFrom(0), std::nullopt);
  EXPECT_EQ(ReasonFrom(22), std::nullopt);
  EXPECT_EQ(ReasonOf(absl::InternalError("x")), std::nullopt);
}

// The table of the protocol's section 8.3.
TEST(RingWidths, AreThoseOfTheTable) {
  struct Row {
    uint8_t p;
    uint32_t W;
    uint32_t b[5];
  };
  const uint32_t n_max[] = {10, 64, 100, 256, 1000};
  for (const Row& row : {Row{8, 1, {14, 16, 17, 18, 20}}, Row{12, 1, {18, 20, 21, 22, 24}},
                         Row{16, 1, {22, 24, 25, 26, 28}}, Row{8, 255, {22, 24, 25, 26, 28}},
                         Row{12, 255, {26, 28, 29, 30, 32}}}) {
    for (size_t column = 0; column < 5; ++column) {
      Params params = SmallParams();
      params.p = row.p;
      params.W = row.W;
      params.n_max = n_max[column];
      EXPECT_EQ(RingBits(params), row.b[column]) << int(row.p) << " " << row.W;
      params.b = static_cast<uint8_t>(row.b[column]);
      EXPECT_TRUE(Check(params).ok()) << Check(params);
      for (const int off : {-1, 1}) {
        params.b = static_cast<uint8_t>(row.b[column] + off);
        EXPECT_EQ(ReasonOf(Check(params)), Reason::kParams);
      }
      // A quarter of the ring is enough for every valid sum.
      EXPECT_LT(LargestSum(params, params.n_max), uint64_t{1} << (row.b[column] - 3));
    }
  }
}

TEST(RingWidths, WithDistributedNoiseLeaveTwoBits) {
  Params params = SmallParams();
  params.dp = Noise::kGaussian;
  params.p = 20;
  params.b = 22;
  EXPECT_TRUE(Check(params).ok()) << Check(params);
  EXPECT_EQ(LargestSum(params, 4), (1u << 20) - 1);
  params.W = 2;
  EXPECT_EQ(ReasonOf(Check(params)), Reason::kParams);
  params.W = 1;
  params.b = 23;
  EXPECT_EQ(ReasonOf(Check(params)), Reason::kParams);
  params.p = 8;  // 2^16 >= 16 n up to n = 4096
  params.b = 10;
  params.n_max = 4096;
  EXPECT_TRUE(Check(params).ok()) << Check(params);
  params.n_max = 4097;
  EXPECT_EQ(ReasonOf(Check(params)), Reason::kParams);
}

TEST(ParameterChecks, NameTheFieldThatIsWrong) {
  const auto refuses = [](auto change, std::string_view field) {
    Params params = SmallParams();
    change(params);
    const absl::Status status = Check(params);
    EXPECT_EQ(ReasonOf(status), Reason::kParams) << field;
    EXPECT_NE(status.message().find(absl::string_view(field.data(), field.size())),
              absl::string_view::npos)
        << status;
  };
  refuses([](Params& p) { p.version = 2; }, "version");
  refuses([](Params& p) { p.attempt = 8; }, "attempt");
  refuses([](Params& p) { p.d = 0; }, "d:");
  refuses([](Params& p) { p.d_aux = 4; }, "d_aux");
  refuses([](Params& p) { p.n_min = 2; }, "n_min");
  refuses([](Params& p) { p.n_max = 5001; }, "n_max");
  refuses([](Params& p) { p.n_max = 2; }, "n_max");
  refuses([](Params& p) { p.gamma_ppm = 0; }, "gamma_ppm");
  refuses([](Params& p) { p.gamma_ppm = 500'001; }, "gamma_ppm");
  refuses([](Params& p) { p.delta_ppm = 1'000'000; }, "delta_ppm");
}

TEST(ParameterBytes, AreReadBackAndNothingElseIs) {
  const Params params = RingParams();
  const std::string bytes = CanonicalBytes(params);
  EXPECT_EQ(bytes.size(), 150u);
  EXPECT_EQ(ParseParams(bytes).value(), params);
  EXPECT_FALSE(ParseParams(bytes + "x").ok());
  EXPECT_FALSE(ParseParams(bytes.substr(0, 149)).ok());
  for (const size_t enumeration : {4 + 11 + 0, 127, 128, 145}) {  // version, mode, dp, graph
    std::string altered = bytes;
    altered[enumeration] = 9;
    EXPECT_FALSE(ParseParams(altered).ok()) << enumeration;
  }
}

// Every field is bound: another value, another identifier.
TEST(ParameterBytes, EveryByteChangesTheIdentifier) {
  const std::string bytes = CanonicalBytes(SmallParams());
  const Bytes32 sid0 = Sid0(SmallParams());
  for (size_t at = 15; at < bytes.size(); ++at) {
    std::string altered = bytes;
    altered[at] ^= 1;
    const auto params = ParseParams(altered);
    if (!params.ok()) continue;
    EXPECT_NE(Sid0(*params), sid0) << at;
  }
}

// 2 t > s + c and 2 T_g > n + c, strictly: neither halves of the holders nor halves of the roster
// that are told different things reach a threshold, with all corrupt members on both sides.
TEST(Thresholds, AreAboveHalfOfAllHonestMembers) {
  for (uint32_t n = 4; n <= 256; ++n) {
    const GraphRule rule = SmallParams().RuleOf(n).value();
    EXPECT_GT(2 * rule.t, n + rule.corrupt);
    EXPECT_GT(2 * rule.quorum, n + rule.corrupt);
  }
  for (uint32_t n = 80; n <= 1000; ++n) {
    Params params = RingParams();
    params.gamma_ppm = 100'000;
    params.delta_ppm = 200'000;
    const GraphRule rule = params.RuleOf(n).value();
    ASSERT_EQ(rule.kind, kRingGraph);
    EXPECT_GT(2 * rule.t, rule.k + 1 + rule.corrupt);
    EXPECT_GT(2 * rule.quorum, n + CorruptClients(n, params.gamma_ppm));
  }
}

}  // namespace
}  // namespace rivulet::secagg

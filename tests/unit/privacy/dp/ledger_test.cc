#include "privacy/dp/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/noise_seed.h"
#include "tests/unit/privacy/dp/ledger_rows.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(LedgerRow, IsWrittenAndReadBackByteForByte) {
  std::vector<LedgerRow> rows = {CentralRow(1), DistributedRow(2), CentralRow(3, 1, 0.1 + 0.2)};
  rows[0].job = "with \"quotes\", \\ and \n and é";
  rows[0].tuning = true;
  rows[2].unit = PrivacyUnit::kExample;
  rows.push_back(CentralRow(4, 1));
  rows.back().mechanism = DpMechanism::kTree;
  rows.back().steps = 100;
  rows.back().max_participation = 3;
  rows.back().min_separation = 31;
  rows.push_back(CentralRow(5, 1));
  rows.back().mechanism = DpMechanism::kBanded;
  rows.back().relation = RelationName::kAddRemoveOne;
  for (const LedgerRow& row : rows) {
    const auto read = LedgerRowFrom(ToJson(row));
    ASSERT_TRUE(read.ok()) << read.status() << ToJson(row);
    EXPECT_EQ(*read, row);
    EXPECT_EQ(ToJson(*read), ToJson(row));
  }
}

TEST(LedgerRow, ItsTextIsThis) {
  EXPECT_EQ(ToJson(CentralRow(7)),
            R"({"job":"a job","data_set":"letters","tuning":false,"mechanism":"central-gaussian",)"
            R"("unit":"client","relation":"add-remove-one","round":7,"survivors":12,"n_eff":0,)"
            R"("n_max":0,"values":1048576,"accumulator_bits":0,"steps":1,"max_participation":0,)"
            R"("min_separation":0,"q":0.1,"z":1,"z_delta":1,"clip_norm":0.5,"sigma_int":8389120,)"
            R"("scale":16777216,"norm_bound":0,"delta":1e-05,"eps_pld":0.123456789012345,)"
            R"("eps_rdp":0.2,"seed_commitment":")" +
                std::string(64, 'a') + R"(","code_version":"0.2.0","vectors_sha256":")" +
                std::string(64, '0') + "\"}");
}

TEST(LedgerRow, AnyOtherWritingIsRefused) {
  const std::string text = ToJson(CentralRow(7));
  const std::vector<std::string> others = {
      "",
      "{}",
      "[]",
      "nonsense",
      text + " ",
      " " + text,
      text + text,
      Replaced(text, ":7,", ": 7,"),
      Replaced(text, "\"round\":7", "\"round\":7.0"),
      Replaced(text, "\"round\":7", "\"round\":-7"),
      Replaced(text, "\"round\":7", "\"round\":\"7\""),
      Replaced(text, "\"q\":0.1", "\"q\":0.10"),
      Replaced(text, "\"q\":0.1", "\"q\":1.1"),
      Replaced(text, "\"q\":0.1,", ""),
      Replaced(text, "\"q\":0.1", "\"q\":0.1,\"q\":0.1"),
      Replaced(text, "\"q\":0.1", "\"q\":0.1,\"w\":1"),
      Replaced(text, "\"job\":\"a job\",\"data_set\":\"letters\"",
               "\"data_set\":\"letters\",\"job\":\"a job\""),
      Replaced(text, "add-remove-one", "remove-one"),
      Replaced(text, "central-gaussian", "central-laplace"),
      Replaced(text, "\"client\"", "\"person\""),
      Replaced(text, "aaaa", "AAAA"),
      Replaced(text, "aaaa", "aaa"),
      Replaced(text, "1e-05", "1e400"),
      Replaced(text, "1e-05", "0"),
      Replaced(text, "false", "0"),
      Replaced(text, "a job", std::string(5000, 'j')),
  };
  for (const std::string& other : others) {
    EXPECT_FALSE(LedgerRowFrom(other).ok()) << other.substr(0, 300);
  }
}

TEST(LedgerRow, SamplingIsClaimedOnlyWhereItAmplifies) {
  LedgerRow row = DistributedRow(1);
  ASSERT_TRUE(row.Validate().ok());
  row.q = 0.1;
  EXPECT_THAT(std::string(row.Validate().message()), HasSubstr("ledger row: q"));
  row = CentralRow(1, 0.1);
  row.relation = RelationName::kReplaceOne;
  EXPECT_FALSE(row.Validate().ok());
  row.q = 1;
  EXPECT_TRUE(row.Validate().ok());
  row = CentralRow(1, 0.1);
  row.mechanism = DpMechanism::kBanded;
  EXPECT_FALSE(row.Validate().ok());
}

TEST(LedgerRow, NumbersThatAreNoneAreRefused) {
  for (const double bad : {std::nan(""), HUGE_VAL, -1.0}) {
    LedgerRow row = CentralRow(1);
    row.eps_pld = bad;
    EXPECT_FALSE(row.Validate().ok());
    row = CentralRow(1);
    row.z = bad;
    EXPECT_FALSE(row.Validate().ok());
  }
  LedgerRow row = CentralRow(1);
  row.data_set.clear();
  EXPECT_FALSE(row.Validate().ok());
  row = DistributedRow(1);
  row.sigma_int = 0;
  EXPECT_FALSE(row.Validate().ok());
  row = DistributedRow(1);
  row.n_eff = 65;
  EXPECT_FALSE(row.Validate().ok());
}

TEST(LedgerRow, NamesTheSeedAndDoesNotHoldIt) {
  const NoiseSeed seed = *NoiseSeed::FromStored("0123456789abcdef0123456789abcdef");
  LedgerRow row = CentralRow(1);
  row.seed_commitment = seed.Commitment();
  EXPECT_THAT(ToJson(row), HasSubstr(seed.Commitment()));
  EXPECT_THAT(ToJson(row), testing::Not(HasSubstr(std::string(seed.SecretForStorage()))));
  EXPECT_THAT(ToJson(row), testing::Not(HasSubstr("30313233343536373839616263646566")));
}

}  // namespace
}  // namespace rivulet

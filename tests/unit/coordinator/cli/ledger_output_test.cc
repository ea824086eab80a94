#include "coordinator/cli/ledger_output.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/unit/privacy/dp/ledger_rows.h"

namespace rivulet {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

v1::LedgerReply TwoReleases() {
  v1::LedgerReply reply;
  for (const int64_t round : {1, 2}) {
    LedgerRow row = CentralRow(round);
    row.eps_pld = static_cast<double>(round) + 0.1234;
    row.eps_rdp = static_cast<double>(round) + 0.5;
    v1::LedgerReply::Row& wire = *reply.add_rows();
    wire.set_row(ToJson(row));
    wire.set_target_epsilon(8);
  }
  return reply;
}

// Both accountants' epsilon, rounded up, and the spent one of each data set at the end.
TEST(LedgerOutput, EveryReleaseHasItsSurvivorsAndBothEpsilons) {
  const auto table = LedgerTable(TwoReleases());
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(*table, HasSubstr("SURVIVORS      CLIP       Z    EPSILON      (RDP)  DELTA\n"));
  EXPECT_THAT(*table, HasSubstr("       12       0.5       1      1.124      1.500  1e-05\n"));
  EXPECT_THAT(*table, HasSubstr("       12       0.5       1      2.124      2.500  1e-05\n"));
  EXPECT_THAT(*table, HasSubstr("\ndata set letters: epsilon 2.124 at delta 1e-05 of 8\n"));
}

TEST(LedgerOutput, ATargetThatNoJobHasAnyMoreIsNotShown) {
  v1::LedgerReply reply = TwoReleases();
  reply.mutable_rows(1)->set_target_epsilon(0);
  EXPECT_THAT(*LedgerTable(reply), HasSubstr("epsilon 2.124 at delta 1e-05\n"));
  const json items = json::parse(*LedgerJson(reply))["items"];
  EXPECT_EQ(items[0]["target_epsilon"], 8);
  EXPECT_FALSE(items[1].contains("target_epsilon"));
}

TEST(LedgerOutput, TheDocumentHoldsTheRowsAsTheyAreStored) {
  v1::LedgerReply reply = TwoReleases();
  reply.set_left_out(3);
  const json document = json::parse(*LedgerJson(reply));
  EXPECT_EQ(document["kind"], "Ledger");
  EXPECT_EQ(document["left_out"], 3);
  ASSERT_EQ(document["items"].size(), 2u);
  EXPECT_EQ(document["items"][1]["eps_pld"], 2.1234);
  EXPECT_EQ(document["items"][1]["survivors"], 12);
}

TEST(LedgerOutput, ARowThatIsNoneIsAnErrorInBothForms) {
  v1::LedgerReply reply = TwoReleases();
  reply.mutable_rows(0)->set_row("{}");
  EXPECT_FALSE(LedgerTable(reply).ok());
  EXPECT_FALSE(LedgerJson(reply).ok());
}

}  // namespace
}  // namespace rivulet

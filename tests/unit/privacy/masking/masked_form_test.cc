#include "privacy/masking/masked_form.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

absl::Status FormOf(int clients, int groups) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.job.clients_per_round = clients;
  spec.robust.groups = groups;
  return MaskedForm::Of(spec, {{"a", DType::kF32, {300}}}).status();
}

TEST(MaskedFormOf, MoreClientsThanOneSessionHoldsAreRefused) {
  EXPECT_TRUE(FormOf(5000, 0).ok()) << FormOf(5000, 0);
  const absl::Status refused = FormOf(5001, 0);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(),
            "job.clients-per-round: got 5001, which puts 5001 clients into one masked sum; want at "
            "most 5000: fewer clients, or more of robust.groups");
}

TEST(MaskedFormOf, GroupsHoldSoManyEach) {
  EXPECT_TRUE(FormOf(15000, 3).ok()) << FormOf(15000, 3);
  EXPECT_FALSE(FormOf(15001, 3).ok());
}

}  // namespace
}  // namespace rivulet

#include "privacy/masking/masking_terms.h"

#include <gtest/gtest.h>

#include "privacy/masking/masked_form.h"

namespace rivulet {
namespace {

JobSpec MaskedJob() {
  JobSpec spec;
  spec.secure_aggregation.enabled = true;
  spec.strategy.weighting = "uniform";
  return spec;
}

// By hand from the protocol's rule: c = max(1, floor(0.1 n)), threshold and quorum
// floor((n + c) / 2) + 1, in semi-honest mode max(c + 1, floor(n / 2) + 1) and no quorum.
TEST(MaskingTerms, TheTextHasTheNumbersThatZerosStandFor) {
  JobSpec spec = MaskedJob();
  EXPECT_EQ(*MaskingTermsText(spec, 8),
            "8 clients a sum: neighbours 7, threshold 5, quorum 5, min-survivors 4");
  EXPECT_EQ(*MaskingTermsText(spec, 100),
            "100 clients a sum: neighbours 99, threshold 56, quorum 56, min-survivors 4");
  spec.job.min_clients = 6;
  spec.secure_aggregation.mode = "semi-honest";
  EXPECT_EQ(*MaskingTermsText(spec, 8),
            "8 clients a sum: neighbours 7, threshold 5, min-survivors 6");
}

// n = 1000 of the protocol's table: t = 163 among the neighbours; quorum (1000 + 100) / 2 + 1.
TEST(MaskingTerms, AboveTheLimitItIsTheRingOfTheTable) {
  const std::string text = *MaskingTermsText(MaskedJob(), 1000);
  EXPECT_NE(text.find(", threshold 163, quorum 551,"), std::string::npos) << text;
  EXPECT_EQ(text.find("neighbours 999"), std::string::npos) << text;
}

TEST(MaskingTerms, GroupsHaveTermsOfTheirOwn) {
  JobSpec spec = MaskedJob();
  spec.robust.rule = "median";
  spec.robust.groups = 3;
  EXPECT_EQ(*MaskingTermsText(spec, 18),
            "6 clients a sum: neighbours 5, threshold 4, quorum 4, min-survivors 5");
  EXPECT_EQ(*MaskingTermsText(spec, 19),
            "6 clients a sum: neighbours 5, threshold 4, quorum 4, min-survivors 5; "
            "7 clients a sum: neighbours 6, threshold 5, quorum 5, min-survivors 6");
}

TEST(MaskingTerms, OfTooFewClientsTheProtocolSaysSo) {
  EXPECT_FALSE(MaskingTermsText(MaskedJob(), 3).ok());
}

TEST(MaskingTerms, TheCommentIsOfTheCohortOrOfSomeSizes) {
  JobSpec spec = MaskedJob();
  spec.job.clients_per_round = 8;
  EXPECT_EQ(MaskingComment(spec),
            "\n# secure-aggregation, in force where a key is 0:\n"
            "# 8 clients a sum: neighbours 7, threshold 5, quorum 5, min-survivors 4\n");
  spec.job.clients_per_round = 0;
  spec.job.min_clients = 20;
  const std::string sizes = MaskingComment(spec);
  EXPECT_NE(sizes.find("\n# 20 clients a sum: neighbours 19, "), std::string::npos) << sizes;
  EXPECT_EQ(sizes.find("\n# 16 clients"), std::string::npos) << sizes;
  EXPECT_NE(sizes.find("\n# 1000 clients a sum: "), std::string::npos) << sizes;
  spec.secure_aggregation.enabled = false;
  EXPECT_EQ(MaskingComment(spec), "");
}

// What is told is what the sessions run with.
TEST(MaskingTerms, AreThoseOfTheSession) {
  const JobSpec spec = MaskedJob();
  const auto form = MaskedForm::Of(spec, {{"a", DType::kF32, {4}}});
  ASSERT_TRUE(form.ok()) << form.status();
  for (const uint32_t cohort : {8u, 100u, 1000u}) {
    const secagg::Params params = form->ParamsOf({.attempt = 1, .cohort = cohort});
    const auto rule = params.RuleOf(cohort);
    ASSERT_TRUE(rule.ok()) << rule.status();
    EXPECT_EQ(*MaskingTermsText(spec, cohort),
              std::to_string(cohort) + " clients a sum: neighbours " + std::to_string(rule->k) +
                  ", threshold " + std::to_string(rule->t) + ", quorum " +
                  std::to_string(rule->quorum) + ", min-survivors " + std::to_string(params.n_min));
  }
}

}  // namespace
}  // namespace rivulet

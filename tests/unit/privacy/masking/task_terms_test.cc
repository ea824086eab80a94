#include "privacy/masking/task_terms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "privacy/secagg/shared/messages.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

MaskedForm JobForm(bool adaptive) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.job.clients_per_round = 8;
  spec.privacy.mechanism = "central";
  spec.privacy.clip_norm = 2;
  spec.privacy.adaptive_clip = adaptive;
  return *MaskedForm::Of(spec, {{"a", DType::kF32, {300}}});
}

MaskedAttempt AttemptOf(uint32_t cohort) {
  return {"job", 3, 1, std::string(64, 'a'), "document", cohort};
}

std::string TermsOf(const MaskedForm& form) {
  return EncodeTaskTerms(form, secagg::Encode(secagg::Parameters{form.ParamsOf(AttemptOf(8))}));
}

TEST(TaskTerms, AClientTakesTheClipNormOfTheRound) {
  const MaskedForm job = JobForm(true);
  const auto terms = ReadTaskTerms(job, AttemptOf(0), TermsOf(job.OfRound(0.7)));
  ASSERT_TRUE(terms.ok()) << terms.status();
  EXPECT_EQ(terms->form.range(), 0.7);
  EXPECT_EQ(terms->params, job.OfRound(0.7).ParamsOf(AttemptOf(8)));
  EXPECT_EQ(terms->params.d_aux, 1 + 1 + secagg::kChecksums);
}

// The keys of an attempt are bound to it: two clients that are told others derive other masks.
TEST(TaskTerms, AnotherClipNormIsAnotherConfiguration) {
  const MaskedForm job = JobForm(true);
  EXPECT_NE(job.OfRound(0.7).ParamsOf(AttemptOf(8)).config_sha256,
            job.OfRound(std::nextafter(0.7, 1)).ParamsOf(AttemptOf(8)).config_sha256);
  std::string mixed = TermsOf(job.OfRound(0.7));
  const std::string other = TermsOf(job.OfRound(0.9));
  mixed.replace(mixed.size() - 8, 8, other, other.size() - 8, 8);
  EXPECT_THAT(ReadTaskTerms(job, AttemptOf(0), mixed).status().message(),
              HasSubstr("not those of the job's document"));
}

TEST(TaskTerms, AClipNormOutOfItsBoundsIsRefused) {
  const MaskedForm job = JobForm(true);
  for (const double wrong : {0.0, -1.0, 0.9e-4, 1001.0, HUGE_VAL, std::nan("")}) {
    const auto terms = ReadTaskTerms(job, AttemptOf(0), TermsOf(job.OfRound(wrong)));
    EXPECT_THAT(terms.status().message(), HasSubstr("want 0.0001..1000")) << wrong;
  }
  EXPECT_FALSE(ReadTaskTerms(job, AttemptOf(0), "").ok());
  EXPECT_FALSE(ReadTaskTerms(job, AttemptOf(0), "1234567").ok());
}

TEST(TaskTerms, WithoutAdaptiveClippingTheCoordinatorHasNoSay) {
  const MaskedForm job = JobForm(false);
  EXPECT_EQ(TermsOf(job.OfRound(0.7)), TermsOf(job));
  const auto terms = ReadTaskTerms(job, AttemptOf(0), TermsOf(job));
  ASSERT_TRUE(terms.ok()) << terms.status();
  EXPECT_EQ(terms->form.range(), 2);
  EXPECT_EQ(terms->params.d_aux, 1 + secagg::kChecksums);
  EXPECT_FALSE(ReadTaskTerms(job, AttemptOf(0), TermsOf(job) + std::string(8, '\0')).ok());
  EXPECT_FALSE(ReadTaskTerms(job, AttemptOf(0), TermsOf(JobForm(true).OfRound(2))).ok());
}

}  // namespace
}  // namespace rivulet

#include "common/job/validate_private.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "common/job/job_file.h"

namespace rivulet {
namespace {

struct PrivateCase {
  const char* name;
  std::vector<std::string> sets;
  const char* message;  // what the error must contain; "" = accepted
};
void PrintTo(const PrivateCase& shown, std::ostream* out) { *out << shown.name; }

absl::StatusOr<JobSpec> SpecWith(std::vector<std::string> sets) {
  sets.push_back("model.name=m");
  const bool held_out = std::any_of(sets.begin(), sets.end(), [](const std::string& set) {
    return set.starts_with("data.held-out-fraction");
  });
  if (!held_out) sets.push_back("data.held-out-fraction=0");
  RV_ASSIGN_OR_RETURN(const auto job, ParseJob("", "job.toml", {}, sets));
  return job.spec;
}

// "key = value and key = value: why; want ...", where a key may be a section; or, for a value that
// never works, "key: got value, want ...".
bool NamesKeysAndRemedy(const std::string& message) {
  static const std::regex clash(
      R"([a-z-]+\.[a-z-]+ = .* and ([a-z-]+\.[a-z-]+ = |\[[a-z]+\]).*: (.*[;,] )?(got .*)?want .+)");
  static const std::regex single(R"([a-z-]+\.[a-z-]+: got .*want .+)");
  return std::regex_search(message, clash) || std::regex_search(message, single);
}

TEST(PrivateUpload, ARefusalWithoutSecondKeyOrRemedyIsSeen) {
  EXPECT_TRUE(NamesKeysAndRemedy("a.b = 1 and c.d = \"x\": no; want b = 2"));
  EXPECT_TRUE(NamesKeysAndRemedy("a.b = 1 and [full]: no; want [lora]"));
  EXPECT_TRUE(NamesKeysAndRemedy("a.b: got 1, want 0: why"));
  EXPECT_FALSE(NamesKeysAndRemedy("a.b = 1: no; want b = 2"));
  EXPECT_FALSE(NamesKeysAndRemedy("a.b = 1 and c.d = 2: no"));
  EXPECT_FALSE(NamesKeysAndRemedy("a.b: got 1"));
}

class PrivateUploads : public testing::TestWithParam<PrivateCase> {};

TEST_P(PrivateUploads, RefusesWhatDoesNotComposeNamingBothKeysAndTheRemedy) {
  const auto spec = SpecWith(GetParam().sets);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const absl::Status status = spec->Validate();
  if (std::string(GetParam().message).empty()) {
    EXPECT_TRUE(status.ok()) << status;
    return;
  }
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_NE(std::string(status.message()).find(GetParam().message), std::string::npos) << status;
  EXPECT_TRUE(NamesKeysAndRemedy(std::string(status.message()))) << status;
}

INSTANTIATE_TEST_SUITE_P(
    All, PrivateUploads,
    testing::Values(
        PrivateCase{"masked_int8",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=int8"},
                    ""},
        PrivateCase{"masked_top_k",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=top-k"},
                    "want codec = \"public-top-k\""},
        PrivateCase{
            "masked_votes",
            {"secure-aggregation.enabled=true", "scalars.enabled=true", "scalars.combine=vote",
             "train.estimator=central", "train.optimizer=sgd", "train.max-steps=5",
             "compression.codec=sign", "compression.error-feedback=false"},
            ""},
        PrivateCase{"masked_votes_int8",
                    {"secure-aggregation.enabled=true", "scalars.enabled=true",
                     "scalars.combine=vote", "train.estimator=central", "train.optimizer=sgd",
                     "train.max-steps=5", "compression.codec=int8"},
                    "scalars.combine = \"vote\" and compression.codec = \"int8\""},
        PrivateCase{"masked_votes_rotated",
                    {"secure-aggregation.enabled=true", "scalars.enabled=true",
                     "scalars.combine=vote", "train.estimator=central", "train.optimizer=sgd",
                     "train.max-steps=5", "secure-aggregation.rotation=on"},
                    "scalars.combine = \"vote\" and secure-aggregation.rotation = \"on\""},
        PrivateCase{"masked_fed_obd",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=fed-obd"},
                    "each client chooses the bits of a tensor by its own update"},
        PrivateCase{"masked_bf16",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=bf16"},
                    "want codec = \"int8\""},
        PrivateCase{"masked_sign",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=sign"},
                    "want codec = \"int2\""},
        PrivateCase{"masked_drive",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=drive"},
                    ""},
        PrivateCase{"masked_drive_unrotated",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=drive", "secure-aggregation.rotation=off"},
                    "compression.codec = \"drive\" and secure-aggregation.rotation = \"off\""},
        PrivateCase{"masked_drive_capped",
                    {"secure-aggregation.enabled=true", "strategy.weighting=capped",
                     "strategy.weight-cap=100", "compression.codec=drive"},
                    "compression.codec = \"drive\" and strategy.weighting = \"capped\""},
        PrivateCase{"masked_drive_bits",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=drive", "compression.bits=2"},
                    "compression.codec = \"drive\" and compression.bits = 2"},
        PrivateCase{"masked_drive_central",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=drive", "privacy.mechanism=central"},
                    "compression.codec = \"drive\" and privacy.mechanism = \"central\""},
        PrivateCase{"masked_drive_distributed",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=drive", "privacy.mechanism=distributed"},
                    "compression.codec = \"drive\" and privacy.mechanism = \"distributed\""},
        PrivateCase{"masked_eden",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=eden"},
                    "want codec = \"rotate-lattice\""},
        PrivateCase{"eden", {"compression.codec=eden", "compression.bits=3"}, ""},
        PrivateCase{"power_sgd",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "job.num-rounds=4"},
                    ""},
        PrivateCase{"power_sgd_unmasked",
                    {"strategy.weighting=uniform", "compression.codec=power-sgd"},
                    "compression.codec = \"power-sgd\" and secure-aggregation.enabled = false"},
        PrivateCase{"power_sgd_odd",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "job.num-rounds=5"},
                    "compression.codec = \"power-sgd\" and job.num-rounds = 5"},
        PrivateCase{"power_sgd_capped",
                    {"secure-aggregation.enabled=true", "strategy.weighting=capped",
                     "strategy.weight-cap=100", "compression.codec=power-sgd"},
                    "compression.codec = \"power-sgd\" and strategy.weighting = \"capped\""},
        PrivateCase{"power_sgd_without_feedback",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "compression.error-feedback=false"},
                    "compression.codec = \"power-sgd\" and compression.error-feedback = false"},
        PrivateCase{"power_sgd_groups",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "robust.rule=median", "robust.groups=3",
                     "robust.faulty=1"},
                    "compression.codec = \"power-sgd\" and robust.groups = 3"},
        PrivateCase{
            "power_sgd_scalars",
            {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
             "compression.codec=power-sgd", "scalars.enabled=true", "train.estimator=central",
             "train.optimizer=sgd", "train.max-grad-norm=0", "train.max-steps=4"},
            "compression.codec = \"power-sgd\" and scalars.enabled = true"},
        PrivateCase{"power_sgd_central",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "privacy.mechanism=central"},
                    "compression.codec = \"power-sgd\" and privacy.mechanism = \"central\""},
        PrivateCase{"power_sgd_distributed",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "privacy.mechanism=distributed"},
                    "compression.codec = \"power-sgd\" and privacy.mechanism = \"distributed\""},
        PrivateCase{"power_sgd_example",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.codec=power-sgd", "privacy.mechanism=example"},
                    "compression.codec = \"power-sgd\" and privacy.mechanism = \"example\""},
        PrivateCase{"masked_zstd",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "compression.zstd=true"},
                    "compression.zstd = true and secure-aggregation.enabled = true"},
        PrivateCase{"masked_tokens",
                    {"secure-aggregation.enabled=true", "strategy.weighting=tokens"},
                    "strategy.weighting = \"tokens\" and secure-aggregation.enabled = true"},
        PrivateCase{"masked_three",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "secure-aggregation.min-survivors=3"},
                    "want min-survivors >= 4"},
        PrivateCase{"semi_honest_three",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "secure-aggregation.min-survivors=3", "secure-aggregation.mode=semi-honest"},
                    ""},
        PrivateCase{"rate_not_in_table",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "secure-aggregation.corrupt-fraction=0.15"},
                    "want 0.05, 0.1, 0.2 or 0.333334"},
        PrivateCase{"small_cohort",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "job.clients-per-round=3"},
                    "want clients-per-round >= min-survivors"},
        PrivateCase{"masked_over_selection",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "job.over-selection=1.5"},
                    "want over-selection = "},
        PrivateCase{"distributed_unmasked",
                    {"privacy.mechanism=distributed", "strategy.weighting=uniform"},
                    "privacy.mechanism = \"distributed\" and secure-aggregation.enabled = false"},
        PrivateCase{"central_weighted",
                    {"privacy.mechanism=central", "strategy.weighting=tokens"},
                    "want weighting = \"uniform\""},
        PrivateCase{"central", {"privacy.mechanism=central", "strategy.weighting=uniform"}, ""},
        PrivateCase{
            "central_skellam",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.noise=skellam"},
            "want noise = \"discrete-gaussian\""},
        PrivateCase{"central_krum",
                    {"privacy.mechanism=central", "strategy.weighting=uniform", "robust.rule=krum"},
                    "robust.rule = \"krum\" and privacy.mechanism = \"central\""},
        PrivateCase{"poisson_count",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.sampling=poisson", "job.clients-per-round=8"},
                    "a cohort of fixed size is no Poisson sample"},
        PrivateCase{"poisson_selection",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.sampling=poisson", "privacy.population=100", "job.selection=all"},
                    "privacy.sampling = \"poisson\" and job.selection = \"all\""},
        PrivateCase{
            "poisson_over_selection",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.sampling=poisson",
             "privacy.population=100", "job.over-selection=1.5"},
            "job.over-selection = 1.5: the draw must not depend on anything"},
        PrivateCase{"poisson_alone", {"privacy.sampling=poisson"}, "nothing is amplified"},
        PrivateCase{
            "poisson_of_nobody",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.sampling=poisson"},
            "want population >= 1"},
        PrivateCase{"central_masked",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central"},
                    ""},
        PrivateCase{"distributed_sketch",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=distributed", "compression.codec=count-sketch"},
                    "compression.codec = \"count-sketch\""},
        PrivateCase{"groups_plain",
                    {"robust.groups=3", "robust.rule=median"},
                    "robust.groups = 3 and secure-aggregation.enabled = false"},
        PrivateCase{
            "groups_mean",
            {"secure-aggregation.enabled=true", "strategy.weighting=uniform", "robust.groups=3"},
            "robust.groups = 3 and robust.rule = \"none\""},
        PrivateCase{"groups_one",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=median", "robust.faulty=0", "robust.groups=1"},
                    "robust.groups: got 1"},
        PrivateCase{"groups_noised",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=median", "robust.groups=3", "privacy.mechanism=distributed"},
                    "robust.groups = 3 and privacy.mechanism = \"distributed\""},
        PrivateCase{"groups_central",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=median", "robust.groups=3", "privacy.mechanism=central"},
                    "robust.groups = 3 and privacy.mechanism = \"central\""},
        PrivateCase{"groups_small",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=median", "robust.groups=3", "job.clients-per-round=11"},
                    "job.clients-per-round = 11 and robust.groups = 3: got groups of 3"},
        PrivateCase{
            "groups_few",
            {"secure-aggregation.enabled=true", "strategy.weighting=uniform", "robust.rule=krum",
             "robust.faulty=1", "robust.groups=4", "job.clients-per-round=16"},
            "got 4 groups, want at least 5"},
        PrivateCase{"groups",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=median", "robust.groups=3", "job.clients-per-round=12"},
                    ""},
        PrivateCase{"groups_bound",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=norm-bound", "robust.norm-bound=1", "robust.groups=3"},
                    ""},
        PrivateCase{"tree",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.correlation=tree", "privacy.tree-restart=8"},
                    ""},
        PrivateCase{
            "banded",
            {"privacy.mechanism=central", "strategy.weighting=uniform",
             "privacy.correlation=banded", "privacy.min-separation=4", "job.clients-per-round=8"},
            ""},
        PrivateCase{"correlated_shares",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=distributed", "privacy.correlation=tree"},
                    "privacy.correlation = \"tree\" and privacy.mechanism = \"distributed\""},
        PrivateCase{
            "correlated_sample",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.sampling=poisson",
             "privacy.population=100", "privacy.correlation=tree"},
            "privacy.correlation = \"tree\" and privacy.sampling = \"poisson\""},
        PrivateCase{"one_band",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.correlation=banded"},
                    "privacy.correlation = \"banded\" and privacy.min-separation = 1"},
        PrivateCase{"separation_of_everybody",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.correlation=tree", "privacy.min-separation=2"},
                    "want clients-per-round >= 1"},
        PrivateCase{
            "separation_without_use",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.min-separation=2"},
            "privacy.min-separation = 2 and privacy.correlation = \"none\""},
        PrivateCase{
            "restart_without_tree",
            {"privacy.mechanism=central", "strategy.weighting=uniform", "privacy.tree-restart=2"},
            "privacy.tree-restart = 2 and privacy.correlation = \"none\""},
        PrivateCase{"adaptive",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.adaptive-clip=true"},
                    ""},
        PrivateCase{"adaptive_without_noise",
                    {"privacy.adaptive-clip=true"},
                    "privacy.adaptive-clip = true and privacy.mechanism = \"none\""},
        PrivateCase{"adaptive_shares",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=distributed", "privacy.adaptive-clip=true"},
                    ""},
        PrivateCase{"adaptive_masked",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central", "privacy.adaptive-clip=true"},
                    ""},
        PrivateCase{"adaptive_examples",
                    {"strategy.weighting=uniform", "data.packing=false",
                     "privacy.mechanism=example", "privacy.adaptive-clip=true"},
                    "privacy.adaptive-clip = true and privacy.mechanism = \"example\""},
        PrivateCase{"adaptive_tree",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.correlation=tree", "privacy.adaptive-clip=true"},
                    "privacy.adaptive-clip = true and privacy.correlation = \"tree\""},
        PrivateCase{"adaptive_from_nowhere",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "privacy.clip-norm=1e-6", "privacy.adaptive-clip=true"},
                    "want clip-norm 0.0001..1000"},
        PrivateCase{"central_masked_coarse",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central", "compression.codec=int4"},
                    "want at least 6 bits"},
        PrivateCase{"central_masked_unrotated",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central", "compression.codec=int8",
                     "secure-aggregation.rotation=off"},
                    "want at least 16 bits"},
        PrivateCase{"central_masked_sketch",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central", "compression.codec=count-sketch"},
                    "privacy.mechanism = \"central\" and compression.codec = \"count-sketch\""},
        PrivateCase{"central_masked_sample",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "privacy.mechanism=central", "privacy.sampling=poisson"},
                    "privacy.sampling = \"poisson\" and secure-aggregation.enabled = true"},
        PrivateCase{"threshold",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "secure-aggregation.threshold=3"},
                    "secure-aggregation.threshold: got 3, want 0"},
        PrivateCase{"neighbours",
                    {"secure-aggregation.enabled=true", "secure-aggregation.neighbours=6"},
                    "secure-aggregation.neighbours: got 6, want 0"},
        PrivateCase{"example_prompt",
                    {"privacy.mechanism=example", "strategy.weighting=uniform",
                     "data.packing=false", "prompt.num-virtual-tokens=8"},
                    "privacy.mechanism = \"example\" and [prompt]: gradients of single examples"},
        PrivateCase{"example_packed", {"privacy.mechanism=example"}, "data.packing = true"},
        PrivateCase{
            "example_weighted",
            {"privacy.mechanism=example", "data.packing=false", "strategy.weighting=examples"},
            "want weighting = \"uniform\""},
        PrivateCase{
            "example",
            {"privacy.mechanism=example", "data.packing=false", "strategy.weighting=uniform"},
            ""},
        PrivateCase{"example_krum",
                    {"privacy.mechanism=example", "data.packing=false",
                     "strategy.weighting=uniform", "robust.rule=krum"},
                    ""},
        PrivateCase{
            "example_held_out",
            {"privacy.mechanism=example", "data.packing=false", "strategy.weighting=uniform",
             "data.held-out-fraction=0.1", "privacy.evaluate-in-clear=true"},
            "data.held-out-fraction = 0.1 and privacy.mechanism = \"example\""},
        PrivateCase{"central_held_out",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "data.held-out-fraction=0.1"},
                    "data.held-out-fraction = 0.1 and privacy.mechanism = \"central\""},
        PrivateCase{"central_held_out_remedy",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "data.held-out-fraction=0.1"},
                    "or privacy.evaluate-in-clear = true"},
        PrivateCase{"central_in_clear",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "data.held-out-fraction=0.1", "privacy.evaluate-in-clear=true"},
                    ""},
        PrivateCase{"distributed_held_out",
                    {"privacy.mechanism=distributed", "strategy.weighting=uniform",
                     "secure-aggregation.enabled=true", "data.held-out-fraction=0.1"},
                    "data.held-out-fraction = 0.1 and privacy.mechanism = \"distributed\""},
        PrivateCase{"central_random_k",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "compression.codec=random-k"},
                    "compression.codec = \"random-k\" and privacy.mechanism = \"central\""},
        PrivateCase{"central_public_top_k",
                    {"privacy.mechanism=central", "strategy.weighting=uniform",
                     "compression.codec=public-top-k"},
                    ""},
        PrivateCase{"distributed_random_k",
                    {"privacy.mechanism=distributed", "strategy.weighting=uniform",
                     "secure-aggregation.enabled=true", "compression.codec=random-k"},
                    ""},
        PrivateCase{
            "krum_masked",
            {"secure-aggregation.enabled=true", "strategy.weighting=uniform", "robust.rule=krum"},
            "the coordinator sees no single update"},
        PrivateCase{"bound_masked",
                    {"secure-aggregation.enabled=true", "strategy.weighting=uniform",
                     "robust.rule=norm-bound", "robust.norm-bound=1"},
                    "every client scales its update to secure-aggregation.range"},
        PrivateCase{"krum_few",
                    {"robust.rule=krum", "robust.faulty=2", "job.clients-per-round=6"},
                    "got 6 clients a round, want at least 7"},
        PrivateCase{"bulyan_few",
                    {"robust.rule=bulyan", "robust.faulty=1", "job.clients-per-round=6"},
                    "want at least 7"},
        PrivateCase{"median_few",
                    {"robust.rule=median", "robust.faulty=2", "job.clients-per-round=4"},
                    "want at least 5"},
        PrivateCase{"fltrust", {"robust.rule=fltrust", "robust.trusted-client=own"}, ""},
        PrivateCase{
            "fltrust_example",
            {"robust.rule=fltrust", "robust.trusted-client=own", "privacy.mechanism=example",
             "data.packing=false", "strategy.weighting=uniform"},
            ""},
        PrivateCase{"fltrust_of_nobody",
                    {"robust.rule=fltrust"},
                    "robust.rule = \"fltrust\" and robust.trusted-client = \"\""},
        PrivateCase{"fltrust_of_nobody_remedy",
                    {"robust.rule=fltrust"},
                    "want trusted-client = the name of a client whose data you trust"},
        PrivateCase{"trusted_median",
                    {"robust.rule=median", "robust.trusted-client=own"},
                    "robust.trusted-client = \"own\" and robust.rule = \"median\""},
        PrivateCase{"trusted_mean",
                    {"robust.trusted-client=own"},
                    "want trusted-client = \"\", or rule = \"fltrust\""},
        PrivateCase{"fltrust_masked",
                    {"robust.rule=fltrust", "robust.trusted-client=own",
                     "secure-aggregation.enabled=true", "strategy.weighting=uniform"},
                    "robust.rule = \"fltrust\" and secure-aggregation.enabled = true"},
        PrivateCase{
            "fltrust_groups",
            {"robust.rule=fltrust", "robust.trusted-client=own", "secure-aggregation.enabled=true",
             "strategy.weighting=uniform", "robust.groups=3", "job.clients-per-round=12"},
            "want rule = \"median\" and robust.groups"},
        PrivateCase{"fltrust_bound",
                    {"robust.rule=fltrust", "robust.trusted-client=own", "robust.norm-bound=1"},
                    "robust.rule = \"fltrust\" and robust.norm-bound = 1.0"},
        PrivateCase{"fltrust_faulty",
                    {"robust.rule=fltrust", "robust.trusted-client=own", "robust.faulty=1"},
                    "robust.rule = \"fltrust\" and robust.faulty = 1"},
        PrivateCase{"fltrust_noised",
                    {"robust.rule=fltrust", "robust.trusted-client=own",
                     "privacy.mechanism=central", "strategy.weighting=uniform"},
                    "robust.rule = \"fltrust\" and privacy.mechanism = \"central\""},
        PrivateCase{"bound_zero", {"robust.rule=norm-bound"}, "want norm-bound > 0"},
        PrivateCase{"codec", {"compression.codec=int3"}, "compression.codec: got \"int3\""}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PrivateUpload, SumsHoldAtLeastTheSurvivors) {
  JobSpec spec;
  spec.job.min_clients = 2;
  EXPECT_EQ(FewestSummed(spec), 2);
  spec.secure_aggregation.enabled = true;
  EXPECT_EQ(FewestSummed(spec), 4);
  spec.job.min_clients = 9;
  EXPECT_EQ(FewestSummed(spec), 9);
}

TEST(PrivateUpload, ARobustRuleNeedsItsUpdates) {
  JobSpec spec;
  spec.job.min_clients = 4;
  spec.robust.faulty = 2;
  for (const auto& [rule, fewest] : {std::pair{"none", 4},
                                     {"norm-bound", 4},
                                     {"median", 5},
                                     {"fltrust", 4},
                                     {"trimmed-mean", 5},
                                     {"krum", 7},
                                     {"multi-krum", 7},
                                     {"bulyan", 11},
                                     {"geometric-median", 5},
                                     {"centred-clipping", 5}}) {
    spec.robust.rule = rule;
    EXPECT_EQ(FewestSummed(spec), fewest) << rule;
  }
  spec.secure_aggregation.enabled = true;  // one sum of all
  EXPECT_EQ(FewestSummed(spec), 4);
}

TEST(PrivateUpload, GroupsNeedTheirFewestEach) {
  JobSpec spec;
  spec.job.min_clients = 13;
  spec.secure_aggregation.enabled = true;
  spec.robust.rule = "median";
  spec.robust.faulty = 1;
  spec.robust.groups = 5;
  EXPECT_EQ(FewestGroups(spec), 3);
  EXPECT_EQ(FewestInSum(spec), 4);  // min-clients is of the round
  EXPECT_EQ(FewestSummed(spec), 13);
  spec.secure_aggregation.min_survivors = 6;
  EXPECT_EQ(FewestInSum(spec), 6);
  EXPECT_EQ(FewestSummed(spec), 18);
  spec.robust.rule = "norm-bound";
  EXPECT_EQ(FewestGroups(spec), 1);
}

TEST(PrivateUpload, WarnsOfWhatGroupsShow) {
  JobSpec spec;
  spec.secure_aggregation.enabled = true;
  spec.strategy.weighting = "uniform";
  spec.data.held_out_fraction = 0;
  spec.robust.rule = "median";
  spec.robust.groups = 3;
  spec.job.clients_per_round = 15;
  EXPECT_EQ(PrivateUploadWarnings(spec).size(), 1u);
  spec.job.clients_per_round = 12;
  const std::vector<std::string> warnings = PrivateUploadWarnings(spec);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[1], testing::HasSubstr("costs its whole group"));
}

TEST(PrivateUpload, WarnsOfANormBoundWithWeightsOfTheClientsOwn) {
  for (const auto& [weighting, warnings] :
       {std::pair{"tokens", 1u}, {"examples", 1u}, {"uniform", 0u}, {"capped", 0u}}) {
    JobSpec spec;
    spec.robust.rule = "norm-bound";
    spec.robust.norm_bound = 1;
    spec.strategy.weighting = weighting;
    EXPECT_EQ(PrivateUploadWarnings(spec).size(), warnings) << weighting;
  }
}

TEST(PrivateUpload, WarnsOfNoiseInBothFactorsAndOfClearEvaluations) {
  const auto spec = SpecWith({"privacy.mechanism=distributed", "strategy.weighting=uniform",
                              "secure-aggregation.enabled=true", "data.held-out-fraction=0.1",
                              "privacy.evaluate-in-clear=true"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::vector<std::string> warnings = PrivateUploadWarnings(*spec);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("freeze-a"), std::string::npos);
  EXPECT_NE(warnings[1].find("epsilon does not count them"), std::string::npos);
}

TEST(PrivateUpload, WarnsOfHeldOutSumsThatNoMaskHides) {
  const auto spec = SpecWith({"strategy.weighting=uniform", "secure-aggregation.enabled=true",
                              "data.held-out-fraction=0.1"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::vector<std::string> warnings = PrivateUploadWarnings(*spec);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("data.held-out-fraction = 0.0 sends none"), std::string::npos);
}

TEST(PrivateUpload, WarnsOfAWidthThatNoisedSumsDoNotHave) {
  const std::vector<std::string> noised = {"privacy.mechanism=distributed",
                                           "secure-aggregation.enabled=true",
                                           "strategy.aggregation=freeze-a"};
  for (const auto& [set, warnings] : {std::pair{"compression.codec=int8", 1u},
                                      {"compression.codec=rotate-lattice", 1u},
                                      {"compression.bits=6", 1u},
                                      {"compression.codec=random-k", 0u},
                                      {"compression.codec=none", 0u}}) {
    std::vector<std::string> sets = noised;
    sets.push_back(set);
    const auto spec = SpecWith(sets);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const std::vector<std::string> given = PrivateUploadWarnings(*spec);
    ASSERT_EQ(given.size(), warnings) << set;
    if (warnings == 0) continue;
    EXPECT_THAT(given[0], testing::HasSubstr("privacy.ring-bits = 20"));
  }
}

TEST(PrivateUpload, WarnsOfAnExceptionThatExceptsNothing) {
  for (const char* held_out : {"data.held-out-fraction=0", "data.held-out-fraction=0.1"}) {
    const auto spec = SpecWith({"privacy.evaluate-in-clear=true", held_out});
    ASSERT_TRUE(spec.ok()) << spec.status();
    const std::vector<std::string> warnings = PrivateUploadWarnings(*spec);
    ASSERT_EQ(warnings.size(), 1u) << held_out;
    EXPECT_NE(warnings[0].find("has no effect"), std::string::npos);
  }
}

}  // namespace
}  // namespace rivulet

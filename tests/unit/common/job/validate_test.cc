#include <gtest/gtest.h>

#include "common/job/job_file.h"

namespace rivulet {
namespace {

struct Case {
  const char* name;
  std::vector<std::string> sets;
  const char* message;  // what the error must contain; "" = accepted
};

// Printed into test names: without it, addresses that change from run to run.
void PrintTo(const Case& shown, std::ostream* out) { *out << shown.name; }

class Validate : public testing::TestWithParam<Case> {};

TEST_P(Validate, NamesKeysSeenAndWanted) {
  std::vector<std::string> sets = {"model.name=m"};
  sets.insert(sets.end(), GetParam().sets.begin(), GetParam().sets.end());
  const auto job = ParseJob("", "job.toml", {}, sets);
  ASSERT_TRUE(job.ok()) << job.status();
  const absl::Status status = job->spec.Validate();
  if (std::string(GetParam().message).empty()) {
    EXPECT_TRUE(status.ok()) << status;
    return;
  }
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_NE(std::string(status.message()).find(GetParam().message), std::string::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(
    All, Validate,
    testing::Values(
        Case{"defaults", {}, ""},
        Case{"estimator", {"train.estimator=central", "train.optimizer=sgd"}, ""},
        Case{"estimator_adamw",
             {"train.estimator=central"},
             "train.estimator = \"central\" and train.optimizer = \"adamw\": want optimizer"},
        Case{"estimator_decay",
             {"train.estimator=one-sided", "train.optimizer=sgd", "train.weight-decay=0.1"},
             "train.estimator = \"one-sided\" and train.weight-decay = 0.1: want 0.0"},
        Case{"fzoo_one_query",
             {"train.estimator=fzoo", "train.optimizer=sgd"},
             "train.estimator = \"fzoo\" and train.queries = 1: one loss has no spread"},
        Case{"target_cosine",
             {"train.estimator=fzoo", "train.optimizer=sgd", "train.max-steps=1",
              "train.target-cosine=0.1", "job.clients-per-round=4"},
             ""},
        Case{"target_cosine_shared",
             {"train.estimator=forward", "train.optimizer=sgd", "train.max-steps=1",
              "train.target-cosine=0.1", "scalars.enabled=true", "scalars.target-ratio=1.01"},
             ""},
        Case{"target_cosine_backprop",
             {"train.target-cosine=0.1"},
             "train.target-cosine = 0.1 and train.estimator = \"backprop\": there are no queries"},
        Case{"target_cosine_subspace",
             {"train.estimator=central", "train.optimizer=sgd", "train.max-steps=1",
              "train.target-cosine=0.1", "train.direction=subspace"},
             "train.target-cosine = 0.1 and train.direction = \"subspace\" and "
             "train.direction-renewal = 1: directions that share factors"},
        Case{"target_cosine_epochs",
             {"train.estimator=central", "train.optimizer=sgd", "train.target-cosine=0.1"},
             "train.target-cosine = 0.1 and train.max-steps = 0"},
        Case{"target_cosine_fraction",
             {"train.estimator=central", "train.optimizer=sgd", "train.max-steps=1",
              "train.target-cosine=0.1"},
             "train.target-cosine = 0.1 and job.clients-per-round = 0: each client has directions"},
        Case{"target_cosine_pool",
             {"train.estimator=central", "train.optimizer=sgd", "train.max-steps=1",
              "train.target-cosine=0.1", "scalars.enabled=true", "scalars.pool=64"},
             "train.target-cosine = 0.1 with a pool, splits or votes"},
        Case{"target_cosine_one", {"train.target-cosine=1.0"}, "train.target-cosine: got 1.0"},
        Case{"subspace",
             {"train.estimator=central", "train.optimizer=sgd", "train.max-steps=5",
              "train.direction=subspace", "train.direction-rank=4", "train.direction-renewal=50",
              "scalars.enabled=true"},
             ""},
        Case{"grzo",
             {"train.estimator=grzo", "train.optimizer=sgd", "train.queries=8",
              "train.gradient-accumulation-steps=8", "train.per-device-train-batch-size=1",
              "train.direction=flipped", "train.direction-renewal=8", "train.batched-queries=1"},
             ""},
        Case{"grzo_queries",
             {"train.estimator=grzo", "train.optimizer=sgd", "train.queries=4",
              "train.gradient-accumulation-steps=8"},
             "train.estimator = \"grzo\" and train.queries = 4 and "
             "train.gradient-accumulation-steps = 8: each query is measured on one pass"},
        Case{"grzo_batched",
             {"train.estimator=grzo", "train.optimizer=sgd", "train.queries=8",
              "train.gradient-accumulation-steps=8", "train.batched-queries=2"},
             "train.estimator = \"grzo\" and train.batched-queries = 2: queries see different"},
        Case{"ema", {"evaluate.ema=0.995"}, ""},
        Case{"ema_nothing_held_out",
             {"evaluate.ema=0.995", "data.held-out-fraction=0.0"},
             "evaluate.ema = 0.995 and data.held-out-fraction = 0.0: nothing is held out"},
        Case{"estimator_example_privacy",
             {"train.estimator=central", "train.optimizer=sgd", "privacy.mechanism=example"},
             "train.estimator = \"central\" and privacy.mechanism = \"example\""},
        Case{"batched_queries",
             {"train.estimator=one-sided", "train.optimizer=sgd", "train.batched-queries=4"},
             ""},
        Case{"batched_queries_full",
             {"full.modules=[]", "train.estimator=central", "train.optimizer=sgd",
              "train.batched-queries=4"},
             "train.batched-queries = 4 and [full]: losses of one pass share the base's weights"},
        Case{"batched_queries_saved",
             {"lora.modules-to-save=[\"lm_head\"]", "train.estimator=central",
              "train.optimizer=sgd", "train.batched-queries=4"},
             "train.batched-queries = 4 and lora.modules-to-save: losses of one pass share"},
        Case{"batched_queries_forward",
             {"train.estimator=forward", "train.optimizer=sgd", "train.batched-queries=4"},
             "train.batched-queries = 4 and train.estimator = \"forward\": a pass carries"},
        Case{"forward_votes",
             {"scalars.enabled=true", "train.estimator=forward", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.combine=vote"},
             ""},
        Case{"forward_waits",
             {"scalars.enabled=true", "train.estimator=forward", "train.optimizer=sgd",
              "train.max-steps=1", "scalars.target-ratio=1.5"},
             ""},
        Case{"forward_splits_mixed",
             {"scalars.enabled=true", "train.estimator=forward", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.splits=2", "simulate.backprop-share=0.5"},
             ""},
        Case{"scalars",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5"},
             ""},
        Case{"scalars_off", {"scalars.pool=8"}, "scalars.pool and scalars.enabled = false"},
        Case{"scalars_epochs",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd"},
             "scalars.enabled = true and train.max-steps = 0"},
        Case{"scalars_backprop",
             {"scalars.enabled=true"},
             "scalars.directions = 0 and train.estimator = \"backprop\""},
        Case{"scalars_pool_adam",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "strategy.name=fedadam"},
             "scalars.pool = 8 and strategy.name = \"fedadam\""},
        Case{"scalars_top_k",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "compression.codec=top-k"},
             "compression.codec = \"top-k\" and scalars.enabled = true"},
        Case{"scalars_sign_feedback",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "compression.codec=sign"},
             "compression.codec = \"sign\" and compression.error-feedback = true"},
        Case{"scalars_split_median",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.splits=2", "robust.rule=median", "robust.faulty=1"},
             "scalars.splits = 2 and robust.rule = \"median\""},
        Case{"scalars_pool_masked",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "secure-aggregation.enabled=true", "strategy.weighting=uniform"},
             "scalars.pool = 8 and secure-aggregation.enabled = true"},
        Case{"scalars_pool_noised",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "secure-aggregation.enabled=true", "strategy.weighting=uniform",
              "privacy.mechanism=distributed", "job.clients-per-round=8",
              "data.held-out-fraction=0.0"},
             ""},
        Case{"scalars_pool_median",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "robust.rule=median", "robust.faulty=1"},
             "scalars.pool = 8 and robust.rule = \"median\""},
        Case{"scalars_split_masked",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.splits=2", "secure-aggregation.enabled=true",
              "strategy.weighting=uniform"},
             "scalars.splits = 2 and secure-aggregation.enabled = true"},
        Case{"scalars_session",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.drawn-from=session", "secure-aggregation.enabled=true",
              "strategy.weighting=uniform"},
             ""},
        Case{"scalars_session_off",
             {"scalars.drawn-from=session", "secure-aggregation.enabled=true",
              "strategy.weighting=uniform"},
             "scalars.drawn-from and scalars.enabled = false"},
        Case{"scalars_session_unmasked",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.drawn-from=session"},
             "scalars.drawn-from = \"session\" and secure-aggregation.enabled = false"},
        Case{"scalars_session_pool",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "secure-aggregation.enabled=true", "strategy.weighting=uniform",
              "privacy.mechanism=distributed", "job.clients-per-round=8",
              "data.held-out-fraction=0.0", "scalars.drawn-from=session"},
             "scalars.drawn-from = \"session\" and scalars.pool = 8"},
        Case{"scalars_session_groups",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.drawn-from=session", "secure-aggregation.enabled=true",
              "strategy.weighting=uniform", "job.clients-per-round=16", "robust.rule=median",
              "robust.faulty=1", "robust.groups=4"},
             "scalars.drawn-from = \"session\" and robust.groups = 4"},
        Case{"candidates",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4"},
             ""},
        Case{"candidates_off",
             {"scalars.candidates=4"},
             "scalars.candidates and scalars.enabled = false"},
        Case{"candidates_waiting",
             {"scalars.enabled=true", "train.estimator=forward", "train.optimizer=sgd",
              "train.max-steps=1", "scalars.candidates=4", "scalars.target-ratio=1.1"},
             ""},
        Case{"candidates_backprop",
             {"scalars.enabled=true", "scalars.directions=8", "scalars.candidates=4"},
             "scalars.candidates = 4 and train.estimator = \"backprop\": there are no queries"},
        Case{"candidates_pool",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "scalars.candidates=4"},
             "scalars.candidates = 4 and scalars.pool = 8: clients draw"},
        Case{"candidates_splits",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4", "scalars.splits=2"},
             "scalars.candidates = 4 and scalars.splits = 2: a direction is"},
        Case{"candidates_subspace",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4", "train.direction=subspace",
              "train.direction-rank=2"},
             "scalars.candidates = 4 and train.direction = \"subspace\" and "
             "train.direction-renewal = "},
        Case{"candidates_low_rank",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4", "train.direction=low-rank",
              "train.direction-renewal=3"},
             "scalars.candidates = 4 and train.direction = \"low-rank\" and "
             "train.direction-renewal = 3: "},
        Case{"ratio_subspace",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=1", "scalars.target-ratio=1.05", "train.direction=subspace",
              "train.direction-rank=2"},
             "scalars.target-ratio = 1.05 and train.direction = \"subspace\" and "
             "train.direction-renewal = 1: directions that share factors point into a part"},
        Case{"ratio_low_rank",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=1", "scalars.target-ratio=1.05", "train.direction=low-rank",
              "train.direction-renewal=1"},
             ""},
        Case{"candidates_fedadam",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4", "strategy.name=fedadam"},
             "scalars.candidates = 4 and strategy.name = \"fedadam\": the last movement"},
        Case{"candidates_masked",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.candidates=4", "secure-aggregation.enabled=true",
              "strategy.weighting=uniform"},
             "scalars.candidates = 4 and secure-aggregation.enabled = true: the coordinator would"},
        Case{"candidates_many",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=70000", "scalars.candidates=4"},
             "scalars.candidates = 4 and train.max-steps x train.queries = 70000: want at most "
             "65536"},
        Case{"scalars_choice",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "scalars.pool=8", "scalars.pool-choice=amplitude"},
             ""},
        Case{"scalars_choice_without_pool",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.pool-choice=amplitude"},
             "scalars.pool-choice = \"amplitude\" and scalars.pool = 0"},
        Case{"scalars_many",
             {"scalars.enabled=true", "scalars.directions=1048576", "scalars.splits=8"},
             "got 8388608 numbers of an update, want at most 4194304"},
        Case{"scalars_votes_queries",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.combine=vote", "train.queries=2"},
             "scalars.combine = \"vote\" and train.queries = 2"},
        Case{"scalars_votes_schedule",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.combine=vote", "train.lr-scheduler-type=linear"},
             "train.lr-scheduler-type = \"linear\""},
        Case{"scalars_votes_weighed",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "scalars.combine=vote", "strategy.weighting=tokens"},
             "scalars.combine = \"vote\" and strategy.weighting = \"tokens\""},
        Case{"scalars_vote_fzoo",
             {"scalars.enabled=true", "train.estimator=fzoo", "train.optimizer=sgd",
              "train.queries=2", "train.max-steps=5", "scalars.combine=vote"},
             "scalars.combine = \"vote\" and train.estimator = \"fzoo\""},
        Case{
            "scalars_waiting",
            {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
             "train.max-steps=5", "scalars.target-ratio=1.5"},
            "scalars.target-ratio = 1.5 and train.estimator = \"central\" and train.max-steps = 5"},
        Case{"scalars_ratio",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=1", "scalars.target-ratio=1.0"},
             "scalars.target-ratio: got 1.0, want more than 1"},
        Case{"scalars_rate",
             {"scalars.enabled=true", "train.estimator=central", "train.optimizer=sgd",
              "train.max-steps=5", "train.learning-rate=0.0"},
             "scalars.enabled = true and train.learning-rate = 0.0"},
        Case{"backprop_share_fzoo",
             {"scalars.enabled=true", "train.estimator=fzoo", "train.optimizer=sgd",
              "train.queries=2", "train.max-steps=5", "simulate.backprop-share=0.5"},
             "simulate.backprop-share = 0.5 and train.estimator = \"fzoo\""},
        Case{"search", {"train.estimator=cma-es", "prompt.subspace=100"}, ""},
        Case{"search_momentum",
             {"train.estimator=cma-es", "train.proximal-mu=0.1"},
             "train.estimator = \"cma-es\" and train.proximal-mu = 0.1: want 0.0"},
        Case{"search_scalars",
             {"train.estimator=cma-es", "prompt.subspace=100", "train.max-steps=5",
              "scalars.enabled=true"},
             "scalars.enabled = true and train.estimator = \"cma-es\""},
        Case{"search_of_three", {"train.population=3"}, "train.population: got 3, want an integer"},
        Case{"prompt_example_privacy",
             {"prompt.num-virtual-tokens=4", "privacy.mechanism=example"},
             "privacy.mechanism = \"example\" and [prompt]"},
        Case{"prompt_init",
             {"prompt.prompt-tuning-init=text"},
             "prompt.prompt-tuning-init: got \"text\", want sample-vocabulary|random"},
        Case{"rank_zero", {"lora.lora-r=0"}, "lora.lora-r: got 0, want an integer 1..1024"},
        Case{"nan_rate", {"train.learning-rate=nan"}, "train.learning-rate: got nan"},
        Case{
            "optimizer", {"train.optimizer=adam"}, "train.optimizer: got \"adam\", want adamw|sgd"},
        Case{"two_choices", {"train.optimizer=adamw|sgd"}, "train.optimizer"},
        Case{"name", {"job.name=../x"}, "job.name: got \"../x\""},
        Case{"fraction_and_count",
             {"job.clients-per-round=4", "job.fraction-train=0.5"},
             "job.fraction-train = 0.5"},
        Case{"min_above_cohort",
             {"job.clients-per-round=4", "job.min-clients=5"},
             "min-clients <= clients-per-round"},
        Case{"all_and_count",
             {"job.selection=all", "job.clients-per-round=4"},
             "job.selection = \"all\""},
        Case{"hash", {"model.hash=sha256:12"}, "model.hash: got \"sha256:12\""},
        Case{"tsv_lm", {"data.format=tsv"}, "data.format = \"tsv\""},
        Case{"text_classes", {"data.task=classification"}, "data.format = \"text\""},
        Case{"template_on_text", {"data.template=alpaca"}, "data.template = \"alpaca\""},
        Case{"label_twice",
             {"data.task=classification", "data.format=tsv", "data.labels=[\"a\",\"a\"]"},
             "'a' twice"},
        Case{"beta1_between",
             {"strategy.server-beta1=-0.5"},
             "strategy.server-beta1: got -0.5, want 0..0.9999, or -1"},
        Case{"beta1_default", {"strategy.server-beta1=-1"}, ""},
        Case{"beta1_zero", {"strategy.server-beta1=0"}, ""},
        Case{
            "no_steps", {"train.local-epochs=0"}, "train.max-steps = 0 and train.local-epochs = 0"},
        Case{"momentum", {"train.momentum=0.9"}, "train.optimizer = \"adamw\""},
        Case{"cap", {"strategy.weighting=capped"}, "strategy.weight-cap = 0"},
        Case{"freeze_adapter",
             {"adapter.reduction-factor=8", "strategy.aggregation=freeze-a"},
             "only [lora] has"},
        Case{"freeze_full",
             {"full.modules=[\"q_proj\"]", "strategy.aggregation=freeze-a"},
             "strategy.aggregation = \"freeze-a\" and [full]: only [lora] has"},
        Case{"full_module_twice",
             {"full.modules=[\"q_proj\",\"q_proj\"]"},
             "full.modules: got 'q_proj' twice"},
        Case{"full_module_empty", {"full.modules=[\"\"]"}, "full.modules: got [\"\"]"},
        Case{
            "full_examples",
            {"full.modules=[]", "privacy.mechanism=example"},
            "privacy.mechanism = \"example\" and [full]: gradients of single examples are computed "
            "for LoRA only"},
        Case{"full_central",
             {"full.modules=[]", "train.estimator=central", "train.optimizer=sgd"},
             ""},
        Case{"all_linear_beside",
             {"lora.lora-target-modules=[\"all-linear\",\"q_proj\"]"},
             "beside others"},
        Case{
            "target_twice", {"lora.lora-target-modules=[\"q_proj\",\"q_proj\"]"}, "'q_proj' twice"},
        Case{"target_pattern", {"lora.lora-target-modules=[\"regex:(\"]"}, "lora-target-modules: "},
        Case{"available_below_needed",
             {"job.min-available-clients=1", "job.min-clients=2"},
             "want min-available-clients >= min-clients, or 0"},
        Case{"all_and_over",
             {"job.selection=all", "job.over-selection=1.3"},
             "job.over-selection = 1.3"},
        Case{"over_below_one", {"job.over-selection=0.9"}, "job.over-selection: got 0.9"},
        Case{"short_sequence", {"data.seq-length=1"}, "data.seq-length: got 1"},
        Case{"dataset_path", {"data.dataset=/etc/passwd"}, "data.dataset: got \"/etc/passwd\""},
        Case{"template_on_classes",
             {"data.task=classification", "data.format=tsv", "data.template=chat"},
             "data.template = \"chat\" and data.task"},
        Case{"nothing_held_out",
             {"evaluate.every=5", "data.held-out-fraction=0"},
             "evaluate.every = 5 and data.held-out-fraction = 0.0"},
        Case{"dirichlet_of_none", {"simulate.partition=dirichlet"}, "simulate.num-clients = 0"},
        Case{"key_pattern",
             {"simulate.partition=by-key", "simulate.partition-key=regex:["},
             "simulate.partition-key: "},
        Case{"long_text",
             {"data.text-field=" + std::string(4097, 'x')},
             "data.text-field: got \"xxx"},
        Case{"lora_on_classes", {"data.task=classification", "data.format=tsv"}, ""},
        Case{"by_key", {"simulate.partition=by-key"}, "simulate.partition-key = \"\""}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(JobSpec, AnUnknownMethodIsRefused) {
  JobSpec spec;
  spec.method = "prefix";
  EXPECT_EQ(spec.Validate().message(), "method: got 'prefix', want lora|adapter|full|prompt");
}

TEST(JobSpec, WhatHasNoEffectIsSaidNotRefused) {
  EXPECT_TRUE(JobSpec().Warnings().empty());
  const auto warnings = [](const std::vector<std::string>& sets) {
    return ParseJob("", "job.toml", {}, sets)->spec.Warnings();
  };
  EXPECT_EQ(warnings({"train.optimizer=sgd", "train.adam-beta1=0.5"}).size(), 1u);
  EXPECT_EQ(warnings({"strategy.weight-cap=5"}).size(), 1u);
  EXPECT_EQ(warnings({"strategy.name=fedadam", "strategy.aggregation=freeze-a"}).size(), 1u);
  EXPECT_EQ(warnings({"strategy.name=fedavgm"}).size(), 1u);
  EXPECT_EQ(warnings({"evaluate.every=11"}).size(), 1u);
  EXPECT_EQ(warnings({"simulate.num-clients=3"}).size(), 1u);
  EXPECT_EQ(warnings({"data.packing=false"}).size(), 1u);
  EXPECT_TRUE(warnings({"data.packing=false", "data.separator=%"}).empty());
  EXPECT_EQ(warnings({"train.population=40"}).size(), 1u);
  EXPECT_EQ(warnings({"train.batched-queries=2"}).size(), 1u);
  EXPECT_EQ(warnings({"train.estimator=forward", "train.perturbation=1e-3"}).size(), 1u);
  EXPECT_EQ(warnings({"train.estimator=cma-es", "train.learning-rate=1"}).size(), 1u);
  EXPECT_TRUE(warnings({"train.estimator=cma-es", "train.population=40"}).empty());
  for (const char* normalised : {"train.estimator=fzoo", "train.estimator=grzo"}) {
    EXPECT_EQ(warnings({normalised, "train.max-grad-norm=10"}).size(), 1u) << normalised;
    EXPECT_TRUE(warnings({normalised, "train.max-grad-norm=0"}).empty()) << normalised;
  }
  const std::vector<std::string> votes = {"scalars.enabled=true", "train.estimator=central",
                                          "scalars.combine=vote"};
  EXPECT_TRUE(warnings(votes).empty());
  std::vector<std::string> clipped = votes;
  clipped.push_back("train.max-grad-norm=10");
  EXPECT_EQ(warnings(clipped).size(), 1u);
}

TEST(JobSpec, AWholeModelWarnsOfItsBytesItsDtypeAndItsWidth) {
  const auto warnings = [](std::vector<std::string> sets) {
    sets.push_back("full.modules=[]");
    return ParseJob("", "job.toml", {}, sets)->spec.Warnings();
  };
  const std::vector<std::string> bytes = warnings({});
  ASSERT_EQ(bytes.size(), 1u);
  EXPECT_NE(bytes[0].find("4 bytes for every number"), std::string::npos) << bytes[0];
  EXPECT_TRUE(warnings({"compression.codec=int8"}).empty());
  EXPECT_EQ(warnings({"compression.codec=int8", "model.dtype=bfloat16"}).size(), 1u);
  const std::vector<std::string> central = {"compression.codec=int8", "train.estimator=central",
                                            "train.optimizer=sgd"};
  EXPECT_EQ(warnings(central).size(), 1u);
  std::vector<std::string> narrow = central;
  narrow.push_back("train.perturbation=1e-3");
  EXPECT_TRUE(warnings(narrow).empty());
  // The published rates of these strategies are those of whole models.
  EXPECT_TRUE(warnings({"compression.codec=int8", "strategy.name=fedadam"}).empty());
}

TEST(JobSpec, SubmitSaysWhereAgentsAndSimulationPart) {
  const auto warnings = [](const std::vector<std::string>& sets) {
    return ParseJob("", "job.toml", {}, sets)->spec.SubmitWarnings();
  };
  const std::vector<std::string> open = warnings({"job.clients-per-round=5"});
  ASSERT_EQ(open.size(), 1u);
  EXPECT_NE(open[0].find("job.min-available-clients = 0: round 1 starts with 5 clients"),
            std::string::npos)
      << open[0];
  EXPECT_TRUE(warnings({"job.min-available-clients=5"}).empty());
  EXPECT_EQ(warnings({"job.min-available-clients=5", "job.selection=capability"}).size(), 1u);
  EXPECT_EQ(warnings({"job.min-available-clients=5", "evaluate.every=11"}).size(), 1u);
  EXPECT_EQ(warnings({"job.min-available-clients=5", "scalars.drawn-from=session"}).size(), 1u);
}

}  // namespace
}  // namespace rivulet

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
        Case{
            "no_steps", {"train.local-epochs=0"}, "train.max-steps = 0 and train.local-epochs = 0"},
        Case{"momentum", {"train.momentum=0.9"}, "train.optimizer = \"adamw\""},
        Case{"cap", {"strategy.weighting=capped"}, "strategy.weight-cap = 0"},
        Case{"freeze_adapter",
             {"adapter.reduction-factor=8", "strategy.aggregation=freeze-a"},
             "only [lora] has"},
        Case{"all_linear_beside",
             {"lora.lora-target-modules=[\"all-linear\",\"q_proj\"]"},
             "beside others"},
        Case{"by_key", {"simulate.partition=by-key"}, "simulate.partition-key = \"\""}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace rivulet

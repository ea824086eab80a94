#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "tests/unit/peft/random_model.h"

namespace rivulet::testing {

struct DroppingCase {
  std::string name;
  bool bert;
  void (*shape)(JobSpec& job);
};
inline void PrintTo(const DroppingCase& which, std::ostream* out) { *out << which.name; }

// A small drawn model with dropout everywhere, and six examples of several lengths in two batches
// of a step; bert classifies with heads that start from the seed.
class DroppingModel : public ::testing::TestWithParam<DroppingCase> {
 protected:
  DroppingModel() {
    job_.data.task = GetParam().bert ? "classification" : "causal-lm";
    job_.lora.lora_target_modules = {"all-linear"};
    job_.lora.lora_dropout = 0.3;
    job_.prompt.num_virtual_tokens = 5;
    job_.train.optimizer = "sgd";
    job_.train.max_grad_norm = 0;
    job_.train.learning_rate = 1e-3;
    job_.train.per_device_train_batch_size = 3;
    job_.train.gradient_accumulation_steps = 2;
    job_.train.max_steps = 1;
  }
  void SetUp() override {
    nlohmann::json config = GetParam().bert ? SmallBert() : SmallLlama();
    config.merge_patch({{"attention_dropout", 0.2},
                        {"hidden_dropout_prob", 0.1},
                        {"attention_probs_dropout_prob", 0.2}});
    GetParam().shape(job_);
    const auto base = LoadBaseModel(RandomModel(config, false), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    state_ = *InitialState(*plan, 1, &base_->files());
    if (job_.method != "full") state_ = Moved(state_);
    examples_ = RandomExamples(6, 5, 14);
  }

  TuneRequest RequestOf(const std::string& client) const {
    TuneRequest request;
    request.global = &state_;
    request.examples = examples_;
    request.client = client;
    return request;
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  ParameterSet state_;
  std::vector<Example> examples_;
};

}  // namespace rivulet::testing

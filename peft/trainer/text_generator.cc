#include "peft/trainer/text_generator.h"

#include <ATen/ATen.h>

#include "peft/method/method.h"
#include "peft/model/generate.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/process.h"
#include "peft/trainer/trainable_state.h"

namespace rivulet {
namespace {

class CachedGenerator : public TextGenerator {
 public:
  CachedGenerator(std::shared_ptr<const BaseModel> base, const Method& method,
                  const ParameterSet& state)
      : network_(MakeNetwork(std::move(base))),
        state_(state),
        adaptation_(method.Bind(state_.leaves())) {}

  absl::StatusOr<std::vector<int32_t>> Generate(std::span<const int32_t> prompt,
                                                const GenerateOptions& options) const override {
    RV_RETURN_IF_ERROR(CheckPrompt(prompt));
    return Guarded([&]() -> absl::StatusOr<std::vector<int32_t>> {
      SetComputeThreads(1);
      kernels::Workspace workspace;
      Pass pass = {&workspace, std::nullopt, false};
      return GenerateTokens(*network_, adaptation_, prompt, options, pass);
    });
  }

 private:
  absl::Status CheckPrompt(std::span<const int32_t> prompt) const {
    const ModelConfig& config = network_->base().config();
    const int64_t length = static_cast<int64_t>(prompt.size());
    const int64_t most = LongestSequence(config) - adaptation_.virtual_tokens();
    if (length == 0 || length > most) {
      return Refuse(
          absl::StatusCode::kInvalidArgument,
          "prompt: got " + std::to_string(length) + " tokens, want 1.." + std::to_string(most));
    }
    for (int32_t id : prompt) {
      if (id >= 0 && id < config.vocab_size) continue;
      return Refuse(absl::StatusCode::kInvalidArgument, "prompt: got token " + std::to_string(id) +
                                                            ", want 0.." +
                                                            std::to_string(config.vocab_size - 1));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<Network> network_;
  TrainableState state_;
  Adaptation adaptation_;
};

absl::StatusOr<std::unique_ptr<TextGenerator>> MakeWith(std::shared_ptr<const BaseModel> base,
                                                        const Method& method,
                                                        const ParameterSet& state) {
  if (base->config().head != ModelHead::kCausalLm) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "generation: got a " + base->config().model_type +
                      " without language-model head, want a causal model");
  }
  PrepareProcess();
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<TextGenerator>> {
    return std::make_unique<CachedGenerator>(std::move(base), method, state);
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextGenerator>> TextGenerator::Make(
    std::shared_ptr<const BaseModel> base, const JobSpec& job, const ParameterSet& state) {
  RV_ASSIGN_OR_RETURN(const AdapterPlan plan, PlanAdapter(base->config(), base->match(), job));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<Method> method, MakeMethod(plan, job, &base->files()));
  RV_RETURN_IF_ERROR(SameManifest(state.manifest(), method->manifest()));
  return MakeWith(std::move(base), *method, state);
}

absl::StatusOr<std::unique_ptr<TextGenerator>> TextGenerator::Make(
    std::shared_ptr<const BaseModel> base) {
  const std::unique_ptr<Method> nothing = MakeWhole({});
  return MakeWith(std::move(base), *nothing, ParameterSet());
}

}  // namespace rivulet

// An agent whose "training" is arithmetic: the delta moves every value a quarter of the way towards
// a target drawn for this client and round. It depends on the global state it was given, so a round
// computed from a wrong state, or an update counted twice, changes every later hash.
#include <chrono>
#include <cstdlib>
#include <thread>

#include "client/agent/task_check.h"
#include "client/agent_program.h"
#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "common/random.h"
#include "tests/integration/frail_link.h"

namespace rivulet {
namespace {

class ToyWork final : public LocalWork {
 public:
  ToyWork(const Policy& policy, std::string name) : policy_(policy), name_(std::move(name)) {}

  absl::Status Check(const Assignment& task) override { return CheckTask(policy_, task); }

  absl::StatusOr<WorkResult> Do(const Assignment& task, std::shared_ptr<const std::string> state,
                                const std::function<bool()>& cancelled) override {
    RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(task.job_document));
    RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(document));
    const Manifest manifest = model.plan.wire();
    RV_ASSIGN_OR_RETURN(const ParameterSet global, ReadParameterSet(*state, &manifest));
    if (!Sleep(cancelled)) return absl::CancelledError("told to stop");
    if (task.kind == Assignment::Kind::kEvaluate) return Evaluated();
    return Trained(document.spec.job.seed, task.key.round, global);
  }

 private:
  // TOY_DELAY_MS long, or until it is cancelled: false then.
  static bool Sleep(const std::function<bool()>& cancelled) {
    const char* text = std::getenv("TOY_DELAY_MS");
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::milliseconds(text == nullptr ? 0 : std::atoi(text));
    while (std::chrono::steady_clock::now() < end) {
      if (cancelled()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  static WorkResult Evaluated() {
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kEvaluated;
    result.outcome.loss_fixed = 3 << 20;
    result.outcome.counted = 1;
    return result;
  }

  WorkResult Trained(uint64_t seed, uint64_t round, const ParameterSet& global) const {
    ParameterSet delta(global.manifest());
    const RandomStream stream(RootOf(seed, round, name_), Purpose::kInitialValues, 0);
    for (size_t row = 0; row < delta.size(); ++row) {
      const std::span<float> out = delta.floats(row);
      const std::span<const float> now = global.floats(row);
      stream.FillUniform(static_cast<uint32_t>(row), out);
      for (size_t at = 0; at < out.size(); ++at) out[at] = 0.25f * (out[at] - now[at]);
    }
    if (std::getenv("TOY_LIE") != nullptr) {  // as far as an update may go, in one number
      delta = ParameterSet(global.manifest());
      delta.floats(0)[0] = 100;
    }
    if (std::getenv("TOY_NAN") != nullptr) delta.floats(0)[0] = std::nanf("");
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kTrained;
    result.outcome.examples = 4;
    result.outcome.tokens = 100 + static_cast<int64_t>(name_.size());
    result.outcome.steps = 1;
    result.outcome.loss = 2.5;
    result.file = SafetensorsBytes(delta);
    return result;
  }

  const Policy& policy_;
  const std::string name_;
};

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  return rivulet::AgentMain(
      argc, argv,
      [](const rivulet::Policy& policy, const std::string& name, const auto&) {
        return std::make_unique<rivulet::ToyWork>(policy, name);
      },
      rivulet::MakeFrail);
}

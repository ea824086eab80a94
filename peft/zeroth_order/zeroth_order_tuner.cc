#include "peft/zeroth_order/zeroth_order_tuner.h"

#include "peft/model/base_model.h"
#include "peft/trainer/guarded.h"
#include "peft/trainer/network_tuner.h"
#include "peft/trainer/process.h"
#include "peft/zeroth_order/cma_es_run.h"
#include "peft/zeroth_order/forward_run.h"
#include "peft/zeroth_order/zeroth_order_run.h"

namespace rivulet {
namespace {

class ZerothOrderTuner : public NetworkTuner {
 public:
  ZerothOrderTuner(std::unique_ptr<Network> network, std::unique_ptr<Method> method,
                   const JobSpec& job)
      : NetworkTuner(std::move(network), std::move(method), job) {}

 private:
  absl::StatusOr<TuneResult> TuneWith(const TuneRequest& request,
                                      kernels::Workspace& workspace) override {
    if (request.privacy) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "train.estimator: got \"" + train().estimator +
                        "\" with example privacy, which clips gradients; want backprop");
    }
    const RunSetting setting = SettingWith(RootOfClient(request));
    if (train().estimator == "cma-es") {
      CmaEsRun search(setting, *request.global, workspace);
      return Walk(request, search);
    }
    RV_ASSIGN_OR_RETURN(std::optional<ScalarTally> tally, TallyOf(request));
    const bool plain = train().estimator != "fzoo" && train().estimator != "grzo";
    const bool projects = request.project_gradient && tally && plain;
    StepDirections directions(train(), setting.root, manifest(), std::move(tally));
    if (projects) {
      ProjectedRun run(setting, *request.global, std::move(directions), workspace);
      return Walk(request, run);
    }
    if (train().estimator == "forward") {
      ForwardRun run(setting, *request.global, std::move(directions), workspace);
      return Walk(request, run);
    }
    ZerothOrderRun run(setting, *request.global, request.spent, std::move(directions), workspace);
    return Walk(request, run);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tuner>> MakeZerothOrderTuner(std::shared_ptr<const BaseModel> base,
                                                            const JobSpec& job) {
  RV_ASSIGN_OR_RETURN(const AdapterPlan plan, PlanAdapter(base->config(), base->match(), job));
  PrepareProcess();
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Tuner>> {
    RV_ASSIGN_OR_RETURN(std::unique_ptr<Method> method, MakeMethod(plan, job, &base->files()));
    return std::make_unique<ZerothOrderTuner>(MakeNetwork(std::move(base)), std::move(method), job);
  });
}

}  // namespace rivulet

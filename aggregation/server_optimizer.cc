#include "aggregation/server_optimizer.h"

#include <string>

#include "aggregation/server_optimizers.h"

namespace rivulet {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<ServerOptimizer> (*make)(const StrategySection&, const Manifest&);
};

// To add one: a .cc, a line in server_optimizers.h, a line here.
constexpr Entry kServerOptimizers[] = {
    {"fedavg", NewFedAvg},   {"fedavgm", NewFedAvgM},       {"fedadam", NewFedAdam},
    {"fedyogi", NewFedYogi}, {"fedadagrad", NewFedAdagrad},
};

absl::Status CheckDTypes(const Manifest& manifest) {
  for (const TensorSpec& spec : manifest) {
    if (spec.dtype == DType::kF32 || spec.dtype == DType::kF64) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  spec.name + ": got dtype " + std::string(NameOf(spec.dtype)) + ", want F32");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerOptimizer>> MakeServerOptimizer(
    const StrategySection& strategy, const Manifest& manifest) {
  RV_RETURN_IF_ERROR(CheckDTypes(manifest));
  for (const Entry& entry : kServerOptimizers) {
    if (entry.name == strategy.name) return entry.make(strategy, manifest);
  }
  std::string names;
  for (std::string_view name : ServerOptimizerNames()) names += " " + std::string(name);
  return Refuse(absl::StatusCode::kNotFound,
                "strategy.name: got '" + strategy.name + "', want one of:" + names);
}

std::vector<std::string_view> ServerOptimizerNames() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kServerOptimizers) names.push_back(entry.name);
  return names;
}

}  // namespace rivulet

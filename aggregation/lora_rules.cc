#include "aggregation/lora_rules.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace rivulet {
namespace {

constexpr std::string_view kA = ".lora_A.weight";
constexpr std::string_view kB = ".lora_B.weight";

absl::Status Bad(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

// Vectors of one length in a row: what a Gram matrix is taken of.
struct Rows {
  size_t count = 0;
  size_t length = 0;
  std::vector<double> values;  // [count, length]

  Rows(size_t count, size_t length) : count(count), length(length), values(count * length) {}
  double* row(size_t index) { return values.data() + index * length; }
  const double* row(size_t index) const { return values.data() + index * length; }
};

double Dot(const double* left, const double* right, size_t length) {
  std::array<double, 8> lanes{};
  size_t index = 0;
  for (; index + lanes.size() <= length; index += lanes.size()) {
    for (size_t lane = 0; lane < lanes.size(); ++lane) {
      lanes[lane] += left[index + lane] * right[index + lane];
    }
  }
  for (size_t lane = 0; index < length; ++index, ++lane) lanes[lane] += left[index] * right[index];
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

// |sum_q x_q y_q^T|_F, q over the rows of both: x_q is a column of some B_k, y_q a row of its A_k.
// The square is the sum over q, q' of <x_q, x_q'> <y_q, y_q'>.
double ProductNorm(const Rows& x, const Rows& y) {
  double square = 0;
  for (size_t left = 0; left < x.count; ++left) {
    for (size_t right = left; right < x.count; ++right) {
      const double term =
          Dot(x.row(left), x.row(right), x.length) * Dot(y.row(left), y.row(right), y.length);
      square += left == right ? term : 2 * term;
    }
  }
  return std::sqrt(std::max(square, 0.0));
}

// One module of all updates, in double.
struct ModuleFactors {
  const LoraPair& pair;
  size_t rank, inputs, outputs;
  std::span<const WeightedUpdate> updates;
  std::vector<double> share;  // p_k

  std::vector<double> Mean(size_t tensor, size_t size) const {
    std::vector<double> mean(size);
    for (size_t client = 0; client < updates.size(); ++client) {
      const std::span<const float> delta = updates[client].values[tensor];
      for (size_t index = 0; index < size; ++index) mean[index] += share[client] * delta[index];
    }
    return mean;
  }

  // |sum p_k (dB_k + b)(dA_k + a)|_F, `a` [r, n] and `b` [m, r] added times `sign`.
  template <typename T>
  double NormWith(const T& a, const T& b, double sign) const {
    Rows x(updates.size() * rank, outputs);
    Rows y(updates.size() * rank, inputs);
    for (size_t client = 0; client < updates.size(); ++client) {
      const std::span<const float> delta_a = updates[client].values[pair.a];
      const std::span<const float> delta_b = updates[client].values[pair.b];
      for (size_t q = 0; q < rank; ++q) {
        double* to_y = y.row(client * rank + q);
        for (size_t in = 0; in < inputs; ++in) {
          const size_t at = q * inputs + in;
          to_y[in] = share[client] * (delta_a[at] + sign * a[at]);
        }
        double* to_x = x.row(client * rank + q);
        for (size_t out = 0; out < outputs; ++out) {
          const size_t at = out * rank + q;
          to_x[out] = delta_b[at] + sign * b[at];
        }
      }
    }
    return ProductNorm(x, y);
  }
};

double Ratio(double lost, double whole) {
  if (lost == 0) return 0;
  return whole == 0 ? std::numeric_limits<double>::infinity() : lost / whole;
}

absl::StatusOr<std::vector<double>> SharesOf(const Manifest& manifest,
                                             std::span<const WeightedUpdate> updates) {
  double weights = 0;
  for (const WeightedUpdate& update : updates) {
    if (update.weight < 1)
      return Bad("weight: got " + std::to_string(update.weight) + ", want >= 1");
    if (update.values.size() != manifest.size()) {
      return Bad("update: got " + std::to_string(update.values.size()) + " tensors, want " +
                 std::to_string(manifest.size()));
    }
    for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
      const auto want = static_cast<size_t>(manifest[tensor].elements());
      if (update.values[tensor].size() == want) continue;
      return Bad(manifest[tensor].name + ": got " + std::to_string(update.values[tensor].size()) +
                 " values, want " + std::to_string(want));
    }
    weights += static_cast<double>(update.weight);
  }
  std::vector<double> shares;
  for (const WeightedUpdate& update : updates) {
    shares.push_back(static_cast<double>(update.weight) / weights);
  }
  return shares;
}

absl::Status CheckPair(const TensorSpec& a, const TensorSpec& b) {
  const bool fits = a.dtype == DType::kF32 && b.dtype == DType::kF32 && a.shape.size() == 2 &&
                    b.shape.size() == 2 && a.shape[0] == b.shape[1];
  if (fits) return absl::OkStatus();
  return Bad("LoRA pair: got " + Describe(a) + " and " + Describe(b) +
             ", want F32 [r,n] and [m,r]");
}

}  // namespace

absl::StatusOr<std::vector<LoraPair>> LoraPairsOf(const Manifest& manifest) {
  const auto index_of = [&manifest](const std::string& name) -> size_t {
    size_t row = 0;
    while (row < manifest.size() && manifest[row].name != name) ++row;
    return row;
  };
  std::vector<LoraPair> pairs;
  for (size_t row = 0; row < manifest.size(); ++row) {
    const std::string& name = manifest[row].name;
    const bool is_a = name.ends_with(kA);
    if (!is_a && !name.ends_with(kB)) continue;
    const std::string module = name.substr(0, name.size() - kA.size());
    const std::string partner = module + std::string(is_a ? kB : kA);
    const size_t other = index_of(partner);
    if (other == manifest.size()) return Bad(name + ": got no partner, want " + partner);
    if (!is_a) continue;
    RV_RETURN_IF_ERROR(CheckPair(manifest[row], manifest[other]));
    pairs.push_back({module, row, other});
  }
  return pairs;
}

absl::StatusOr<FactorBiasReport> FactorBias(const ParameterSet& global,
                                            std::span<const WeightedUpdate> updates) {
  const Manifest& manifest = global.manifest();
  RV_ASSIGN_OR_RETURN(const std::vector<LoraPair> pairs, LoraPairsOf(manifest));
  if (pairs.empty() || updates.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "bias of factor averaging: got " + std::to_string(pairs.size()) +
                      " LoRA pairs and " + std::to_string(updates.size()) +
                      " updates, want at least one of each");
  }
  RV_ASSIGN_OR_RETURN(const std::vector<double> shares, SharesOf(manifest, updates));
  FactorBiasReport report;
  double lost = 0, whole = 0;  // squares
  for (const LoraPair& pair : pairs) {
    const TensorSpec& a = manifest[pair.a];
    const TensorSpec& b = manifest[pair.b];
    const ModuleFactors factors{pair,
                                static_cast<size_t>(a.shape[0]),
                                static_cast<size_t>(a.shape[1]),
                                static_cast<size_t>(b.shape[0]),
                                updates,
                                shares};
    const double module_lost = factors.NormWith(factors.Mean(pair.a, a.elements()),
                                                factors.Mean(pair.b, b.elements()), -1);
    const double module_whole = factors.NormWith(global.floats(pair.a), global.floats(pair.b), 1);
    report.modules.push_back({pair.module, Ratio(module_lost, module_whole)});
    lost += module_lost * module_lost;
    whole += module_whole * module_whole;
  }
  report.total = Ratio(std::sqrt(lost), std::sqrt(whole));
  return report;
}

}  // namespace rivulet

#include "peft/model/generate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/random.h"

namespace rivulet {
namespace {

at::Tensor Ids(std::span<const int32_t> ids) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

int32_t Greedy(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Classes by falling logit, no more than top_k of them.
std::vector<int32_t> Likeliest(std::span<const float> logits, int top_k) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (top_k > 0 && static_cast<size_t>(top_k) < order.size()) order.resize(top_k);
  return order;
}

}  // namespace

int32_t Sample(std::span<const float> logits, const GenerateOptions& options, double unit) {
  if (options.temperature <= 0) return Greedy(logits);
  std::vector<int32_t> order = Likeliest(logits, options.top_k);
  std::vector<double> weights;
  for (int32_t id : order) {
    weights.push_back(std::exp((logits[id] - logits[order[0]]) / options.temperature));
  }
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < options.top_p * all)) mass += weights[kept++];
  double left = unit * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

std::vector<int32_t> GenerateTokens(const Network& network, const Adaptation& adaptation,
                                    std::span<const int32_t> prompt, const GenerateOptions& options,
                                    Pass& pass) {
  const at::NoGradGuard no_grad;
  RandomCursor cursor(RandomStream(options.seed, Purpose::kSampling, 0));
  const Linear output[] = {{network.OutputMatrix(adaptation), {}, nullptr}};
  KeyValueCache cache;
  std::vector<int32_t> text;
  at::Tensor ids = Ids(prompt);
  const size_t room =
      LongestSequence(network.base().config()) - adaptation.virtual_tokens() - prompt.size();
  while (static_cast<int>(text.size()) < options.max_new_tokens && text.size() <= room) {
    const at::Tensor hidden = network.Continue(ids, cache, adaptation, pass);
    const at::Tensor logits = Project(hidden.narrow(0, hidden.size(0) - 1, 1), output, pass);
    const int32_t id = Sample({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
                              options, cursor.Unit());
    const auto& stops = options.stop_ids;
    if (std::find(stops.begin(), stops.end(), id) != stops.end()) break;
    text.push_back(id);
    if (options.on_token && !options.on_token(id)) break;
    ids = Ids({&id, 1});
  }
  return text;
}

}  // namespace rivulet

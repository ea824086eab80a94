#include "coordinator/rounds/selection.h"

#include <algorithm>
#include <cmath>

#include "common/random.h"

namespace rivulet {
namespace {

// Keeps 0.3 * 10 at 3 whatever binary64 makes of it.
constexpr double kSlack = 1e-9;

int NeededOf(const EngineConfig& config, int eligible) {
  if (config.selection == "all") return eligible;
  if (config.clients_per_round > 0) return std::min(config.clients_per_round, eligible);
  const int share = static_cast<int>(std::floor(config.fraction * eligible + kSlack));
  return std::min(std::max(share, config.min_clients), eligible);
}

std::vector<std::string> ByCapability(const std::map<std::string, uint64_t>& eligible) {
  std::vector<std::pair<uint64_t, std::string>> order;
  for (const auto& [name, capability] : eligible) order.emplace_back(~capability, name);
  std::sort(order.begin(), order.end());
  std::vector<std::string> names;
  for (auto& [rank, name] : order) names.push_back(std::move(name));
  return names;
}

std::vector<std::string> ByChance(const EngineConfig& config,
                                  const std::map<std::string, uint64_t>& eligible, uint64_t round,
                                  uint32_t attempt) {
  std::vector<std::string> names;
  for (const auto& [name, capability] : eligible) names.push_back(name);
  RandomCursor cursor(RandomStream(RootOf(config.seed, round, ""), Purpose::kCohort, attempt));
  Shuffle(cursor, std::span(names));
  return names;
}

Cohort Choose(const EngineConfig& config, const std::map<std::string, uint64_t>& eligible,
              uint64_t round, uint32_t attempt) {
  Cohort cohort;
  if (config.draw) {
    std::vector<std::string> names;
    for (const auto& [name, capability] : eligible) names.push_back(name);
    cohort.invited = config.draw(std::move(names), round, attempt);
    cohort.needed = static_cast<int>(cohort.invited.size());
    return cohort;
  }
  cohort.needed = NeededOf(config, static_cast<int>(eligible.size()));
  cohort.invited = config.selection == "capability" ? ByCapability(eligible)
                                                    : ByChance(config, eligible, round, attempt);
  const double wanted = std::ceil(cohort.needed * config.over_selection - kSlack);
  const size_t invited =
      std::max<size_t>(static_cast<size_t>(cohort.needed), static_cast<size_t>(wanted));
  if (invited < cohort.invited.size()) cohort.invited.resize(invited);
  std::sort(cohort.invited.begin(), cohort.invited.end());
  return cohort;
}

}  // namespace

Cohort SelectCohort(const EngineConfig& config, const std::map<std::string, uint64_t>& eligible,
                    uint64_t round, uint32_t attempt) {
  if (!eligible.contains(config.trusted)) return Choose(config, eligible, round, attempt);
  std::map<std::string, uint64_t> others = eligible;
  others.erase(config.trusted);
  Cohort cohort = Choose(config, others, round, attempt);
  ++cohort.needed;
  const auto place = std::lower_bound(cohort.invited.begin(), cohort.invited.end(), config.trusted);
  cohort.invited.insert(place, config.trusted);
  return cohort;
}

}  // namespace rivulet

#include "aggregation/robust/groups.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "aggregation/robust/rules.h"
#include "common/io/sha256.h"

namespace rivulet {
namespace {

absl::Status BadGroups(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, "groups: " + message);
}

// Words of SHA-256("rivulet/groups" | key | block).
class GroupWords {
 public:
  explicit GroupWords(GroupKey key) : address_("rivulet/groups") {
    address_.append(reinterpret_cast<const char*>(key.data()), key.size());
  }

  // Uniform in 0 .. m-1: the top of the range that m does not divide is drawn again.
  uint64_t Bounded(uint64_t m) {
    const uint64_t excess = (~uint64_t{0} % m + 1) % m;  // 2^64 mod m
    while (true) {
      const uint64_t word = Next();
      if (word <= ~uint64_t{0} - excess) return word % m;
    }
  }

 private:
  uint64_t Next() {
    if (at_ == digest_.size()) {
      std::string block = address_;
      for (int byte = 0; byte < 8; ++byte) block += static_cast<char>(block_ >> (8 * byte));
      digest_ = Sha256Of(block);
      ++block_;
      at_ = 0;
    }
    uint64_t word = 0;
    for (int byte = 0; byte < 8; ++byte) word |= uint64_t{digest_[at_++]} << (8 * byte);
    return word;
  }

  std::string address_;
  uint64_t block_ = 0;
  Sha256Digest digest_{};
  size_t at_ = digest_.size();
};

// Sizes of the groups of a partition: `larger` of size + 1, the others of size.
struct GroupSizes {
  uint32_t groups, size, larger;

  GroupSizes(uint32_t n, uint32_t groups) : groups(groups), size(n / groups), larger(n % groups) {}
  uint32_t largest() const { return size + (larger > 0 ? 1 : 0); }
};

absl::Status CheckCohort(uint32_t n, uint32_t g, uint32_t f) {
  if (g >= 1 && g <= n && f <= n) return absl::OkStatus();
  return BadGroups("got n = " + std::to_string(n) + ", g = " + std::to_string(g) +
                   ", f = " + std::to_string(f) + ", want 1 <= g <= n and f <= n");
}

// What a request comes to, whether or not it can be had.
absl::StatusOr<GroupPlan> PlanOf(const GroupRequest& request, const UpdatesNeeded& needed) {
  GroupPlan plan;
  plan.groups = request.n / request.g;
  const GroupSizes sizes(request.n, plan.groups);
  plan.largest = sizes.largest();
  if (plan.groups >= needed.plus) {
    plan.f_groups = static_cast<uint32_t>((plan.groups - needed.plus) / needed.times_f);
  }
  RV_ASSIGN_OR_RETURN(plan.corrupt, CorruptInGroup(request.n, plan.largest, request.f_max));
  const uint32_t revealed = request.threshold == 0 ? sizes.size : request.threshold;
  plan.h = revealed - std::min(revealed, plan.corrupt);
  if (plan.groups < needed.plus) {
    plan.failure = 1;
  } else if (request.f_max > plan.f_groups) {
    RV_ASSIGN_OR_RETURN(plan.failure,
                        SpoiledAtLeast(request.n, request.g, request.f_max, plan.f_groups + 1));
  }
  return plan;
}

absl::Status CheckRequest(const GroupRequest& request) {
  RV_RETURN_IF_ERROR(CheckCohort(request.n, request.g, request.f_max));
  if (request.threshold > request.g) {
    return BadGroups("got a threshold of " + std::to_string(request.threshold) +
                     " members, want at most g = " + std::to_string(request.g));
  }
  if (!(request.accepted_failure >= 0) || request.accepted_failure >= 1) {
    return BadGroups("got an accepted failure of " + std::to_string(request.accepted_failure) +
                     ", want 0 .. 1, 1 excluded");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::vector<uint32_t>>> PartitionIntoGroups(uint32_t n, uint32_t groups,
                                                                       GroupKey key) {
  if (groups < 1 || groups > n) {
    return BadGroups("got " + std::to_string(groups) + " groups of " + std::to_string(n) +
                     " clients, want 1 .. " + std::to_string(n));
  }
  std::vector<uint32_t> members(n);
  std::iota(members.begin(), members.end(), 0);
  GroupWords words(key);
  for (uint32_t left = n; left > 1; --left)
    std::swap(members[left - 1], members[words.Bounded(left)]);
  const GroupSizes sizes(n, groups);
  std::vector<std::vector<uint32_t>> partition;
  auto from = members.begin();
  for (uint32_t group = 0; group < groups; ++group) {
    const auto to = from + sizes.size + (group < sizes.larger ? 1 : 0);
    std::sort(from, to);
    partition.emplace_back(from, to);
    from = to;
  }
  return partition;
}

// State: how many of the larger and of the smaller groups are spoiled. The next bad client takes a
// free place in one of them, which changes nothing, or in a clean group.
absl::StatusOr<double> SpoiledAtLeast(uint32_t n, uint32_t g, uint32_t f, uint32_t spoiled) {
  RV_RETURN_IF_ERROR(CheckCohort(n, g, f));
  const GroupSizes sizes(n, n / g);
  const size_t large = sizes.larger, small = sizes.groups - sizes.larger;
  const size_t width = small + 1;
  std::vector<double> states((large + 1) * width);
  states[0] = 1;
  for (uint32_t placed = 0; placed < f; ++placed) {
    const double free = n - placed;
    for (size_t at = std::min<size_t>(states.size() - 1, (placed + 1) * (width + 1)) + 1;
         at-- > 0;) {
      const size_t a = at / width, b = at % width;
      const double larger_places = static_cast<double>(a) * (sizes.size + 1.0);
      const double smaller_places = static_cast<double>(b) * sizes.size;
      double next = states[at] * std::max(larger_places + smaller_places - placed, 0.0) / free;
      if (a > 0) {
        const double clean = static_cast<double>(large - a + 1) * (sizes.size + 1.0);
        next += states[at - width] * clean / free;
      }
      if (b > 0) {
        const double clean = static_cast<double>(small - b + 1) * sizes.size;
        next += states[at - 1] * clean / free;
      }
      states[at] = next;
    }
  }
  double sum = 0;
  for (size_t at = 0; at < states.size(); ++at) {
    if (at / width + at % width >= spoiled) sum += states[at];
  }
  return std::min(sum, 1.0);
}

// Terms relative to the largest, which is 1: nothing overflows, and what underflows does not count.
absl::StatusOr<uint32_t> CorruptInGroup(uint32_t n, uint32_t g, uint32_t f) {
  RV_RETURN_IF_ERROR(CheckCohort(n, g, f));
  const int64_t least = std::max<int64_t>(0, int64_t{g} - (int64_t{n} - f));
  const int64_t most = std::min(g, f);
  const int64_t mode =
      std::clamp<int64_t>((int64_t{g} + 1) * (int64_t{f} + 1) / (int64_t{n} + 2), least, most);
  // P(k + 1) / P(k)
  const auto ratio = [&](int64_t k) {
    return static_cast<double>(f - k) * static_cast<double>(g - k) /
           (static_cast<double>(k + 1) * static_cast<double>(int64_t{n} - f - g + k + 1));
  };
  std::vector<double> terms(static_cast<size_t>(most - least + 1));
  terms[static_cast<size_t>(mode - least)] = 1;
  for (int64_t k = mode; k < most; ++k) {
    terms[static_cast<size_t>(k + 1 - least)] = terms[static_cast<size_t>(k - least)] * ratio(k);
  }
  for (int64_t k = mode; k > least; --k) {
    terms[static_cast<size_t>(k - 1 - least)] =
        terms[static_cast<size_t>(k - least)] / ratio(k - 1);
  }
  double total = 0;
  for (const double term : terms) total += term;
  double tail = 0;
  for (int64_t k = most; k > least; --k) {
    tail += terms[static_cast<size_t>(k - least)];
    if (tail > total * 0x1p-40) return static_cast<uint32_t>(k);
  }
  return static_cast<uint32_t>(least);
}

absl::StatusOr<GroupPlan> CheckGroupPlan(const GroupRequest& request) {
  RV_RETURN_IF_ERROR(CheckRequest(request));
  const auto needed = BreakdownOf(request.rule);
  if (!needed.has_value()) {
    return BadGroups("got rule '" + std::string(request.rule) +
                     "', want one with a breakdown point, such as median");
  }
  RV_ASSIGN_OR_RETURN(const GroupPlan plan, PlanOf(request, *needed));
  const bool robust = plan.failure <= request.accepted_failure;
  if (robust && plan.h >= request.h_min) return plan;
  std::string message = "groups: got f_max = " + std::to_string(request.f_max) +
                        " and h_min = " + std::to_string(request.h_min) + " for " +
                        std::to_string(plan.groups) + " groups of " + std::to_string(request.g);
  if (!robust) {
    message += "; " + std::string(request.rule) + " wants " +
               std::to_string(needed->For(request.f_max)) + " groups, or an accepted failure of " +
               std::to_string(plan.failure) + ": use smaller groups";
  }
  if (plan.h < request.h_min) {
    message += "; up to " + std::to_string(plan.corrupt) +
               " of a group may be corrupt, which leaves " + std::to_string(plan.h) +
               " honest ones, want " + std::to_string(request.h_min) + ": use larger groups";
  }
  return Refuse(absl::StatusCode::kFailedPrecondition, message);
}

}  // namespace rivulet

#include "privacy/dp/tree.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "privacy/dp/mechanism.h"
#include "privacy/dp/sampler.h"

namespace rivulet {
namespace {

constexpr double kMostWork = 1e9;  // additions: about a second
constexpr double kImpossible = -1;

// Of a stretch of rounds: the most that m participations can weigh, by how many free rounds are
// before the first and after the last of them (each counted up to the separation).
class Stretch {
 public:
  Stretch(int64_t width, int64_t most, int64_t separation)
      : width_(width), most_(most), side_(separation + 1), cells_((most + 1) * side_ * side_) {
    std::fill(cells_.begin(), cells_.end(), kImpossible);
  }
  double& At(int64_t m, int64_t before, int64_t after) {
    return cells_[(m * side_ + before) * side_ + after];
  }
  double Best(int64_t m) const {
    const auto first = cells_.begin() + m * side_ * side_;
    return m == 0 ? 0 : *std::max_element(first, first + side_ * side_);
  }
  int64_t width() const { return width_; }
  int64_t most() const { return most_; }

  static Stretch Leaf(int64_t separation) {
    Stretch leaf(1, 1, separation);
    leaf.At(1, 0, 0) = 0;
    return leaf;
  }
  void AddNode() {
    for (int64_t m = 1; m <= most_; ++m) {
      for (int64_t cell = 0; cell < side_ * side_; ++cell) {
        double& value = cells_[m * side_ * side_ + cell];
        if (value != kImpossible) value += static_cast<double>(m * m);
      }
    }
  }

 private:
  int64_t width_, most_, side_;
  std::vector<double> cells_;
};

// Both, one after the other, without a node of their own.
class Joiner {
 public:
  Joiner(int64_t max_participation, int64_t separation)
      : max_participation_(max_participation), separation_(separation) {}

  int64_t Fits(int64_t width) const {
    return std::min(max_participation_, (width + separation_) / (separation_ + 1));
  }

  Stretch Join(Stretch left, Stretch right) const {
    const int64_t width = left.width() + right.width();
    Stretch both(width, Fits(width), separation_);
    Alone(left, right, both);
    FillSuffixes(left, right);
    for (int64_t m1 = 1; m1 <= left.most(); ++m1) {
      for (int64_t m2 = 1; m2 <= right.most() && m1 + m2 <= both.most(); ++m2) {
        Together(left, right, m1, m2, both);
      }
    }
    return both;
  }

 private:
  void Alone(Stretch& left, Stretch& right, Stretch& both) const {
    for (int64_t x = 0; x <= separation_; ++x) {
      for (int64_t y = 0; y <= separation_; ++y) {
        for (int64_t m = 1; m <= std::min(left.most(), both.most()); ++m) {
          double& cell = both.At(m, x, std::min(separation_, y + right.width()));
          cell = std::max(cell, left.At(m, x, y));
        }
        for (int64_t m = 1; m <= std::min(right.most(), both.most()); ++m) {
          double& cell = both.At(m, std::min(separation_, x + left.width()), y);
          cell = std::max(cell, right.At(m, x, y));
        }
      }
    }
  }
  // "exactly x free rounds at the seam" becomes "x or more".
  void FillSuffixes(Stretch& left, Stretch& right) const {
    for (int64_t x = separation_ - 1; x >= 0; --x) {
      for (int64_t y = 0; y <= separation_; ++y) {
        for (int64_t m = 1; m <= left.most(); ++m) {
          left.At(m, y, x) = std::max(left.At(m, y, x), left.At(m, y, x + 1));
        }
        for (int64_t m = 1; m <= right.most(); ++m) {
          right.At(m, x, y) = std::max(right.At(m, x, y), right.At(m, x + 1, y));
        }
      }
    }
  }
  void Together(Stretch& left, Stretch& right, int64_t m1, int64_t m2, Stretch& both) const {
    for (int64_t before = 0; before <= separation_; ++before) {
      for (int64_t gap = 0; gap <= separation_; ++gap) {
        const double first = left.At(m1, before, gap);
        if (first == kImpossible) continue;
        for (int64_t after = 0; after <= separation_; ++after) {
          const double second = right.At(m2, separation_ - gap, after);
          if (second == kImpossible) continue;
          double& cell = both.At(m1 + m2, before, after);
          cell = std::max(cell, first + second);
        }
      }
    }
  }

  int64_t max_participation_, separation_;
};

double ExactSensitivity(int64_t steps, int64_t max_participation, int64_t separation) {
  const Joiner joiner(max_participation, separation);
  // The complete subtrees of `steps`, smallest to largest; in time the largest come first.
  Stretch complete = Stretch::Leaf(separation);
  complete.AddNode();
  std::optional<Stretch> total;
  for (int level = 0; steps >> level != 0; ++level) {
    if (level > 0) {
      complete = joiner.Join(complete, complete);
      complete.AddNode();
    }
    if ((steps >> level & 1) == 0) continue;
    total = total.has_value() ? joiner.Join(complete, *total) : complete;
  }
  double best = 0;
  for (int64_t m = 1; m <= total->most(); ++m) best = std::max(best, total->Best(m));
  return best;
}

}  // namespace

double TreeSensitivityBound(int64_t steps, int64_t max_participation, int64_t min_separation) {
  const auto fits = [&](int64_t width) {
    return std::min(max_participation, (width - 1) / (min_separation + 1) + 1);
  };
  double total = 0;
  for (int level = 0; steps >> level != 0; ++level) {
    const int64_t most = fits(int64_t{1} << level), nodes = steps >> level, all = fits(steps);
    const int64_t full = std::min(nodes, all / most), rest = full < nodes ? all % most : 0;
    const auto square = [](int64_t m) { return static_cast<double>(m) * static_cast<double>(m); };
    total += static_cast<double>(full) * square(most) + square(rest);
  }
  return total;
}

absl::StatusOr<double> TreeSensitivitySquared(int64_t steps, int64_t max_participation,
                                              int64_t min_separation) {
  if (steps < 1 || steps > 1'000'000'000 || max_participation < 1 || min_separation < 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tree: got " + std::to_string(steps) + " steps, " +
                      std::to_string(max_participation) + " participations, separation " +
                      std::to_string(min_separation) + ", want 1..10^9, 1 or more, 0 or more");
  }
  // More separation than rounds is as much as rounds.
  const int64_t separation = std::min(min_separation, steps - 1);
  const auto side = static_cast<double>(separation + 1);
  const auto fits =
      static_cast<double>(std::min(max_participation, (steps + separation) / (separation + 1)));
  if (fits == 1) return static_cast<double>(std::bit_width(static_cast<uint64_t>(steps)));
  const double work = 3 * fits * fits * side * side * side;
  if (work > kMostWork) return TreeSensitivityBound(steps, max_participation, separation);
  return ExactSensitivity(steps, static_cast<int64_t>(fits), separation);
}

absl::StatusOr<TreeNoise> TreeNoise::Make(const NoiseSeed& seed, uint64_t variance) {
  RV_RETURN_IF_ERROR(DiscreteGaussian::Make(variance).status());
  return TreeNoise(seed, variance);
}

absl::Status TreeNoise::AddNode(int level, int64_t index, int sign, int64_t first,
                                std::span<int64_t> out) const {
  return AddBlockNoise(*seed_, "tree/" + std::to_string(level) + "/" + std::to_string(index),
                       variance_, sign, first, out);
}

absl::Status TreeNoise::AddToPrefix(int64_t rounds, int64_t first, std::span<int64_t> out) const {
  if (rounds < 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tree: got " + std::to_string(rounds) + " rounds, want 0 or more");
  }
  for (int level = 0; rounds >> level != 0; ++level) {
    if ((rounds >> level & 1) == 0) continue;
    RV_RETURN_IF_ERROR(AddNode(level, (rounds >> level) - 1, 1, first, out));
  }
  return absl::OkStatus();
}

absl::Status TreeNoise::AddToRound(int64_t round, int64_t first, std::span<int64_t> out) const {
  if (round < 1) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tree: got round " + std::to_string(round) + ", want 1 or more");
  }
  // The round completes one node, which takes the place of the smaller ones that it ends.
  const int level = std::countr_zero(static_cast<uint64_t>(round));
  RV_RETURN_IF_ERROR(AddNode(level, (round >> level) - 1, 1, first, out));
  for (int below = 0; below < level; ++below) {
    RV_RETURN_IF_ERROR(AddNode(below, ((round - 1) >> below) - 1, -1, first, out));
  }
  return absl::OkStatus();
}

}  // namespace rivulet

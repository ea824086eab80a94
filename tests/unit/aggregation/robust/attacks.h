#pragma once

#include <functional>
#include <string>
#include <vector>

namespace rivulet {

using Vectors = std::vector<std::vector<float>>;

// What attackers know: the worst case, everything.
struct AttackScene {
  const Vectors& honest;  // this round's honest updates
  const Vectors& own;     // what the attackers would send if they were honest
  const std::vector<float>& global;
  size_t n = 0;     // in the round, with the attackers
  double clip = 0;  // C
  uint64_t seed = 0;
};

// Returns one update for each of scene.own.
struct Attack {
  std::string name;
  std::function<Vectors(const AttackScene&)> forge;
  bool crude = false;  // one that a robust configuration must shrug off, and that ruins a mean
};

// The constructions of the literature: sign flip, boosted replacement, one vector for all, noise,
// label flip (the gradient towards the mirrored optimum), backdoor (a pull on four coordinates,
// boosted up to the clip), A Little Is Enough (Baruch et al. 2019), inner-product manipulation (Xie
// et al. 2019), min-max and min-sum (Shejwalkar and Houmansadr 2021), rank (huge A, tiny B), zero,
// drift (honest but for a constant push inside all bounds).
std::vector<Attack> AllAttacks();

// Where `backdoor` wants its coordinates [0, kBackdoorWidth).
inline constexpr size_t kBackdoorWidth = 4;
inline constexpr float kBackdoorTarget = 8;

}  // namespace rivulet

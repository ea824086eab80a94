#include "tests/unit/aggregation/robust/attacks.h"

#include <algorithm>
#include <cmath>

#include "common/random.h"

namespace rivulet {
namespace {

using Vector = std::vector<float>;

double NormOf(const Vector& x) {
  double square = 0;
  for (const float value : x) square += static_cast<double>(value) * value;
  return std::sqrt(square);
}

double SquareBetween(const Vector& x, const Vector& y) {
  double square = 0;
  for (size_t at = 0; at < x.size(); ++at) {
    square += (static_cast<double>(x[at]) - y[at]) * (static_cast<double>(x[at]) - y[at]);
  }
  return square;
}

Vector Scaled(const Vector& x, double factor) {
  Vector scaled = x;
  for (float& value : scaled) value = static_cast<float>(value * factor);
  return scaled;
}

// x + factor * direction
Vector Moved(const Vector& x, double factor, const Vector& direction) {
  Vector moved = x;
  for (size_t at = 0; at < x.size(); ++at) {
    moved[at] = static_cast<float>(moved[at] + factor * direction[at]);
  }
  return moved;
}

Vector MeanOfAll(const Vectors& all) {
  Vector mean(all[0].size());
  for (const Vector& x : all) mean = Moved(mean, 1.0 / static_cast<double>(all.size()), x);
  return mean;
}

Vector DeviationOfAll(const Vectors& all) {
  const Vector mean = MeanOfAll(all);
  Vector deviation(mean.size());
  for (size_t at = 0; at < mean.size(); ++at) {
    double square = 0;
    for (const Vector& x : all) square += std::pow(static_cast<double>(x[at]) - mean[at], 2);
    deviation[at] = static_cast<float>(std::sqrt(square / static_cast<double>(all.size())));
  }
  return deviation;
}

Vectors AllSend(const AttackScene& scene, const Vector& x) { return Vectors(scene.own.size(), x); }

Vectors EachSends(const AttackScene& scene, const std::function<Vector(const Vector&)>& forge) {
  Vectors forged;
  for (const Vector& own : scene.own) forged.push_back(forge(own));
  return forged;
}

// Phi^-1, by bisection.
double NormalQuantile(double probability) {
  double low = -8, high = 8;
  while (high - low > 1e-9) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < probability ? low : high) = middle;
  }
  return low;
}

Vectors ALittleIsEnough(const AttackScene& scene) {
  const auto n = static_cast<double>(scene.n);
  const auto f = static_cast<double>(scene.own.size());
  const double s = std::floor(n / 2 + 1) - f;
  const double z = NormalQuantile(std::clamp((n - f - s) / (n - f), 0.5, 1 - 1e-6));
  return AllSend(scene, Moved(MeanOfAll(scene.honest), -z, DeviationOfAll(scene.honest)));
}

// The largest gamma for which mean + gamma * p keeps `measure` (max or sum of squared distances to
// the honest) within what an honest one has.
Vectors FarthestUnseen(const AttackScene& scene, const Vector& p, bool use_sum) {
  const auto measure = [&](const Vector& x) {
    double most = 0, sum = 0;
    for (const Vector& honest : scene.honest) {
      most = std::max(most, SquareBetween(x, honest));
      sum += SquareBetween(x, honest);
    }
    return use_sum ? sum : most;
  };
  double limit = 0;
  for (const Vector& honest : scene.honest) limit = std::max(limit, measure(honest));
  const Vector mean = MeanOfAll(scene.honest);
  double low = 0, high = 1e4;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    (measure(Moved(mean, middle, p)) <= limit ? low : high) = middle;
  }
  return AllSend(scene, Moved(mean, low, p));
}

Vector UnitOf(const Vector& x) { return Scaled(x, 1 / std::max(NormOf(x), 1e-12)); }

Vector SignsOf(const Vector& x) {
  Vector signs = x;
  for (float& value : signs) value = value > 0 ? 1.0f : value < 0 ? -1.0f : 0.0f;
  return signs;
}

Attack SignFlip(double lambda) {
  return {"sign flip " + std::to_string(static_cast<int>(lambda)),
          [lambda](const AttackScene& scene) {
            return EachSends(scene, [&](const Vector& own) { return Scaled(own, -lambda); });
          },
          lambda > 1};
}

Attack InnerProduct(double epsilon) {
  return {epsilon < 1 ? "inner product 0.1" : "inner product 10",
          [epsilon](const AttackScene& scene) {
            return AllSend(scene, Scaled(MeanOfAll(scene.honest), -epsilon));
          },
          epsilon > 1};
}

Attack Unseen(const std::string& name, int direction, bool use_sum) {
  return {name, [direction, use_sum](const AttackScene& scene) {
            const Vector mean = MeanOfAll(scene.honest);
            const Vector p = direction == 0   ? Scaled(UnitOf(mean), -1)
                             : direction == 1 ? Scaled(DeviationOfAll(scene.honest), -1)
                                              : Scaled(SignsOf(mean), -1);
            return FarthestUnseen(scene, p, use_sum);
          }};
}

Vectors Noise(const AttackScene& scene) {
  Vectors forged = scene.own;
  for (size_t bad = 0; bad < forged.size(); ++bad) {
    RandomStream(scene.seed, Purpose::kSketch, 77)
        .FillGauss(static_cast<uint32_t>(bad), forged[bad]);
    forged[bad] = Scaled(forged[bad], 10 * scene.clip);
  }
  return forged;
}

// (n / w)(target - global) with the target all -20.
Vectors Boost(const AttackScene& scene) {
  Vector away = scene.global;
  for (float& value : away) value = -20 - value;
  return AllSend(scene, Scaled(away, static_cast<double>(scene.n)));
}

// eta (-t - x) where the honest send eta (t - x): own - 2 (own + eta x), with eta from the toy.
Vectors LabelFlip(const AttackScene& scene) {
  constexpr double kRate = 0.3;
  return EachSends(
      scene, [&](const Vector& own) { return Moved(Scaled(own, -1), -2 * kRate, scene.global); });
}

Vectors Backdoor(const AttackScene& scene) {
  return EachSends(scene, [&](const Vector& own) {
    Vector forged = own;
    for (size_t at = 0; at < kBackdoorWidth; ++at) {
      forged[at] = static_cast<float>(10 * (kBackdoorTarget - scene.global[at]));
    }
    return Scaled(forged, scene.clip / std::max(NormOf(forged), 1e-12));
  });
}

Vectors Drift(const AttackScene& scene) {
  const Vector push(scene.global.size(), -1.0f);
  return EachSends(scene, [&](const Vector& own) {
    const Vector forged = Moved(own, 0.5 * scene.clip / NormOf(push), push);
    return Scaled(forged, std::min(1.0, scene.clip / std::max(NormOf(forged), 1e-12)));
  });
}

// The first half of the vector is A, the second B.
Vectors Rank(const AttackScene& scene) {
  return EachSends(scene, [&](const Vector& own) {
    Vector forged = own;
    for (size_t at = 0; at < forged.size(); ++at) {
      forged[at] *= at < forged.size() / 2 ? -1000.0f : -0.001f;
    }
    return forged;
  });
}

}  // namespace

std::vector<Attack> AllAttacks() {
  return {
      SignFlip(1),
      SignFlip(5),
      {"boost", Boost, true},
      {"same value",
       [](const AttackScene& scene) {
         return AllSend(scene, Vector(scene.global.size(), static_cast<float>(-scene.clip)));
       },
       true},
      {"noise", Noise, true},
      {"label flip", LabelFlip, true},
      {"backdoor", Backdoor},
      {"a little is enough", ALittleIsEnough},
      InnerProduct(0.1),
      InnerProduct(10),
      Unseen("min-max unit", 0, false),
      Unseen("min-max deviation", 1, false),
      Unseen("min-max sign", 2, false),
      Unseen("min-sum unit", 0, true),
      Unseen("min-sum deviation", 1, true),
      Unseen("min-sum sign", 2, true),
      {"rank", Rank, true},
      {"zero",
       [](const AttackScene& scene) { return AllSend(scene, Vector(scene.global.size(), 0.0f)); }},
      {"drift", Drift},
  };
}

}  // namespace rivulet

// Audits of the noise that protects clients: what is released against what the accountant claims.
// A canary is a client that sends nothing but its own coordinate, far above the clip norm.
#include <gtest/gtest.h>

#include "aggregation/fixed_point_sum.h"
#include "common/io/sha256.h"
#include "common/random.h"
#include "privacy/dp/accountant.h"
#include "privacy/dp/central_run.h"
#include "privacy/dp/clip.h"
#include "privacy/masking/masked_vector.h"
#include "tests/statistical/one_run_audit.h"
#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet {
namespace {

constexpr double kDelta = 1e-9;   // of claims; the theorem pays 2 m delta for it
constexpr double kChance = 1e-6;  // that an audit refutes a true claim
constexpr int64_t kCanaries = 600;
constexpr size_t kEach = 150;  // guesses of either kind
constexpr double kClipNorm = 1;

// By hand: one right guess of one has e^eps / (1 + e^eps); of 100, all right, 1/20 where that is
// 20^(-1/100), hence eps = -ln(20^(1/100) - 1) = 3.493. delta adds 2 m delta / (1 + e^eps).
TEST(OneRunAudit, MatchesHandComputation) {
  EXPECT_NEAR(AuditChance({1, 1, 1}, std::log(3), 0), 0.75, 1e-12);
  EXPECT_NEAR(AuditChance({1, 1, 1}, std::log(3), 0.01), 0.75 + 2 * 0.01 * 0.25, 1e-12);
  EXPECT_NEAR(AuditedEpsilon({100, 100, 100}, 0, 0.05), -std::log(std::pow(20, 0.01) - 1), 1e-9);
  EXPECT_EQ(AuditedEpsilon({100, 100, 50}, 0, 0.05), 0);
  EXPECT_EQ(AuditedEpsilon({100, 100, 100}, 0.1, 0.05), 0);  // so large a delta explains it all
}

TEST(OneRunAudit, GuessesTheHighestAndTheLowest) {
  const std::vector<double> scores = {3, 1, 2, 0, 5};
  const AuditGuesses seen = GuessCanaries(scores, {true, false, true, true, true}, 2);
  EXPECT_EQ(seen.canaries, 5);
  EXPECT_EQ(seen.guesses, 4);
  EXPECT_EQ(seen.right, 3);  // 4 and 0 are there, 1 is not, 3 is
}

// One mechanism: what it releases, as a score for each canary, and what its claim is.
class Mechanism {
 public:
  virtual ~Mechanism() = default;
  // `z`: the noise multiplier; 0 = no noise.
  virtual std::vector<double> Release(const std::vector<bool>& there, double z, uint32_t seed) = 0;
  virtual PrivacyEvent Event(double z) = 0;

  double Claim(double z) {
    Accountant accountant(PrivacyUnit::kClient);
    EXPECT_TRUE(accountant.Compose(Event(z)).ok());
    return accountant.EpsilonAt(kDelta)->pld;
  }
  double Audited(double z, uint32_t seed) {
    RandomCursor coins(RandomStream(seed, Purpose::kSampling, 0));
    std::vector<bool> there;
    for (int64_t i = 0; i < kCanaries; ++i) there.push_back(coins.Bounded(2) == 1);
    return AuditedEpsilon(GuessCanaries(Release(there, z, seed), there, kEach), kDelta, kChance);
  }
};

std::vector<double> ScoresOf(const ParameterSet& mean) {
  return {mean.floats(0).begin(), mean.floats(0).end()};
}

Manifest OneTensor() { return {{"w", DType::kF32, {kCanaries}}}; }

// The coordinator's way: clip, exact sum, noise once.
class Central : public Mechanism {
 public:
  std::vector<double> Release(const std::vector<bool>& there, double z, uint32_t seed) override {
    FixedPointSum sum = *FixedPointSum::Make(OneTensor());
    for (size_t canary = 0; canary < there.size(); ++canary) {
      if (!there[canary]) continue;
      ParameterSet delta(OneTensor());
      delta.floats(0)[canary] = 100;
      const std::span<const float> view[] = {delta.floats(0)};
      const Clipped clipped = *ClipOf(view, kClipNorm);
      delta.floats(0)[canary] = static_cast<float>(delta.floats(0)[canary] * clipped.factor);
      EXPECT_TRUE(sum.Add(delta, 1).ok());
    }
    if (z > 0) {
      const Bytes32 secret = Sha256Of("central " + std::to_string(seed));
      const NoiseSeed noise =
          *NoiseSeed::FromStored({reinterpret_cast<const char*>(secret.data()), secret.size()});
      EXPECT_TRUE(NoiseOf(z).AddTo(noise, 1, sum.words()).ok());
    }
    return ScoresOf(sum.MeanOver(static_cast<double>(kCanaries)));
  }
  PrivacyEvent Event(double z) override { return NoiseOf(z).Events().front(); }

 private:
  static CentralRun NoiseOf(double z) {
    CentralRun run;
    run.noise_multiplier = z;
    run.clip_norm = kClipNorm;
    run.values = kCanaries;
    return run;
  }
};

// A share of noise in every client's vector, and the sum that opens: of kBystanders that send
// nothing else, and of the canaries that are there. So many are there that the sum has hardly more
// shares than those that the session guarantees and the claim counts.
class Distributed : public Mechanism {
 public:
  explicit Distributed(std::string noise) : noise_(std::move(noise)) {}

  std::vector<double> Release(const std::vector<bool>& there, double z, uint32_t seed) override {
    const MaskedForm form = FormOf(z);
    const secagg::Params params = ParamsOf(form);
    const auto maps = form.MapsOf(1, {}, Bytes32{static_cast<uint8_t>(seed)}, {});
    SeededEntropy entropy(
        Secret32(Sha256Of(noise_ + " " + std::to_string(z) + " " + std::to_string(seed))));
    EntropyRounding rounding(entropy);
    secagg::RingVector sum(params.b, params.length());
    uint32_t clients = 0;
    for (int64_t client = -kBystanders; client < kCanaries; ++client) {
      if (client >= 0 && !there[static_cast<size_t>(client)]) continue;
      ParameterSet delta(OneTensor());
      if (client >= 0) delta.floats(0)[static_cast<size_t>(client)] = 100;
      const auto encoded =
          EncodeUpdate(form, *maps, params, delta, 1, {}, entropy, rounding, nullptr);
      EXPECT_TRUE(encoded.ok()) << encoded.status();
      sum.Add(encoded->vector);
      ++clients;
    }
    EXPECT_GE(clients, params.n_min);
    const auto decoded = DecodeSum(form, *maps, params, sum, clients);
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    return ScoresOf(decoded->mean);
  }
  PrivacyEvent Event(double z) override {
    const MaskedForm form = FormOf(z);
    return *form.NoiseOf(ParamsOf(form))->Event();
  }

 private:
  static constexpr int64_t kBystanders = 100, kFewest = 350;

  MaskedForm FormOf(double z) const {
    JobSpec spec;
    spec.job.min_clients = kFewest;
    spec.strategy.weighting = "uniform";
    spec.secure_aggregation.enabled = true;
    spec.secure_aggregation.mode = "semi-honest";
    spec.secure_aggregation.corrupt_fraction = 0;
    spec.secure_aggregation.range = kClipNorm;
    spec.privacy.mechanism = z > 0 ? "distributed" : "none";
    spec.privacy.noise = noise_;
    spec.privacy.noise_multiplier = z;
    spec.privacy.clip_norm = kClipNorm;
    spec.privacy.ring_bits = 22;  // a tenth of the noise still has Poisson means above 4096: fast
    return *MaskedForm::Of(spec, OneTensor());
  }
  static secagg::Params ParamsOf(const MaskedForm& form) {
    return form.ParamsOf({"job", 1, 1, std::string(64, 'a'), "document",
                          static_cast<uint32_t>(kBystanders + kCanaries)});
  }

  const std::string noise_;
};

std::unique_ptr<Mechanism> MakeMechanism(const std::string& name) {
  if (name == "central") return std::make_unique<Central>();
  return std::make_unique<Distributed>(name);
}

class Audit : public testing::TestWithParam<const char*> {
 protected:
  static void Record(const std::string& what, double epsilon) {
    RecordProperty(what, std::to_string(epsilon));
  }
  const std::unique_ptr<Mechanism> mechanism_ = MakeMechanism(GetParam());
};

// Six audits of each of three mechanisms: one that refutes a true claim by chance 2e-5.
TEST_P(Audit, NeverPassesTheClaim) {
  for (const double z : {1.0, 3.0}) {
    const double claim = mechanism_->Claim(z);
    Record("claimed-" + std::to_string(z), claim);
    for (uint32_t seed = 1; seed <= 3; ++seed) {
      const double audited = mechanism_->Audited(z, seed);
      Record("audited-" + std::to_string(z) + "-" + std::to_string(seed), audited);
      EXPECT_LE(audited, claim) << "z " << z << ", seed " << seed;
    }
  }
}

TEST_P(Audit, IsFarAboveZeroWithoutNoise) {
  const double audited = mechanism_->Audited(0, 1);
  Record("audited", audited);
  EXPECT_GT(audited, 2);
}

// The test can fail: noise a tenth of what is claimed is found out.
TEST_P(Audit, FindsNoiseThatIsTenTimesTooSmall) {
  const double claim = mechanism_->Claim(3), audited = mechanism_->Audited(0.3, 1);
  Record("audited", audited);
  EXPECT_GT(audited, claim);
}

INSTANTIATE_TEST_SUITE_P(Mechanisms, Audit,
                         testing::Values("central", "discrete-gaussian", "skellam"),
                         [](const auto& p) {
                           std::string name = p.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace rivulet

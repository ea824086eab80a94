#include <gtest/gtest.h>

#include "tests/unit/privacy/secagg_machines/refusal.h"

// A server that lies in its parameters: cases 1 to 10 of the protocol's section 11.
namespace rivulet::secagg {
namespace {

// An owner with the policy file as delivered.
class LyingParameters : public testing::Test {
 protected:
  LyingParameters() : cohort_(4, Params4()) {
    cohort_.policy = ClientPolicy();
    cohort_.Renew(0);
  }
  static Params Params4() {
    Params params = SmallParams();
    params.n_min = 4;
    return params;
  }
  void Refuses(const Params& params, Reason reason) {
    cohort_.Renew(0);
    ExpectRefusal(cohort_.session(0), cohort_.session(0).Advertise(params, cohort_.LocalOf(params)),
                  reason);
  }

  Cohort cohort_;
  Params params_ = Params4();
};

TEST_F(LyingParameters, OfThePolicyFileAsDeliveredAreAccepted) {
  const auto bytes = cohort_.session(0).Advertise(params_, cohort_.LocalOf(params_));
  EXPECT_TRUE(bytes.ok()) << bytes.status();
}

TEST_F(LyingParameters, Case01FewerClientsThanThePolicyAsks) {
  params_.n_min = 3;
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, Case02TheSemiHonestMode) {
  params_.mode = Mode::kSemiHonest;
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, Case03AnotherRingWidth) {
  for (const int off : {-1, 1}) {
    params_.b = static_cast<uint8_t>(24 + off);
    Refuses(params_, Reason::kParams);
  }
}

TEST_F(LyingParameters, Case04ValueBitsOrWeightOutside) {
  params_.W = 0;
  Refuses(params_, Reason::kParams);
  params_.W = 2;  // one bit more than b = 24 has
  Refuses(params_, Reason::kParams);
  params_ = Params4();
  params_.p = 1;
  Refuses(params_, Reason::kParams);
  params_.p = 61;
  params_.b = static_cast<uint8_t>(RingBits(params_));
  Refuses(params_, Reason::kParams);
  cohort_.policy.p_max = 32;  // less than the protocol allows
  params_.p = 33;
  params_.b = static_cast<uint8_t>(RingBits(params_));
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, Case05AnotherNumberOfCoordinatesThanTheManifest) {
  LocalRound local = cohort_.LocalOf(params_);
  local.d = 9;
  ExpectRefusal(cohort_.session(0), cohort_.session(0).Advertise(params_, local), Reason::kParams);
  cohort_.Renew(0);
  local = cohort_.LocalOf(params_);
  local.d_aux = 6;
  ExpectRefusal(cohort_.session(0), cohort_.session(0).Advertise(params_, local), Reason::kParams);
}

TEST_F(LyingParameters, Case06AnotherModel) {
  LocalRound local = cohort_.LocalOf(params_);
  local.model_sha256[0] ^= 1;
  ExpectRefusal(cohort_.session(0), cohort_.session(0).Advertise(params_, local),
                Reason::kModelMismatch);
}

TEST_F(LyingParameters, Case07TheNoiseIsGone) {
  for (const Noise promised : {Noise::kCentral, Noise::kGaussian, Noise::kSkellam}) {
    cohort_.policy.dp_min = static_cast<uint8_t>(promised);
    Refuses(params_, Reason::kPolicy);
  }
  params_.dp = Noise::kCentral;  // by the server: not what an owner of level 2 asked for
  cohort_.policy.dp_min = 2;
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, Case08TheNinthAttempt) {
  params_.attempt = 8;
  Refuses(params_, Reason::kParams);
  params_.attempt = 2;
  cohort_.policy.attempts_max = 2;
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, Case09TheSameAttemptWithOtherParameters) {
  ASSERT_TRUE(cohort_.session(0).Advertise(params_, cohort_.LocalOf(params_)).ok());
  Params other = params_;
  other.n_max = 63;
  ClientSession& session = cohort_.session(0);
  ExpectRefusal(session, session.Advertise(other, cohort_.LocalOf(other)), Reason::kParams);
  Refuses(other, Reason::kParams);    // nor in a new session: the ledger knows
  Refuses(params_, Reason::kParams);  // nor the same ones with fresh keys
}

TEST_F(LyingParameters, Case10RatesThatAreNotInTheTable) {
  params_.graph_policy = GraphPolicy::kRingAllowed;
  params_.n_max = 1000;
  params_.b = static_cast<uint8_t>(RingBits(params_));
  ASSERT_TRUE(Check(params_).ok()) << Check(params_);
  params_.gamma_ppm = 150'000;
  Refuses(params_, Reason::kParams);
  params_ = Params4();
  params_.gamma_ppm = 99'999;
  Refuses(params_, Reason::kPolicy);
}

TEST_F(LyingParameters, AnotherJobRoundOrConfigurationIsRefused) {
  const auto refuses = [&](auto change) {
    cohort_.Renew(0);
    LocalRound local = cohort_.LocalOf(params_);
    change(local);
    ExpectRefusal(cohort_.session(0), cohort_.session(0).Advertise(params_, local),
                  Reason::kParams);
  };
  refuses([](LocalRound& local) { local.job_id[0] ^= 1; });
  refuses([](LocalRound& local) { local.round ^= 1; });
  refuses([](LocalRound& local) { local.config_sha256[31] ^= 1; });
}

}  // namespace
}  // namespace rivulet::secagg

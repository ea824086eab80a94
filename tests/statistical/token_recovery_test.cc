// What one upload tells of its client's text: the tokens, as long as it is plain, and nothing once
// it is masked. The attacker is the coordinator: it knows base model, job and global state, and
// decodes what it got as it decodes sums.
#include <gtest/gtest.h>

#include <set>

#include "common/io/sha256.h"
#include "common/random.h"
#include "peft/tokenizer/tokenizer.h"
#include "peft/trainer/first_order_tuner.h"
#include "privacy/masking/masked_vector.h"
#include "tests/statistical/span_attack.h"
#include "tests/unit/privacy/area_under_curve.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

namespace rivulet {
namespace {

using Tokens = std::set<int32_t>;

constexpr char kModel[] = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";
constexpr uint32_t kClients = 4;

// One step of SGD over one record, at a rank above its number of tokens. Without dropout, whose
// masks the coordinator could draw too, since they follow from public seeds.
JobSpec SpecOf(const std::string& aggregation, const std::string& codec) {
  JobSpec spec;
  spec.job.min_clients = static_cast<int>(kClients);
  spec.lora.lora_r = 32;
  spec.lora.lora_dropout = 0;
  spec.lora.lora_target_modules = {"q_proj", "k_proj", "v_proj"};
  spec.data.packing = false;
  spec.data.seq_length = 64;
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 1;
  spec.train.max_steps = 1;
  spec.strategy.aggregation = aggregation;
  spec.strategy.weighting = "uniform";
  spec.compression.codec = codec;
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = 1;  // as max-grad-norm and the rate bound the update
  return spec;
}

class Victim {
 public:
  explicit Victim(JobSpec job) : spec(std::move(job)) {
    base = *LoadBaseModel(kModel, spec);
    plan = *PlanAdapter(base->config(), base->match(), spec);
    tuner = *MakeFirstOrderTuner(base, spec);
    state = *InitialState(plan, spec.job.seed, &base->files());
    attack = std::make_unique<SpanAttack>(*base, plan, *CompleteState(plan, spec.job.seed, state));
  }

  ParameterSet UpdateOf(const std::vector<int32_t>& ids) const {
    Example example;
    example.ids = ids;
    TuneRequest request;
    request.global = &state;
    request.examples = {&example, 1};
    request.round = 1;
    request.client = "victim";
    auto result = tuner->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return std::move(result->delta);
  }
  // Area under the curve: whether those tokens' scores are above those of the others.
  double AreaOf(const ParameterSet& update, const Tokens& tokens) const {
    const std::vector<double> scores = attack->Scores(update);
    std::vector<double> absent, present;
    for (size_t token = 0; token < scores.size(); ++token) {
      (tokens.contains(static_cast<int32_t>(token)) ? present : absent).push_back(scores[token]);
    }
    return AreaUnderCurve(absent, present);
  }
  // The `count` tokens with the highest scores.
  Tokens BestOf(const ParameterSet& update, size_t count) const {
    const std::vector<double> scores = attack->Scores(update);
    std::vector<int32_t> order(scores.size());
    for (size_t token = 0; token < order.size(); ++token) order[token] = static_cast<int>(token);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    });
    return {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
  }
  // `count` different tokens at random: every set is as likely as every other.
  std::vector<int32_t> DrawTokens(uint32_t session, size_t count) const {
    RandomCursor cursor(RandomStream(session, Purpose::kPartition, 0));
    std::vector<int32_t> ids;
    while (ids.size() < count) {
      const auto id =
          static_cast<int32_t>(cursor.Bounded(static_cast<uint32_t>(base->config().vocab_size)));
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
    return ids;
  }

  JobSpec spec;
  std::shared_ptr<const BaseModel> base;
  AdapterPlan plan;
  std::unique_ptr<Tuner> tuner;
  ParameterSet state;
  std::unique_ptr<SpanAttack> attack;
};

// A record of the shipped tokenizer with its end, as the product makes it.
std::vector<int32_t> RecordOf(const std::string& text) {
  const Tokenizer tokenizer = *Tokenizer::Load(kModel);
  std::vector<int32_t> ids = tokenizer.Encode(text, false)->ids;
  ids.push_back(*tokenizer.special_ids().eos);
  return ids;
}

Tokens SetOf(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

class PlainUpdate : public testing::TestWithParam<const char*> {};

// The last token of a record predicts nothing and leaves no trace; it is the end mark.
TEST_P(PlainUpdate, TellsTheTokensOfItsText) {
  const Victim victim(SpecOf(GetParam(), "none"));
  const std::vector<int32_t> ids = RecordOf("My doctor says that the new pills may cost me my job");
  const Tokens tokens = SetOf({ids.data(), ids.size() - 1});
  ASSERT_LT(tokens.size(), 32u);
  const ParameterSet update = victim.UpdateOf(ids);
  const double area = victim.AreaOf(update, tokens);
  size_t found = 0;
  for (const int32_t token : victim.BestOf(update, tokens.size())) found += tokens.count(token);
  RecordProperty("area", std::to_string(area));
  EXPECT_GT(area, 0.99);
  EXPECT_EQ(found, tokens.size());
}
INSTANTIATE_TEST_SUITE_P(Aggregations, PlainUpdate, testing::Values("freeze-a", "factor-average"),
                         [](const auto& p) {
                           return std::string(p.param) == "freeze-a" ? "FreezeA" : "FactorAverage";
                         });

// One attempt of the protocol, in which the victim is client 0 and the others send zeros.
class Session {
 public:
  Session(const Victim& victim, uint32_t number)
      : form_(*MaskedForm::Of(victim.spec, victim.plan.wire())),
        cohort_(kClients, ParamsOf(form_, number)),
        run_(std::make_unique<secagg::HonestRun>(cohort_)) {
    for (uint32_t u = 0; u < kClients; ++u) {  // other keys in every session
      const std::string seed = std::to_string(number) + "/" + std::to_string(u);
      cohort_.client(u).entropy = std::make_unique<SeededEntropy>(Secret32(Sha256Of(seed)));
      cohort_.Renew(u);
    }
    run_->AdvertiseAll();
    run_->RosterAll();
    run_->ForwardAll();
    const secagg::ClientSession& session = cohort_.session(0);
    maps_ = *form_.MapsOf(number, session.sid0(), session.sid(), {});
  }

  secagg::RingVector Encode(const ParameterSet& update, uint32_t client) {
    Entropy& entropy = *cohort_.client(client).entropy;
    EntropyRounding rounding(entropy);
    auto encoded =
        EncodeUpdate(form_, maps_, cohort_.params(), update, 1, {}, entropy, rounding, nullptr);
    EXPECT_TRUE(encoded.ok()) << encoded.status();
    return std::move(encoded->vector);
  }
  // What a client sends, as the ring vector that lies in the bytes.
  secagg::RingVector Upload(secagg::RingVector vector, uint32_t client) {
    const auto masked = cohort_.session(client).Mask(std::move(vector));
    EXPECT_TRUE(masked.ok()) << masked.status();
    secagg::RingVector sent(cohort_.params().b, cohort_.params().length());
    EXPECT_TRUE(sent.AddPacked(masked->packed).ok());
    run_->Deliver(client, *masked);
    return sent;
  }
  // The sum of all uploads without its masks.
  secagg::RingVector Open() {
    run_->Freeze();
    run_->SurvivorsAll();
    run_->UnmaskAll();
    const auto sum = run_->server.Finish(run_->sum);
    EXPECT_TRUE(sum.ok()) << sum.status();
    return *sum;
  }
  // Reads a vector as if it were the sum over `clients`. Weights are uniform: that much is known.
  ParameterSet Decode(secagg::RingVector vector, uint32_t clients) const {
    vector.Set(cohort_.params().d, clients);
    auto decoded = DecodeSum(form_, maps_, cohort_.params(), vector, clients);
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    return std::move(decoded->mean);
  }

 private:
  static secagg::Params ParamsOf(const MaskedForm& form, uint32_t number) {
    return form.ParamsOf({"job", number, 1, std::string(64, 'a'), "document", kClients});
  }

  const MaskedForm form_;
  secagg::Cohort cohort_;
  std::unique_ptr<secagg::HonestRun> run_;
  MaskedForm::Maps maps_;
};

constexpr uint32_t kSessions = 200;
constexpr size_t kTokens = 17;  // of a record, the last of which leaves no trace

// The tokens of every session are drawn uniformly, so scores that know nothing of them have the
// area of a random subset: mean 1/2, and the deviation of Mann and Whitney. The mean over all
// sessions is nearly normal: beyond 4.9 deviations by chance 1e-6.
TEST(MaskedUpload, TellsNoTokenThoughTheSameVectorUnmaskedTellsThem) {
  const Victim victim(SpecOf("freeze-a", "none"));
  double masked = 0, unmasked = 0, opened = 0;
  for (uint32_t number = 1; number <= kSessions; ++number) {
    const std::vector<int32_t> ids = victim.DrawTokens(number, kTokens);
    const Tokens tokens = SetOf({ids.data(), ids.size() - 1});
    Session session(victim, number);
    const secagg::RingVector encoded = session.Encode(victim.UpdateOf(ids), 0);
    unmasked += victim.AreaOf(session.Decode(encoded, 1), tokens) / kSessions;
    masked += victim.AreaOf(session.Decode(session.Upload(encoded, 0), 1), tokens) / kSessions;
    for (uint32_t u = 1; u < kClients; ++u) {
      session.Upload(session.Encode(ParameterSet(victim.plan.wire()), u), u);
    }
    opened += victim.AreaOf(session.Decode(session.Open(), kClients), tokens) / kSessions;
  }
  const auto vocabulary = static_cast<size_t>(victim.base->config().vocab_size);
  const double deviation =
      AreaDeviation(vocabulary - (kTokens - 1), kTokens - 1) / std::sqrt(double{kSessions});
  RecordProperty("unmasked", std::to_string(unmasked));
  RecordProperty("masked", std::to_string(masked));
  EXPECT_GT(unmasked, 0.99);
  EXPECT_GT(opened, 0.99);
  EXPECT_NEAR(masked, 0.5, 4.9 * deviation);
}

}  // namespace
}  // namespace rivulet

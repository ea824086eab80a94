#include "tests/unit/privacy/secagg_machines/cohort.h"

#include <gtest/gtest.h>

#include "common/io/sha256.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {

Signature StubSigner::Sign(std::string_view message) {
  const Bytes32 hash = Sha256Of(ByteWriter().Raw(public_key_).Raw(message).Take());
  Signature out{};
  std::copy(hash.begin(), hash.end(), out.begin());
  return out;
}

bool StubVerifier::Verify(const Bytes32& public_key, std::string_view message,
                          const Signature& signature) const {
  return StubSigner(public_key).Sign(message) == signature;
}

Params SmallParams(Mode mode) {
  Params params;
  params.job_id = {1, 2, 3};
  params.round = 7;
  params.model_sha256 = {4};
  params.config_sha256 = {5};
  params.d = 8;
  params.d_aux = 5;
  params.b = 24;
  params.p = 16;
  params.mode = mode;
  params.n_min = 3;
  params.n_max = 64;
  return params;
}

Params RingParams(Mode mode) {
  Params params = SmallParams(mode);
  params.gamma_ppm = params.delta_ppm = 50'000;
  params.n_max = 128;
  params.b = 25;
  params.graph_policy = GraphPolicy::kRingAllowed;
  params.complete_max = 32;
  return params;
}

ClientPolicy LenientPolicy() {
  ClientPolicy policy;
  policy.mode_min = 0;
  policy.n_min = 3;
  policy.gamma_min_ppm = 50'000;
  policy.ring = true;
  policy.h_min = 2;
  return policy;
}

Cohort::Cohort(uint32_t n, Params params, bool real_signatures) : params_(params) {
  for (uint32_t u = 0; u < n; ++u) {
    auto client = std::make_unique<TestClient>();
    MemberCertificate& certificate = client->certificate;
    certificate.client_id = "client-" + std::to_string(u);
    certificate.organisation = "org-" + std::to_string(u % 3);
    certificate.fingerprint = {0xf0, static_cast<uint8_t>(u >> 8), static_cast<uint8_t>(u)};
    const Bytes32 seed = Sha256Of("identity " + std::to_string(u));
    client->entropy =
        std::make_unique<SeededEntropy>(Secret32(Sha256Of("entropy " + std::to_string(u))));
    if (real_signatures) {
      client->key = Ed25519PrivateKey(Secret32(seed));
      certificate.public_key = Ed25519RawPublicKey(*client->key).value();
      client->signer = std::make_unique<KeySigner>(*client->key);
    } else {
      certificate.public_key = seed;
      client->signer = std::make_unique<StubSigner>(seed);
    }
    clients_.push_back(std::move(client));
  }
  if (real_signatures) {
    verifier_ = std::make_unique<Ed25519Verifier>();
  } else {
    verifier_ = std::make_unique<StubVerifier>();
  }
  for (uint32_t u = 0; u < n; ++u) Renew(u);
}

absl::StatusOr<MemberCertificate> Cohort::Find(const Bytes32& fingerprint) {
  for (const auto& client : clients_) {
    if (client->certificate.fingerprint == fingerprint && !distrusted.contains(fingerprint))
      return client->certificate;
  }
  return Refuse(absl::StatusCode::kUnauthenticated, "certificate: not to be trusted");
}

LocalRound Cohort::LocalOf(const Params& params) const {
  return {.job_id = params.job_id,
          .round = params.round,
          .model_sha256 = params.model_sha256,
          .config_sha256 = params.config_sha256,
          .d = params.d,
          .d_aux = params.d_aux};
}

ClientContext Cohort::ContextOf(uint32_t u, RoundLedger& ledger) {
  return {.self = certificate(u),
          .signer = *client(u).signer,
          .verifier = *verifier_,
          .directory = *this,
          .ledger = ledger,
          .entropy = *client(u).entropy,
          .policy = policy};
}

void Cohort::Renew(uint32_t u) {
  client(u).session = std::make_unique<ClientSession>(ContextOf(u, client(u).ledger));
}

ServerSession Cohort::NewServer() const {
  std::set<std::string> allowed;
  for (const auto& client : clients_) allowed.insert(client->certificate.client_id);
  return ServerSession::Start(params_, std::move(allowed), *verifier_).value();
}

RingVector Cohort::InputOf(uint32_t u) const {
  RingVector out(params_.b, params_.length());
  for (uint64_t j = 0; j < params_.d; ++j)
    out.SetSigned(j, static_cast<int64_t>((u + 1) * 1000 + j * 37) * (j % 2 == 0 ? 1 : -1));
  out.SetSigned(params_.d, 1);
  return out;
}

std::vector<int64_t> Cohort::PlainSum(const std::vector<uint32_t>& clients) const {
  std::vector<int64_t> sum(params_.length() - kChecksums);
  for (const uint32_t u : clients) {
    const RingVector input = InputOf(u);
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += input.SignedAt(j);
  }
  return sum;
}

std::vector<int64_t> ValuesOf(const RingVector& sum) {
  std::vector<int64_t> out;
  for (size_t j = 0; j + kChecksums < sum.size(); ++j) out.push_back(sum.SignedAt(j));
  return out;
}

HonestRun::HonestRun(Cohort& cohort)
    : server(cohort.NewServer()),
      sum(cohort.params().b, cohort.params().length()),
      cohort_(cohort) {}

std::vector<uint32_t> HonestRun::Present() const {
  std::vector<uint32_t> out;
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    if (!gone.contains(u)) out.push_back(u);
  }
  return out;
}

void HonestRun::AdvertiseAll() {
  for (const uint32_t u : Present()) {
    const auto bytes =
        cohort_.session(u).Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params()));
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto accepted =
        server.OnAdvertisement(cohort_.certificate(u), Decode<Advertisement>(*bytes).value());
    ASSERT_TRUE(accepted.ok()) << accepted;
  }
  const auto roster = server.CloseAdvertise();
  ASSERT_TRUE(roster.ok()) << roster.status();
  roster_ = *roster;
}

void HonestRun::RosterAll() {
  const auto deliver = [&](const std::string& message) {
    for (const uint32_t u : Present()) {
      const auto answer = cohort_.session(u).Handle(message);
      ASSERT_TRUE(answer.ok()) << answer.status();
      const auto accepted = server.Handle(cohort_.fingerprint(u), *answer);
      ASSERT_TRUE(accepted.ok()) << accepted;
    }
  };
  deliver(roster_);
  if (server.rule().kind == kRingGraph) {
    const auto nonces = server.CloseReveal();
    ASSERT_TRUE(nonces.ok()) << nonces.status();
    nonces_ = *nonces;
    deliver(nonces_);
  }
  ASSERT_TRUE(server.CloseShares().ok());
}

Forward HonestRun::forward(uint32_t u) const {
  return Decode<Forward>(server.ForwardFor(cohort_.fingerprint(u)).value()).value();
}

void HonestRun::ForwardAll() {
  for (const uint32_t u : Present()) {
    const auto opened = cohort_.session(u).OnForward(forward(u));
    ASSERT_TRUE(opened.ok()) << opened;
  }
}

void HonestRun::MaskAll() {
  for (const uint32_t u : Present()) {
    const auto upload = cohort_.session(u).Mask(cohort_.InputOf(u));
    ASSERT_TRUE(upload.ok()) << upload.status();
    const auto header = Decode<MaskedHeader>(upload->header).value();
    ASSERT_TRUE(server.OnMaskedHeader(cohort_.fingerprint(u), header).ok());
    const auto trailer = Decode<MaskedTrailer>(upload->trailer).value();
    ASSERT_TRUE(CheckMasked(cohort_.params(), upload->packed, trailer).ok());
    const auto accepted = server.OnMasked(cohort_.fingerprint(u), trailer);
    ASSERT_TRUE(accepted.ok()) << accepted;
    ASSERT_TRUE(sum.AddPacked(upload->packed).ok());
  }
  const auto survivors = server.FreezeSurvivors();
  ASSERT_TRUE(survivors.ok()) << survivors.status();
  survivors_ = *survivors;
}

void HonestRun::SurvivorsAll() {
  if (cohort_.params().mode != Mode::kMalicious) return;
  for (const uint32_t u : Present()) {
    const auto answer = cohort_.session(u).Handle(survivors_);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ASSERT_TRUE(server.Handle(cohort_.fingerprint(u), *answer).ok());
  }
  const auto endorsements = server.CloseEndorsements();
  ASSERT_TRUE(endorsements.ok()) << endorsements.status();
  endorsements_ = *endorsements;
}

void HonestRun::UnmaskAll() {
  const bool endorsed = cohort_.params().mode == Mode::kMalicious;
  for (const uint32_t u : Present()) {
    const auto answer = cohort_.session(u).Handle(endorsed ? endorsements_ : survivors_);
    ASSERT_TRUE(answer.ok()) << answer.status();
    const auto accepted = server.Handle(cohort_.fingerprint(u), *answer);
    ASSERT_TRUE(accepted.ok()) << accepted;
  }
}

absl::StatusOr<RingVector> HonestRun::Finish() {
  AdvertiseAll();
  RosterAll();
  ForwardAll();
  MaskAll();
  SurvivorsAll();
  UnmaskAll();
  return server.Finish(sum);
}

}  // namespace rivulet::secagg

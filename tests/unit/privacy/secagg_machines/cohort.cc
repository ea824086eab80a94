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
    by_fingerprint_[certificate.fingerprint] = u;
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
  const auto found = by_fingerprint_.find(fingerprint);
  if (found != by_fingerprint_.end() && !distrusted.contains(fingerprint))
    return certificate(found->second);
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
    out.SetSigned(j,
                  static_cast<int64_t>(((u + 1) * 1000 + j * 37) % 32768) * (j % 2 == 0 ? 1 : -1));
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

void HonestRun::Deliver(uint32_t u, const MaskedUpload& upload) {
  const auto header = Decode<MaskedHeader>(upload.header).value();
  ASSERT_TRUE(server.OnMaskedHeader(cohort_.fingerprint(u), header).ok());
  const auto trailer = Decode<MaskedTrailer>(upload.trailer).value();
  ASSERT_TRUE(CheckMasked(cohort_.params(), upload.packed, trailer).ok());
  const auto accepted = server.OnMasked(cohort_.fingerprint(u), trailer);
  ASSERT_TRUE(accepted.ok()) << accepted;
  ASSERT_TRUE(sum.AddPacked(upload.packed).ok());
}

void HonestRun::Freeze() {
  const auto survivors = server.FreezeSurvivors();
  ASSERT_TRUE(survivors.ok()) << survivors.status();
  survivors_ = *survivors;
}

void HonestRun::MaskAll() {
  for (const uint32_t u : Present()) {
    const auto upload = cohort_.session(u).Mask(cohort_.InputOf(u));
    ASSERT_TRUE(upload.ok()) << upload.status();
    Deliver(u, *upload);
  }
  Freeze();
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

TolerantRun::TolerantRun(Cohort& cohort, Wire wire)
    : drop_at(cohort.n(), kStays),
      server(cohort.NewServer()),
      sum(cohort.params().b, cohort.params().length()),
      cohort_(cohort),
      wire_(std::move(wire)) {}

std::string TolerantRun::Send(Leg leg, uint32_t u, std::string bytes) const {
  return wire_ ? wire_(leg, u, std::move(bytes)) : bytes;
}

void TolerantRun::Exchange(Leg out, Leg back, int point,
                           const std::function<std::string(uint32_t)>& message) {
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    if (!Here(u, point) || !server.IndexOf(cohort_.fingerprint(u)).has_value()) continue;
    const std::string bytes = message(u);
    if (bytes.empty()) continue;
    const auto answer = cohort_.session(u).Handle(Send(out, u, bytes));
    if (!answer.ok()) refused_.insert(u);
    if (!answer.ok() || answer->empty()) continue;
    (void)server.Handle(cohort_.fingerprint(u), Send(back, u, *answer));
  }
}

absl::Status TolerantRun::Advertise() {
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    if (!Here(u, 0)) continue;
    const auto bytes =
        cohort_.session(u).Advertise(cohort_.params(), cohort_.LocalOf(cohort_.params()));
    RV_RETURN_IF_ERROR(bytes.status());
    const auto message = Decode<Advertisement>(Send(Leg::kAdvertisement, u, *bytes));
    if (message.ok()) (void)server.OnAdvertisement(cohort_.certificate(u), *message);
  }
  return absl::OkStatus();
}

absl::Status TolerantRun::Share() {
  RV_ASSIGN_OR_RETURN(const std::string roster, server.CloseAdvertise());
  const bool ring = server.rule().kind == kRingGraph;
  Exchange(Leg::kRoster, ring ? Leg::kReveal : Leg::kShares, ring ? 0 : 1,
           [&](uint32_t) { return roster; });
  if (!ring) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const std::string nonces, server.CloseReveal());
  Exchange(Leg::kNonces, Leg::kShares, 1, [&](uint32_t) { return nonces; });
  return absl::OkStatus();
}

absl::Status TolerantRun::Upload() {
  Exchange(Leg::kForward, Leg::kForward, 2,
           [&](uint32_t u) { return server.ForwardFor(cohort_.fingerprint(u)).value_or(""); });
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    if (!Here(u, 2) || cohort_.session(u).phase() != ClientSession::Phase::kForwarded) continue;
    RV_ASSIGN_OR_RETURN(const MaskedUpload upload, cohort_.session(u).Mask(cohort_.InputOf(u)));
    const std::string packed = Send(Leg::kPacked, u, upload.packed);
    const auto trailer = Decode<MaskedTrailer>(Send(Leg::kTrailer, u, upload.trailer));
    if (!trailer.ok() || !CheckMasked(cohort_.params(), packed, *trailer).ok()) continue;
    if (!server.OnMasked(cohort_.fingerprint(u), *trailer).ok()) continue;
    RV_RETURN_IF_ERROR(sum.AddPacked(packed));
  }
  return absl::OkStatus();
}

absl::Status TolerantRun::Collect() {
  RV_RETURN_IF_ERROR(server.CloseShares());
  RV_RETURN_IF_ERROR(Upload());
  RV_ASSIGN_OR_RETURN(const std::string survivors, server.FreezeSurvivors());
  const auto to_survivors = [&](const std::string& message) {
    return [&](uint32_t u) {
      const bool counts = server.u3().Contains(*server.IndexOf(cohort_.fingerprint(u)));
      return counts ? message : std::string();
    };
  };
  std::string request = survivors;
  if (cohort_.params().mode == Mode::kMalicious) {
    Exchange(Leg::kSurvivors, Leg::kEndorsement, 3, to_survivors(survivors));
    RV_ASSIGN_OR_RETURN(request, server.CloseEndorsements());
  }
  Exchange(Leg::kRequest, Leg::kUnmask, 4, to_survivors(request));
  return absl::OkStatus();
}

absl::StatusOr<RingVector> TolerantRun::Finish() {
  RV_RETURN_IF_ERROR(Collect());
  return server.Finish(sum);
}

absl::StatusOr<RingVector> TolerantRun::Run() {
  RV_RETURN_IF_ERROR(Advertise());
  RV_RETURN_IF_ERROR(Share());
  return Finish();
}

std::vector<uint32_t> TolerantRun::Survivors() const {
  std::vector<uint32_t> out;
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    const auto index = server.IndexOf(cohort_.fingerprint(u));
    if (index.has_value() && server.u3().Contains(*index)) out.push_back(u);
  }
  return out;
}

Snapshot::Snapshot(Cohort& cohort, const ServerSession& server)
    : cohort_(cohort), server_(server.Serialise()) {
  for (uint32_t u = 0; u < cohort.n(); ++u) {
    states_.push_back(cohort.session(u).Serialise());
    ledgers_.push_back(cohort.client(u).ledger);
  }
}

void Snapshot::Restore(ServerSession& server) const {
  server = ServerSession::Restore(server_, cohort_.verifier()).value();
  for (uint32_t u = 0; u < cohort_.n(); ++u) {
    cohort_.client(u).ledger = ledgers_[u];
    cohort_.Renew(u);
    ASSERT_TRUE(cohort_.session(u).Restore(states_[u]).ok());
  }
}

}  // namespace rivulet::secagg

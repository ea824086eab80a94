#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/formats/json.h"
#include "common/io/sha256.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/checksum.h"
#include "privacy/secagg/shared/mask_generator.h"
#include "privacy/secagg/shared/packing.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

// The transcript of tests/golden/vectors/secagg_kat.json: n = 4, t = 3, client 2 drops after its
// shares. Made with OpenSSL 3.0.22 and matched by a second implementation that shares no code.
namespace rivulet::secagg {
namespace {

std::string Unhex(const std::string& hex) {
  std::string out;
  for (size_t at = 0; at + 1 < hex.size(); at += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  return out;
}

std::string HexText(std::string_view bytes) {
  return HexOf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

template <size_t N = 32>
std::array<uint8_t, N> ArrayOf(const nlohmann::json& hex) {
  return ByteReader(Unhex(hex.get<std::string>())).Array<N>();
}

// mat(label, i, j) of the vectors.
std::string Material(const std::string& label, uint32_t i, uint32_t j) {
  const Bytes32 hash =
      Sha256Of("rvl1-kat/" + label + "/" + std::to_string(i) + "/" + std::to_string(j));
  return std::string(ViewOf(hash));
}

// Gives the bytes it was given, in order.
class ScriptedEntropy : public Entropy {
 public:
  void Append(std::string_view bytes) { script_ += bytes; }
  void Fill(std::span<uint8_t> out) override {
    ASSERT_GE(script_.size() - at_, out.size());
    std::copy_n(script_.begin() + at_, out.size(), out.begin());
    at_ += out.size();
  }
  bool spent() const { return at_ == script_.size(); }

 private:
  std::string script_;
  size_t at_ = 0;
};

class KnownTranscript : public testing::Test, public CertificateDirectory {
 protected:
  void SetUp() override {
    const auto text = ReadJson(RIVULET_SOURCE_DIR "/tests/golden/vectors/secagg_kat.json");
    ASSERT_TRUE(text.ok()) << text.status();
    known_ = (*text)["transcript"];
    const auto params = ParseParams(Unhex(known_["params_bytes"]));
    ASSERT_TRUE(params.ok()) << params.status();
    params_ = *params;
    for (uint32_t u = 0; u < 4; ++u) AddClient(u);
  }

  void AddClient(uint32_t u) {
    const auto& row = known_["clients"][u];
    certificates_.push_back({.client_id = "client-" + std::to_string(u),
                             .organisation = "org",
                             .fingerprint = ArrayOf(row["cert_fp"]),
                             .public_key = ArrayOf(row["id_pk"])});
    keys_.push_back(Ed25519PrivateKey(Secret32(ArrayOf(row["id_sk"]))));
    signers_.push_back(std::make_unique<KeySigner>(*keys_.back()));
    ledgers_.push_back(std::make_unique<MemoryLedger>());
    entropies_.push_back(std::make_unique<ScriptedEntropy>());
    ScriptedEntropy& entropy = *entropies_.back();
    for (const char* secret : {"c_sk", "s_sk", "b", "nonce"}) entropy.Append(Unhex(row[secret]));
    for (const char* polynomial : {"poly-s", "poly-b"}) {
      for (uint32_t degree = 1; degree < 3; ++degree)
        entropy.Append(Material(polynomial, u, degree));
    }
    for (uint32_t v = 0; v < 4; ++v) {
      if (v != u) entropy.Append(Material("iv", u, v).substr(0, 12));
    }
    ClientPolicy policy;
    policy.n_min = 3;
    policy.h_min = 2;
    sessions_.push_back(std::make_unique<ClientSession>(ClientContext{.self = certificates_[u],
                                                                      .signer = *signers_[u],
                                                                      .verifier = verifier_,
                                                                      .directory = *this,
                                                                      .ledger = *ledgers_[u],
                                                                      .entropy = entropy,
                                                                      .policy = policy}));
  }

  absl::StatusOr<MemberCertificate> Find(const Bytes32& fingerprint) override {
    for (const auto& certificate : certificates_) {
      if (certificate.fingerprint == fingerprint) return certificate;
    }
    return absl::NotFoundError("certificate");
  }

  LocalRound Local() const {
    return {.job_id = params_.job_id,
            .round = params_.round,
            .model_sha256 = params_.model_sha256,
            .config_sha256 = params_.config_sha256,
            .d = params_.d,
            .d_aux = params_.d_aux};
  }

  ServerSession Server() {
    return ServerSession::Start(params_, {"client-0", "client-1", "client-2", "client-3"},
                                verifier_)
        .value();
  }

  nlohmann::json known_;
  Params params_;
  Ed25519Verifier verifier_;
  std::vector<MemberCertificate> certificates_;
  std::vector<KeyPtr> keys_;
  std::vector<std::unique_ptr<Signer>> signers_;
  std::vector<std::unique_ptr<MemoryLedger>> ledgers_;
  std::vector<std::unique_ptr<ScriptedEntropy>> entropies_;
  std::vector<std::unique_ptr<ClientSession>> sessions_;
};

TEST_F(KnownTranscript, ParametersAreTheKnownBytes) {
  EXPECT_EQ(HexText(CanonicalBytes(params_)), known_["params_bytes"].get<std::string>());
  EXPECT_EQ(HexOf(Sid0(params_)), known_["sid0"].get<std::string>());
  EXPECT_TRUE(Check(params_).ok()) << Check(params_);
}

TEST_F(KnownTranscript, EveryMessageOfClientsAndServerIsTheKnownOne) {
  ServerSession server = Server();
  for (uint32_t u = 0; u < 4; ++u) {
    const auto bytes = sessions_[u]->Advertise(params_, Local());
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto message = Decode<Advertisement>(*bytes).value();
    const auto& row = known_["clients"][u];
    EXPECT_EQ(HexOf(message.entry.channel_key), row["c_pk"].get<std::string>());
    EXPECT_EQ(HexOf(message.entry.mask_key), row["s_pk"].get<std::string>());
    EXPECT_EQ(HexOf(message.entry.nonce_commitment), row["nonce_commit"].get<std::string>());
    EXPECT_EQ(HexOf(message.entry.seed_commitment), row["b_commit"].get<std::string>());
    EXPECT_EQ(HexOf(message.entry.signature), row["adv_signature"].get<std::string>());
    ASSERT_TRUE(server.OnAdvertisement(certificates_[u], message).ok());
  }
  const std::string roster = server.CloseAdvertise().value();
  const auto rule = server.rule();
  EXPECT_EQ(rule.k, known_["k"]);
  EXPECT_EQ(rule.t, known_["t"]);
  EXPECT_EQ(rule.quorum, known_["T_g"]);
  EXPECT_EQ(HexOf(Sha256Of(RosterBytes(rule, Decode<Roster>(roster)->entries))),
            known_["roster_sha256"].get<std::string>());
  EXPECT_EQ(HexOf(server.sid()), known_["sid"].get<std::string>());

  std::string ciphertexts;
  for (uint32_t u = 0; u < 4; ++u) {
    const auto bytes = sessions_[u]->Handle(roster);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(entropies_[u]->spent());
    const auto shares = Decode<Shares>(*bytes);
    for (const AddressedShare& share : shares->shares) {
      ciphertexts += ViewOf(share.sealed);
      for (const auto& row : known_["shares"]["messages"]) {
        if (row["from"] == u && row["to"] == share.peer) {
          EXPECT_EQ(HexText(ViewOf(share.sealed)), row["ciphertext"].get<std::string>());
        }
      }
    }
    ASSERT_TRUE(server.OnShares(certificates_[u].fingerprint, *shares).ok());
  }
  EXPECT_EQ(Sha256Hex(ciphertexts), known_["shares"]["all_ciphertexts_sha256"].get<std::string>());
  ASSERT_TRUE(server.CloseShares().ok());
  EXPECT_EQ(HexText(server.u2().bytes()), known_["U2_bitmap"].get<std::string>());

  RingVector sum(params_.b, params_.length());
  for (uint32_t u = 0; u < 4; ++u) {
    ASSERT_TRUE(sessions_[u]->Handle(server.ForwardFor(certificates_[u].fingerprint).value()).ok());
    RingVector input(params_.b, params_.length());
    for (size_t j = 0; j < known_["inputs_signed"][u].size(); ++j)
      input.SetSigned(j, known_["inputs_signed"][u][j]);
    RingVector encoded = input;
    FillChecksums(server.sid0(), server.sid(), encoded);
    for (size_t j = 0; j < params_.length(); ++j)
      EXPECT_EQ(encoded.At(j), known_["ring_inputs"][u][j]);
    const auto upload = sessions_[u]->Mask(input);
    ASSERT_TRUE(upload.ok()) << upload.status();
    EXPECT_EQ(HexText(upload->packed), known_["masked_packed"][u].get<std::string>());
    const auto trailer = Decode<MaskedTrailer>(upload->trailer);
    EXPECT_EQ(HexOf(trailer->signature), known_["masked_signatures"][u].get<std::string>());
    if (u == 2) continue;
    ASSERT_TRUE(CheckMasked(params_, upload->packed, *trailer).ok());
    ASSERT_TRUE(server.OnMasked(certificates_[u].fingerprint, *trailer).ok());
    ASSERT_TRUE(sum.AddPacked(upload->packed).ok());
  }

  const std::string survivors = server.FreezeSurvivors().value();
  EXPECT_EQ(HexText(server.u3().bytes()), known_["U3_bitmap"].get<std::string>());
  EXPECT_EQ(HexText(EndorsementMessage(server.sid(), server.u2(), server.u3())),
            known_["endorse_message"].get<std::string>());
  for (const uint32_t u : {0, 1, 3}) {
    const auto bytes = sessions_[u]->Handle(survivors);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto endorsement = Decode<Endorsement>(*bytes);
    EXPECT_EQ(HexOf(endorsement->signature),
              known_["endorse_signatures"][std::to_string(u)].get<std::string>());
    ASSERT_TRUE(server.OnEndorsement(certificates_[u].fingerprint, *endorsement).ok());
  }
  const std::string quorum = server.CloseEndorsements().value();
  for (const uint32_t u : {0, 1, 3}) {
    const auto bytes = sessions_[u]->Handle(quorum);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    if (u == 0) {
      const auto unmask = Decode<Unmask>(*bytes);
      const auto& rows = known_["unmask_of_client_0"];
      ASSERT_EQ(unmask->shares.size(), rows.size());
      for (size_t row = 0; row < rows.size(); ++row) {
        EXPECT_EQ(unmask->shares[row].owner, rows[row]["v"]);
        EXPECT_EQ(unmask->shares[row].kind == ShareKind::kSelfSeed ? "b" : "s",
                  rows[row]["kind"].get<std::string>());
        EXPECT_EQ(HexOf(unmask->shares[row].value.bytes()), rows[row]["share"].get<std::string>());
      }
    }
    ASSERT_TRUE(server.Handle(certificates_[u].fingerprint, *bytes).ok());
  }
  const auto opened = server.Finish(sum);
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (size_t j = 0; j < params_.length(); ++j) EXPECT_EQ(opened->At(j), known_["sum_ring_all"][j]);
  for (size_t j = 0; j < known_["sum_signed_data_and_weight"].size(); ++j)
    EXPECT_EQ(opened->SignedAt(j), known_["sum_signed_data_and_weight"][j]);
  EXPECT_EQ(Sha256Hex(Pack(*opened)), known_["sum_sha256_packed"].get<std::string>());
}

TEST_F(KnownTranscript, DerivedSeedsAreTheKnownOnes) {
  std::vector<RosterEntry> entries(4);
  std::vector<Secret32> channel, mask;
  for (uint32_t u = 0; u < 4; ++u) {
    const auto& row = known_["clients"][u];
    entries[u].channel_key = ArrayOf(row["c_pk"]);
    entries[u].mask_key = ArrayOf(row["s_pk"]);
    channel.emplace_back(ArrayOf(row["c_sk"]));
    mask.emplace_back(ArrayOf(row["s_sk"]));
  }
  const SessionView view{
      .sid0 = ArrayOf(known_["sid0"]), .sid = ArrayOf(known_["sid"]), .entries = entries};
  for (const auto& [pair, seed] : known_["pair_seeds"].items()) {
    const uint32_t u = pair[0] - '0', v = pair[2] - '0';
    EXPECT_EQ(HexOf(PairSeed(view, X25519Key(mask[u]), u, v)->bytes()), seed.get<std::string>());
    EXPECT_EQ(HexOf(PairSeed(view, X25519Key(mask[v]), v, u)->bytes()), seed.get<std::string>());
  }
  for (const auto& row : known_["shares"]["messages"]) {
    const uint32_t from = row["from"], to = row["to"];
    EXPECT_EQ(HexOf(ChannelKeysOf(view, X25519Key(channel[from]), from, to)->outgoing.bytes()),
              row["channel_key"].get<std::string>());
    EXPECT_EQ(HexOf(ChannelKeysOf(view, X25519Key(channel[to]), to, from)->incoming.bytes()),
              row["channel_key"].get<std::string>());
  }
  for (uint32_t u = 0; u < 4; ++u) {
    const Secret32 b(ArrayOf(known_["clients"][u]["b"]));
    EXPECT_EQ(HexOf(SelfMaskSeed(view.sid, b, u).bytes()),
              known_["self_seeds"][u].get<std::string>());
  }
  for (uint32_t row = 0; row < kChecksums; ++row) {
    const Secret32 stream = ChecksumStream(view.sid0, view.sid, row);
    const auto& coefficients = known_["checksum_coefficients"][row];
    for (size_t j = 0; j < coefficients.size(); ++j)
      EXPECT_EQ(MaskElement(stream, j, params_.b), coefficients[j]);
  }
}

// The keys of RFC 7748, section 6.1, as channel and mask keys: 0 has Alice's, 1 has Bob's.
TEST(KnownKeySchedule, GivesTheKnownKeysAndSeeds) {
  const auto text = ReadJson(RIVULET_SOURCE_DIR "/tests/golden/vectors/secagg_kat.json");
  ASSERT_TRUE(text.ok()) << text.status();
  const auto& known = (*text)["key_schedule"];
  std::vector<RosterEntry> entries(2);
  std::vector<X25519Key> secrets;
  for (uint32_t u = 0; u < 2; ++u) {
    const std::string number = std::to_string(u);
    entries[u].channel_key = entries[u].mask_key = ArrayOf(known["pk_" + number]);
    secrets.emplace_back(Secret32(ArrayOf(known["sk_" + number])));
  }
  const SessionView view{.sid0 = {}, .sid = ArrayOf(known["sid"]), .entries = entries};
  EXPECT_EQ(HexOf(PairSeed(view, secrets[0], 0, 1)->bytes()),
            known["pair_seed_01"].get<std::string>());
  EXPECT_EQ(HexOf(PairSeed(view, secrets[1], 1, 0)->bytes()),
            known["pair_seed_01"].get<std::string>());
  const auto of_alice = ChannelKeysOf(view, secrets[0], 0, 1);
  EXPECT_EQ(HexOf(of_alice->outgoing.bytes()), known["channel_0_to_1"].get<std::string>());
  EXPECT_EQ(HexOf(of_alice->incoming.bytes()), known["channel_1_to_0"].get<std::string>());
  const Secret32 b(ArrayOf(known["b_0"]));
  EXPECT_EQ(HexOf(SelfMaskSeed(view.sid, b, 0).bytes()), known["self_seed_0"].get<std::string>());
}

}  // namespace
}  // namespace rivulet::secagg

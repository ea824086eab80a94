#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/runtime/masked_task.h"
#include "common/io/sha256.h"
#include "coordinator/rounds/round_privacy.h"
#include "federation_fixture.h"
#include "privacy/crypto/ed25519.h"
#include "privacy/secagg/shared/transcript.h"

namespace rivulet {

inline const std::vector<std::string> kSix = {"a", "b", "c", "d", "e", "f"};

inline JobSpec MaskedToySpec() {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 2;
  spec.job.min_clients = 4;
  spec.job.min_available_clients = 6;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.rotation = "off";
  spec.secure_aggregation.phase_deadline = std::chrono::seconds(10);
  return spec;
}

// The toy job with its masks and the noise of its mechanism.
inline JobPlanner PrivateToyPlanner(JobSpec spec) {
  return [spec](std::string_view document) -> absl::StatusOr<JobPlan> {
    RV_ASSIGN_OR_RETURN(JobPlan plan, ToyPlanner(spec)(document));
    if (spec.secure_aggregation.enabled) {
      RV_ASSIGN_OR_RETURN(plan.masked, MaskedForm::Of(spec, plan.update_manifest()));
    }
    if (spec.privacy.mechanism == "central") {
      RV_ASSIGN_OR_RETURN(plan.noise_multiplier, CentralMultiplierOf(spec));
    }
    return plan;
  };
}

// Clients that know each other's keys.
class ToyMembers : public secagg::CertificateDirectory {
 public:
  struct Member {
    Member(const std::string& name, secagg::CertificateDirectory& directory)
        : key(Ed25519PrivateKey(SystemEntropy().Secret())),
          signer(*key),
          self{{name, "toys", {}, Ed25519RawPublicKey(*key).value()},
               signer,
               directory,
               ledger,
               {}} {
      self.certificate.fingerprint = Sha256Of(name);
      self.policy.h_min = 1;
    }
    KeyPtr key;
    secagg::KeySigner signer;
    secagg::MemoryLedger ledger;
    MaskingSelf self;
    std::unique_ptr<MaskedTask> task;
    std::optional<ClientTask> order;
    std::string sent;  // the update's file, once it was uploaded
  };

  Member& Of(const std::string& name) {
    std::unique_ptr<Member>& member = members_[name];
    if (member == nullptr) {
      member = std::make_unique<Member>(name, static_cast<secagg::CertificateDirectory&>(*this));
    }
    return *member;
  }
  absl::StatusOr<secagg::MemberCertificate> Find(const Bytes32& fingerprint) override {
    for (const auto& [name, member] : members_) {
      if (member->self.certificate.fingerprint == fingerprint) return member->self.certificate;
    }
    return Refuse(absl::StatusCode::kNotFound, "no such toy");
  }

 private:
  std::map<std::string, std::unique_ptr<Member>> members_;
};

inline ParameterSet StateOf(Federation& federation, BlobStore& blobs, const std::string& job) {
  const std::vector<NamedBlob> downloads = *federation.Downloads(job);
  for (const NamedBlob& blob : downloads) {
    if (blob.name == "state") {
      const std::string file = *blobs.Get(blob.sha256, blob.bytes);
      const Manifest manifest = ToyManifest();
      return *ReadParameterSet(file, &manifest);
    }
  }
  return {};
}

// The plain mean of a round's updates by these clients.
inline ParameterSet PlainMean(const std::vector<std::string>& clients, uint64_t round,
                              const std::string& state_sha256) {
  FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
  for (const std::string& client : clients) {
    EXPECT_TRUE(sum.Add(ToyTrain(client, round, state_sha256).delta, 1).ok());
  }
  return *sum.Mean();
}

inline double LargestDifference(const ParameterSet& a, const ParameterSet& b) {
  double most = 0;
  for (size_t row = 0; row < a.size(); ++row) {
    for (size_t at = 0; at < a.floats(row).size(); ++at) {
      most = std::max(most, std::abs(double{a.floats(row)[at]} - b.floats(row)[at]));
    }
  }
  return most;
}

// A step of the 16-bit lattice whose bound is the range.
inline double StepOf(const JobSpec& spec) { return spec.secure_aggregation.range / 32767; }

// Where a client stops answering.
enum class Vanishes {
  kBeforeKeys,
  kAfterCommitment,
  kAfterNonce,
  kAfterKeys,
  kAfterShares,
  kAfterUpload,
  kAfterEndorsing
};

// A masked job whose clients the test plays: honest ones, or such that vanish.
class MaskedFederationTest : public FederationTest {
 protected:
  class Gateway : public ToyGateway {
   public:
    void Tell(const std::vector<std::string>& clients, const MaskingMessage& message) override {
      const auto kind = static_cast<secagg::MessageKind>(message.bytes[0]);
      told.insert(kind);
      for (const std::string& client : clients) {
        messages.push_back({client, message});
        if (kind == secagg::MessageKind::kRoster) rosters[client] = message.bytes;
      }
    }
    std::deque<std::pair<std::string, MaskingMessage>> messages;
    std::set<secagg::MessageKind> told;
    std::map<std::string, std::string> rosters;  // the last one that each was sent
  };

  void StartPrivate(const JobSpec& spec) {
    spec_ = spec;
    FederationConfig config;
    config.planner = PrivateToyPlanner(spec);
    config.reader = ToyReader(spec);
    config.background = false;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, masked_, clock_);
    const absl::Status recovered = federation_->Recover();
    ASSERT_TRUE(recovered.ok()) << recovered;
  }
  void RestartPrivate() {
    federation_.reset();
    masked_.orders.clear();
    masked_.messages.clear();
    StartPrivate(spec_);
  }
  ClientFacts FactsOf(const std::string& name) {
    ClientFacts facts = ToyClient(name);
    const secagg::MemberCertificate& certificate = members_.Of(name).self.certificate;
    facts.fingerprint.assign(certificate.fingerprint.begin(), certificate.fingerprint.end());
    facts.signing_key.assign(certificate.public_key.begin(), certificate.public_key.end());
    facts.certificate = "certificate of " + name;
    return facts;
  }
  void ConnectMembers(const std::vector<std::string>& names) {
    for (const std::string& name : names) federation_->Connected(FactsOf(name));
  }
  // It comes back with another certificate, and goes on with the attempt that it is in.
  void ReconnectRenewed(const std::string& name) {
    ClientFacts facts = FactsOf(name);
    const Bytes32 fingerprint = Sha256Of(name + ", renewed");
    facts.fingerprint.assign(fingerprint.begin(), fingerprint.end());
    facts.certificate += ", renewed";
    std::erase_if(masked_.orders, [&](const auto& order) { return order.client == name; });
    std::erase_if(masked_.messages, [&](const auto& message) { return message.first == name; });
    federation_->Connected(facts);
  }

  bool Gone(const std::string& client, Vanishes at) const {
    const auto found = vanish_.find(client);
    return found != vanish_.end() && found->second <= at;
  }

  void Say(const std::string& client, const MaskingMessage& about, const std::string& bytes) {
    if (bytes.empty()) return;
    const absl::Status said =
        federation_->Masking(client, {about.job_id, about.round, about.attempt, bytes, {}});
    if (said.ok()) said_bytes_ += static_cast<int64_t>(bytes.size());
    if (!said.ok()) refused_.push_back(client + ": " + std::string(said.message()));
  }

  Manifest UpdateManifest() const { return UpdateManifestOf(spec_, ToyManifest()); }

  void Begin(const std::string& client, const ClientTask& order) {
    if (Gone(client, Vanishes::kBeforeKeys)) return;
    ToyMembers::Member& member = members_.Of(client);
    const MaskedTaskFacts facts{order.job_id,
                                order.round,
                                order.attempt,
                                order.state_sha256,
                                order.job_document,
                                order.masking,
                                order.log ? order.log->sha256 : ""};
    if (member.task != nullptr && member.order->round == order.round &&
        member.order->attempt == order.attempt) {
      return Say(client, {order.job_id, order.round, order.attempt, "", {}},
                 member.task->advertisement());  // assigned again after a restart
    }
    auto task = MaskedTask::Begin(member.self, facts, *MaskedForm::Of(spec_, UpdateManifest()));
    if (!task.ok()) {
      (void)federation_->ReportFailure(client, order.job_id, order.round, order.attempt,
                                       "refused_policy", std::string(task.status().message()));
      return;
    }
    member.task = *std::move(task);
    member.order = order;
    Say(client, {order.job_id, order.round, order.attempt, "", {}}, member.task->advertisement());
  }

  void Answer(const std::string& client, const MaskingMessage& message) {
    ToyMembers::Member& member = members_.Of(client);
    const auto kind = static_cast<secagg::MessageKind>(message.bytes[0]);
    const bool silent =
        (kind == secagg::MessageKind::kPool && Gone(client, Vanishes::kAfterCommitment)) ||
        (kind == secagg::MessageKind::kNonces && Gone(client, Vanishes::kAfterNonce)) ||
        (kind == secagg::MessageKind::kRoster && Gone(client, Vanishes::kAfterKeys)) ||
        (kind == secagg::MessageKind::kForward && Gone(client, Vanishes::kAfterShares)) ||
        (kind == secagg::MessageKind::kSurvivorSet && Gone(client, Vanishes::kAfterUpload)) ||
        (kind == secagg::MessageKind::kEndorsements && Gone(client, Vanishes::kAfterEndorsing));
    if (silent || member.task == nullptr) return;
    const auto answer = member.task->On(message.bytes);
    if (!answer.ok()) {
      refused_.push_back(client + ": " + std::string(answer.status().message()));
      return Say(client, message, member.task->abort_message());
    }
    Say(client, message, Tampered(client, *answer));
    if (kind == secagg::MessageKind::kForward) Deliver(client);
  }

  virtual ToyUpdate TrainedBy(const std::string& client) {
    const ClientTask& order = *members_.Of(client).order;
    return ToyTrain(client, order.round, order.state_sha256);
  }

  // What a codec with a memory adds to an update; an error gives the task up.
  virtual absl::Status Prepare(const std::string&, LocalUpdate&) { return absl::OkStatus(); }
  virtual void Sent(const std::string&, const LocalUpdate&, bool taken) {}

  void Deliver(const std::string& client) {
    ToyMembers::Member& member = members_.Of(client);
    const ToyUpdate trained = TrainedBy(client);
    LocalUpdate update;
    update.file =
        boosted_.contains(client) ? SafetensorsBytes(Boosted(trained.delta)) : trained.file;
    update.tokens = trained.tokens;
    update.examples = 1;
    update.steps = 1;
    update.loss = 2;
    if (const absl::Status status = Prepare(client, update); !status.ok()) {
      (void)federation_->ReportFailure(client, member.order->job_id, member.order->round,
                                       member.order->attempt, "failed",
                                       std::string(status.message()));
      return;
    }
    auto file = member.task->File(update);
    ASSERT_TRUE(file.ok()) << file.status();
    if (garbling_.contains(client)) *file = Garbled(client, *file);
    const ToyUpdate masked{*file, 0, ParameterSet()};
    const auto receipt = ToyUpload(*federation_, client, *member.order, masked);
    if (!receipt.ok()) refused_.push_back(client + ": " + std::string(receipt.status().message()));
    Sent(client, update, receipt.ok());
    member.sent = *file;
  }

  // As far as the owner of a client can move its update: its norm is the range afterwards.
  static ParameterSet Boosted(ParameterSet delta) {
    for (size_t row = 0; row < delta.size(); ++row) {
      for (float& value : delta.floats(row)) value *= 1000;
    }
    return delta;
  }

  // Shares that do not open, from those who deal so; wrong ones of a secret, from those who lie.
  std::string Tampered(const std::string& client, const std::string& said) {
    const auto lie = lies_.find(client);
    const auto kind = said.empty() ? secagg::MessageKind() : secagg::MessageKind(said[0]);
    if (kind == secagg::MessageKind::kShares && dealing_rubbish_.contains(client)) {
      auto shares = *secagg::Decode<secagg::Shares>(said);
      for (secagg::AddressedShare& share : shares.shares) share.sealed.back() ^= 1;
      return secagg::Encode(shares);
    }
    if (kind != secagg::MessageKind::kUnmask || lie == lies_.end()) return said;
    auto unmask = *secagg::Decode<secagg::Unmask>(said);
    const uint32_t index = IndexOf(client, lie->second);
    if (index < unmask.shares.size()) unmask.shares[index].value = SystemEntropy().Secret();
    return secagg::Encode(unmask);
  }
  // In the roster that `reader` was sent last.
  uint32_t IndexOf(const std::string& reader, const std::string& member) {
    const auto entries = secagg::Decode<secagg::Roster>(masked_.rosters.at(reader))->entries;
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
      return entry.fingerprint == members_.Of(member).self.certificate.fingerprint;
    });
    return static_cast<uint32_t>(found - entries.begin());
  }

  // Another vector than the honest one, well signed.
  std::string Garbled(const std::string& client, const std::string& file) {
    ToyMembers::Member& member = members_.Of(client);
    const size_t trailer_bytes = [] {
      secagg::MaskedTrailer trailer;
      trailer.failed = secagg::FailedSet(8);  // of 1 to 8 members
      return secagg::Encode(trailer).size();
    }();
    std::string packed = file.substr(0, file.size() - trailer_bytes);
    auto trailer = *secagg::Decode<secagg::MaskedTrailer>(file.substr(packed.size()));
    for (size_t at = 0; at + 1 < packed.size(); ++at) packed[at] = static_cast<char>(37 * at);
    trailer.packed_sha256 = Sha256Of(packed);
    trailer.signature = member.signer.Sign(secagg::UploadMessage(
        trailer.sid, IndexOf(client, client), packed.size(), trailer.packed_sha256));
    return packed + secagg::Encode(trailer);
  }

  // One order or message; false when there is none.
  bool Once() {
    federation_->Tick();
    if (!masked_.messages.empty()) {
      const auto [client, message] = masked_.messages.front();
      masked_.messages.pop_front();
      Answer(client, message);
      return true;
    }
    if (masked_.orders.empty()) return false;
    const ToyGateway::Order order = masked_.orders.front();
    masked_.orders.pop_front();
    if (order.task.kind == ClientTask::Kind::kEvaluate) {
      EXPECT_TRUE(ToyWork(*federation_, order).ok());
    } else if (!order.task.masking.empty()) {
      Begin(order.client, order.task);
    } else {
      EXPECT_TRUE(ToyWork(*federation_, order).ok());
    }
    return true;
  }

  // Until the job has ended. When nobody speaks, time passes.
  JobView Run(const std::string& job) {
    for (int step = 0; step < 5000; ++step) {
      if (Once()) continue;
      if (Show(job).ended()) break;
      clock_.Advance(seconds(5));
    }
    return Show(job);
  }

  Gateway masked_;
  ToyMembers members_;
  JobSpec spec_;
  std::map<std::string, Vanishes> vanish_;
  std::set<std::string> boosted_;   // whose owners lie as much as the encoding lets them
  std::set<std::string> garbling_;  // who upload what is no masked vector
  std::set<std::string> dealing_rubbish_;
  std::map<std::string, std::string> lies_;  // client -> whose shares it gives wrong ones of
  std::vector<std::string> refused_;
  int64_t said_bytes_ = 0;  // of messages that were taken
};

}  // namespace rivulet

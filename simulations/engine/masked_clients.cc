#include "simulations/engine/masked_clients.h"

#include <utility>

#include "common/io/sha256.h"
#include "coordinator/rounds/federation.h"
#include "privacy/crypto/ed25519.h"
#include "simulations/rounding/seeded_rounding.h"

namespace rivulet {

// One client's rows, from several threads. In no unnamed namespace: it is a field of a class that
// is in none.
class SharedLedger : public secagg::RoundLedger {
 public:
  absl::StatusOr<std::string> PutOnce(secagg::LedgerTable table, std::string_view key,
                                      std::string_view value) override {
    const std::lock_guard lock(mutex_);
    return rows_.PutOnce(table, key, value);
  }
  absl::StatusOr<std::optional<std::string>> Find(secagg::LedgerTable table,
                                                  std::string_view key) override {
    const std::lock_guard lock(mutex_);
    return rows_.Find(table, key);
  }

 private:
  std::mutex mutex_;
  secagg::MemoryLedger rows_;
};

namespace {

// A simulation shows what a job does: it takes whatever the job's own keys allow.
secagg::ClientPolicy AnyPolicy() {
  secagg::ClientPolicy policy;
  policy.mode_min = 0;
  policy.n_min = 3;
  policy.gamma_min_ppm = 0;
  policy.ring = true;
  policy.h_min = 1;
  return policy;
}

// The point that a message of a client stands for, beside its keys and its update.
std::optional<DropPoint> PointOf(std::string_view message) {
  if (message.empty()) return std::nullopt;
  switch (static_cast<secagg::MessageKind>(message[0])) {
    case secagg::MessageKind::kShares:
      return DropPoint::kShares;
    case secagg::MessageKind::kEndorsement:
      return DropPoint::kEndorsement;
    case secagg::MessageKind::kUnmask:
      return DropPoint::kUnmask;
    default:
      return std::nullopt;
  }
}

// Groups are drawn by nonces and by the order of fingerprints: both follow from names and the job's
// seed, so that a run can be repeated. There is nobody to keep a simulated key from.
Secret32 KeyOf(const std::string& name) {
  return Secret32(Sha256Of("rivulet/simulated-client\n" + name));
}

Bytes32 SeededNonce(const UploadKey& attempt, uint64_t seed) {
  return Sha256Of("rivulet/simulated-nonce\n" + std::to_string(seed) + "\n" +
                  std::to_string(attempt.round) + "\n" + std::to_string(attempt.attempt) + "\n" +
                  attempt.client);
}

}  // namespace

struct MaskedClients::Client {
  Client(const std::string& name, secagg::CertificateDirectory& directory)
      : key(Ed25519PrivateKey(KeyOf(name))),
        signer(*key),
        self{CertificateOf(name, *key), signer, directory, ledger, AnyPolicy()} {
    self.rounding = SeededRounding();
    self.nonce = SeededNonce;
    self.name = name;
  }

  static secagg::MemberCertificate CertificateOf(const std::string& name, EVP_PKEY& key) {
    secagg::MemberCertificate certificate;
    certificate.client_id = name;
    certificate.organisation = "simulation";
    certificate.public_key = Ed25519RawPublicKey(key).value();
    certificate.fingerprint = Sha256Of(
        std::string_view(reinterpret_cast<const char*>(certificate.public_key.data()), 32));
    return certificate;
  }

  KeyPtr key;
  secagg::KeySigner signer;
  SharedLedger ledger;
  MaskingSelf self;
};

struct MaskedClients::Task {
  ClientTask order;
  std::unique_ptr<MaskedTask> masked;
  std::mutex mutex;  // of what follows
  std::optional<LocalUpdate> trained;
  bool delivered = false;
  bool taken = false;  // by TakeAgreed
};

MaskedClients::MaskedClients(std::vector<std::string> clients, TaskRunner& runner, Upload upload,
                             Vanishes vanishes)
    : runner_(runner), upload_(std::move(upload)), vanishes_(std::move(vanishes)) {
  for (const std::string& name : clients) {
    auto client = std::make_unique<Client>(name, static_cast<secagg::CertificateDirectory&>(*this));
    by_fingerprint_[client->self.certificate.fingerprint] = client.get();
    clients_[name] = std::move(client);
  }
}

MaskedClients::~MaskedClients() = default;

absl::StatusOr<secagg::MemberCertificate> MaskedClients::Find(const Bytes32& fingerprint) {
  const auto found = by_fingerprint_.find(fingerprint);
  if (found != by_fingerprint_.end()) return found->second->self.certificate;
  return Refuse(absl::StatusCode::kNotFound, "certificate: not one of this simulation");
}

void MaskedClients::Introduce(ClientFacts& facts) const {
  const auto found = clients_.find(facts.name);
  if (found == clients_.end()) return;
  const secagg::MemberCertificate& certificate = found->second->self.certificate;
  facts.organisation = certificate.organisation;
  facts.fingerprint.assign(certificate.fingerprint.begin(), certificate.fingerprint.end());
  facts.signing_key.assign(certificate.public_key.begin(), certificate.public_key.end());
}

absl::Status MaskedClients::Begin(Federation& federation, const std::string& client,
                                  const ClientTask& order) {
  const MaskedTaskFacts facts{order.job_id,
                              order.round,
                              order.attempt,
                              order.state_sha256,
                              order.job_document,
                              order.masking,
                              order.log ? order.log->sha256 : ""};
  auto task = std::make_shared<Task>();
  task->order = order;
  RV_ASSIGN_OR_RETURN(task->masked, MaskedTask::Begin(clients_.at(client)->self, facts));
  {
    const std::lock_guard lock(mutex_);
    tasks_[client] = task;
  }
  return federation.Masking(
      client, {order.job_id, order.round, order.attempt, task->masked->advertisement(), {}});
}

std::shared_ptr<MaskedClients::Task> MaskedClients::TaskOf(const std::string& client,
                                                           const std::string& job, uint64_t round,
                                                           uint32_t attempt) const {
  const std::lock_guard lock(mutex_);
  const auto found = tasks_.find(client);
  if (found == tasks_.end()) return nullptr;
  const ClientTask& order = found->second->order;
  const bool meant = order.job_id == job && order.round == round && order.attempt == attempt;
  return meant ? found->second : nullptr;
}

absl::Status MaskedClients::On(Federation& federation, const std::string& client,
                               const MaskingMessage& message) {
  const auto task = TaskOf(client, message.job_id, message.round, message.attempt);
  if (task == nullptr) return absl::OkStatus();  // given up meanwhile
  absl::StatusOr<std::string> answer = task->masked->On(message.bytes);
  if (!answer.ok()) {
    answer = task->masked->abort_message();
    if (answer->empty()) return absl::OkStatus();
  }
  const std::optional<DropPoint> next = PointOf(*answer);
  if (next && vanishes_(client, task->order, *next)) {
    Forget(client, message.job_id, message.round, message.attempt);
    return absl::OkStatus();
  }
  if (!answer->empty()) {
    RV_RETURN_IF_ERROR(
        federation.Masking(client, {message.job_id, message.round, message.attempt, *answer, {}}));
  }
  return DeliverWhenReady(client, *task);
}

absl::Status MaskedClients::Trained(const std::string& client, const ClientTask& order,
                                    LocalUpdate update) {
  const auto task = TaskOf(client, order.job_id, order.round, order.attempt);
  if (task == nullptr) return absl::OkStatus();
  {
    const std::lock_guard lock(task->mutex);
    task->trained = std::move(update);
  }
  return DeliverWhenReady(client, *task);
}

absl::Status MaskedClients::DeliverWhenReady(const std::string& client, Task& task) {
  const ClientTask& order = task.order;
  const LocalTask local{client, order.job_document, order.round, order.job_id, order.attempt};
  {
    const std::lock_guard lock(task.mutex);
    if (!task.trained || task.delivered || !task.masked->agreed()) return absl::OkStatus();
    task.delivered = true;  // and nobody else sees what was trained
  }
  if (vanishes_(client, order, DropPoint::kUpdate)) {
    Forget(client, order.job_id, order.round, order.attempt);
    return absl::OkStatus();
  }
  LocalUpdate masked;
  RV_ASSIGN_OR_RETURN(masked.file, task.masked->File(*task.trained));
  runner_.Propose(local, task.trained->masked);
  task.trained.reset();
  RV_RETURN_IF_ERROR(upload_(client, order, masked));
  runner_.Accepted(local);
  return absl::OkStatus();
}

std::optional<std::pair<ClientTask, uint64_t>> MaskedClients::TakeAgreed(
    const std::string& client, const MaskingMessage& message) {
  const auto task = TaskOf(client, message.job_id, message.round, message.attempt);
  if (task == nullptr || !task->masked->agreed()) return std::nullopt;
  const std::lock_guard lock(task->mutex);
  if (std::exchange(task->taken, true)) return std::nullopt;
  return std::pair(task->order, task->masked->direction_root());
}

void MaskedClients::Forget(const std::string& client, const std::string& job, uint64_t round,
                           uint32_t attempt) {
  if (TaskOf(client, job, round, attempt) == nullptr) return;
  const std::lock_guard lock(mutex_);
  tasks_.erase(client);
}

}  // namespace rivulet

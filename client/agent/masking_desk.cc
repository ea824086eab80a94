#include "client/agent/masking_desk.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "client/agent/failure_report.h"
#include "client/agent/peer_certificates.h"
#include "client/agent/task_check.h"
#include "client/runtime/masked_task.h"
#include "common/io/file.h"
#include "privacy/crypto/identity.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/serials.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {
namespace {

constexpr uint8_t kSessionVersion = 3;
constexpr uint64_t kMaxDenylist = uint64_t{4} << 20;
constexpr std::chrono::seconds kPatience{30};  // beside the exchanges' own deadlines
constexpr int kExchanges = 4;                  // keys, nonces, shares, and one that just began
constexpr int kDrawExchanges = 2;              // of groups, before them
constexpr std::chrono::hours kOutage{24};      // of a coordinator that then goes on with the round

// What the coordinator may be told: the protocol's own sentences name no path and no data.
absl::Status ForTheReport(const absl::Status& status) {
  const std::optional<secagg::Reason> reason = secagg::ReasonOf(status);
  if (!reason.has_value()) return OfTheDisk(status);
  const std::string text(status.message());
  if (*reason != secagg::Reason::kPolicy) return WithReport(status, "failed", text);
  return WithReport(WithExit(status, ExitCode::kPolicy), "refused_policy", text);
}

absl::Status SaidOpenly(absl::StatusCode code, const std::string& text) {
  return WithReport(Refuse(code, text), "failed", text);
}

std::string LogHashOf(const Assignment& task) { return task.log ? task.log->sha256 : ""; }

MaskedTaskFacts MaskedFactsOf(const TaskKey& key, const Assignment& task) {
  return {key.job,           key.round,    key.attempt,    task.state_sha256,
          task.job_document, task.masking, LogHashOf(task)};
}

// The session is bound to one state and one document: what was trained on others never goes into
// it.
bool IsOf(const MaskedTaskFacts& facts, const Assignment& task) {
  return facts.state_sha256 == task.state_sha256 && facts.document == task.job_document &&
         facts.parameters == task.masking && facts.log_sha256 == LogHashOf(task);
}

bool IsBefore(const TaskKey& a, const TaskKey& b) {
  return std::pair(a.round, a.attempt) < std::pair(b.round, b.attempt);
}

absl::StatusOr<std::string> NameOf(const Credentials& files) {
  RV_ASSIGN_OR_RETURN(const Identity identity, IdentityOfLeaf(files.chain_pem));
  return identity.name;
}

absl::StatusOr<std::set<std::string>> ReadDenylist(const std::filesystem::path& path) {
  if (path.empty()) return std::set<std::string>();
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDenylist));
  absl::StatusOr<std::set<std::string>> serials = ParseSerials(text);
  if (!serials.ok()) return Annotate(serials.status(), path.string());
  return serials;
}

}  // namespace

struct MaskingDesk::Self {
  Credentials files;
  KeyPtr key;
  std::string name;
};

struct MaskingDesk::Attempt {
  TaskKey key;
  MaskedTaskFacts facts;
  std::chrono::seconds patience{0};
  bool gives_directions = false;  // scalars.drawn-from = "session"
  int64_t expires_s = 0;          // Unix time: nobody will ask for it any more
  std::shared_ptr<const Self> self;
  std::unique_ptr<PeerCertificates> peers;
  std::unique_ptr<secagg::RoundLedger> ledger;
  std::unique_ptr<secagg::KeySigner> signer;
  std::optional<MaskingSelf> member;
  std::unique_ptr<MaskedTask> task;

  std::mutex mutex;  // of what follows, and of its file
  std::condition_variable_any changed;
  absl::Status refusal;
  bool over = false;
};

MaskingDesk::MaskingDesk(const Policy& policy, std::filesystem::path tls,
                         std::unique_ptr<MaskingStore> store, RoundingMaker rounding,
                         UnixSeconds clock)
    : policy_(policy),
      tls_(std::move(tls)),
      store_(std::move(store)),
      rounding_(std::move(rounding)),
      clock_(clock ? std::move(clock) : [] { return static_cast<int64_t>(std::time(nullptr)); }) {}

MaskingDesk::~MaskingDesk() = default;

absl::StatusOr<std::unique_ptr<MaskingDesk>> MaskingDesk::Open(const Policy& policy,
                                                               const std::filesystem::path& tls,
                                                               const std::filesystem::path& state,
                                                               RoundingMaker rounding,
                                                               UnixSeconds clock) {
  RV_ASSIGN_OR_RETURN(std::unique_ptr<MaskingStore> store, MaskingStore::Open(state));
  std::unique_ptr<MaskingDesk> desk(
      new MaskingDesk(policy, tls, std::move(store), std::move(rounding), std::move(clock)));
  if (const absl::Status read = desk->ReadIdentity(); !read.ok()) {
    spdlog::warn("{}; this agent takes part in no masked round", std::string(read.message()));
    return desk;
  }
  const std::lock_guard lock(desk->mutex_);
  for (std::string& bytes : desk->store_->Sessions()) {
    if (const absl::Status restored = desk->RestoreLocked(bytes); !restored.ok()) {
      spdlog::warn("masking: an attempt of before cannot go on: {}",
                   std::string(restored.message()));
    }
    OPENSSL_cleanse(bytes.data(), bytes.size());
  }
  return desk;
}

absl::Status MaskingDesk::ReadIdentity() {
  auto self = std::make_shared<Self>();
  RV_ASSIGN_OR_RETURN(self->files, ReadCredentials(tls_));
  RV_ASSIGN_OR_RETURN(self->key, ReadPrivateKey(self->files.key_pem));
  RV_ASSIGN_OR_RETURN(const Bytes32 own, Ed25519RawPublicKey(*self->key));
  RV_ASSIGN_OR_RETURN(const auto peers, PeerCertificates::Make(self->files, {}));
  RV_ASSIGN_OR_RETURN(self->name, NameOf(self->files));
  if (peers->self().public_key != own) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  (tls_ / "key.pem").string() + ": is not the key of cert.pem");
  }
  OPENSSL_cleanse(self->files.key_pem.data(), self->files.key_pem.size());
  const std::lock_guard lock(mutex_);
  self_ = std::move(self);
  return absl::OkStatus();
}

// All of an attempt but its task.
absl::StatusOr<MaskingDesk::AttemptPtr> MaskingDesk::NewAttempt(const TaskKey& key,
                                                                const Assignment& task) const {
  if (self_ == nullptr) {
    return SaidOpenly(absl::StatusCode::kFailedPrecondition,
                      "masking: this agent has no certificate to sign with");
  }
  RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(task.job_document));
  RV_ASSIGN_OR_RETURN(std::set<std::string> denied, ReadDenylist(policy_.denylist));
  auto attempt = std::make_shared<Attempt>();
  attempt->key = key;
  attempt->facts = MaskedFactsOf(key, task);
  const int exchanges = kExchanges + (document.spec.robust.groups > 0 ? kDrawExchanges : 0);
  attempt->patience = document.spec.secure_aggregation.phase_deadline * exchanges + kPatience;
  attempt->gives_directions = document.spec.scalars.drawn_from == "session";
  attempt->self = self_;
  attempt->expires_s =
      clock_() +
      std::chrono::seconds(document.spec.job.round_deadline + attempt->patience + kOutage).count();
  RV_ASSIGN_OR_RETURN(attempt->peers, PeerCertificates::Make(self_->files, std::move(denied)));
  RV_ASSIGN_OR_RETURN(attempt->ledger, store_->LedgerOf(key.job, key.round));
  attempt->signer = std::make_unique<secagg::KeySigner>(*self_->key);
  attempt->member.emplace(MaskingSelf{attempt->peers->self(), *attempt->signer, *attempt->peers,
                                      *attempt->ledger, policy_.masking});
  attempt->member->rounding = rounding_;
  attempt->member->name = self_->name;
  return attempt;
}

absl::StatusOr<std::string> MaskingDesk::Begin(const Assignment& task) {
  const std::lock_guard lock(mutex_);
  const auto refused = refusals_.find(task.key.job);
  if (refused != refusals_.end() && refused->second.first == task.key) {
    return refused->second.second;  // keys are drawn once
  }
  absl::StatusOr<std::string> said = BeginLocked(task);
  if (!said.ok()) refusals_[task.key.job] = {task.key, said.status()};
  return said;
}

// Secrets of an attempt whose end this agent never heard of.
void MaskingDesk::EndExpiredLocked() {
  for (const auto& [job, attempt] : attempts_) {
    if (attempt->expires_s <= clock_()) End(*attempt);
  }
  std::erase_if(attempts_, [this](const auto& one) { return one.second->expires_s <= clock_(); });
}

absl::StatusOr<std::string> MaskingDesk::BeginLocked(const Assignment& task) {
  EndExpiredLocked();
  const auto known = attempts_.find(task.key.job);
  if (known != attempts_.end()) {
    Attempt& attempt = *known->second;
    if (attempt.key == task.key && IsOf(attempt.facts, task)) {
      const std::lock_guard lock(attempt.mutex);
      if (!attempt.refusal.ok()) return attempt.refusal;
      return attempt.task->advertisement();
    }
    if (!IsBefore(attempt.key, task.key)) {
      return SaidOpenly(absl::StatusCode::kFailedPrecondition,
                        "masking: this agent is in a later attempt of the job, or in the same one "
                        "with another state, document or parameters");
    }
  }
  RV_RETURN_IF_ERROR(CheckTask(policy_, task));
  // Before the ledger: opening a round ends the earlier ones for good.
  if (const absl::Status wrong = MaskedTask::Check(MaskedFactsOf(task.key, task), policy_.masking);
      !wrong.ok()) {
    return ForTheReport(wrong);
  }
  RV_ASSIGN_OR_RETURN(const AttemptPtr attempt, NewAttempt(task.key, task));
  absl::StatusOr<std::unique_ptr<MaskedTask>> masked =
      MaskedTask::Begin(*attempt->member, attempt->facts);
  if (!masked.ok()) return ForTheReport(masked.status());
  attempt->task = *std::move(masked);
  {
    const std::lock_guard lock(attempt->mutex);
    RV_RETURN_IF_ERROR(OfTheDisk(Save(*attempt)));
  }
  if (known != attempts_.end()) End(*known->second);
  attempts_[task.key.job] = attempt;
  store_->DropRowsBefore(task.key.job, task.key.round);
  return attempt->task->advertisement();
}

MaskingDesk::AttemptPtr MaskingDesk::Find(const TaskKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(key.job);
  return found != attempts_.end() && found->second->key == key ? found->second : nullptr;
}

MaskingDesk::Answer MaskingDesk::On(const MaskingArrived& message) {
  const AttemptPtr attempt = Find(message.key);
  if (attempt == nullptr) {
    spdlog::debug("{}: a message of an attempt that this agent is not in", TextOf(message.key));
    return {};
  }
  attempt->peers->Offer(message.certificates);
  const std::lock_guard lock(attempt->mutex);
  if (message.bytes.empty() || attempt->over || !attempt->refusal.ok()) return {};
  const absl::StatusOr<std::string> answer = attempt->task->On(message.bytes);
  if (answer.ok()) {
    if (const absl::Status saved = Save(*attempt); !saved.ok()) {
      spdlog::error("{}: {}", TextOf(message.key), std::string(saved.message()));
      return {};  // nothing is said that is not durable; asked again, it is tried again
    }
    attempt->changed.notify_all();
    return {*answer, std::nullopt};
  }
  spdlog::warn("{}: {}", TextOf(message.key), std::string(answer.status().message()));
  if (!secagg::ReasonOf(answer.status()).has_value()) return {};  // the attempt is as it was
  attempt->refusal = ForTheReport(answer.status());
  store_->EraseSession(attempt->key);
  attempt->changed.notify_all();
  std::string abort = attempt->task->abort_message();
  if (abort.empty()) return {};  // the coordinator's own end of it
  FailureReport report = ReportOf(attempt->refusal);
  return {"", MaskingRefused{attempt->key, std::move(report.code), std::move(report.text),
                             std::move(abort)}};
}

// The attempt in hand, which must be of the task's own state, document and parameters.
absl::StatusOr<MaskingDesk::AttemptPtr> MaskingDesk::FindFor(const Assignment& task) {
  AttemptPtr attempt = Find(task.key);
  if (attempt == nullptr) {
    return SaidOpenly(absl::StatusCode::kFailedPrecondition, "masking: the attempt is over");
  }
  if (IsOf(attempt->facts, task)) return attempt;
  return SaidOpenly(absl::StatusCode::kFailedPrecondition,
                    "masking: the update is of another state, document or parameters than the "
                    "attempt");
}

// With the attempt's mutex held.
absl::Status MaskingDesk::AwaitMasks(Attempt& attempt, std::unique_lock<std::mutex>& lock,
                                     const std::stop_token& stop) const {
  const auto ready = [&attempt] {
    return attempt.over || !attempt.refusal.ok() || attempt.task->agreed();
  };
  const auto until = std::chrono::steady_clock::now() + attempt.patience;
  const bool waited = attempt.changed.wait_until(lock, stop, until, ready);
  if (stop.stop_requested()) return absl::CancelledError("masking: told to stop");
  if (!waited) {
    return SaidOpenly(absl::StatusCode::kDeadlineExceeded,
                      "masking: no masks were agreed within " +
                          std::to_string(attempt.patience.count()) +
                          (attempt.gives_directions ? " s" : " s after the training"));
  }
  if (attempt.over) {
    return SaidOpenly(absl::StatusCode::kFailedPrecondition, "masking: the attempt is over");
  }
  return attempt.refusal;
}

absl::StatusOr<std::optional<uint64_t>> MaskingDesk::DirectionRoot(const Assignment& task,
                                                                   const std::stop_token& stop) {
  RV_ASSIGN_OR_RETURN(const AttemptPtr attempt, FindFor(task));
  std::unique_lock lock(attempt->mutex);
  if (!attempt->gives_directions) return std::nullopt;
  RV_RETURN_IF_ERROR(AwaitMasks(*attempt, lock, stop));
  return attempt->task->direction_root();
}

absl::StatusOr<std::string> MaskingDesk::File(const Assignment& task, LocalUpdate& update,
                                              const std::stop_token& stop) {
  RV_ASSIGN_OR_RETURN(const AttemptPtr attempt, FindFor(task));
  std::unique_lock lock(attempt->mutex);
  RV_RETURN_IF_ERROR(AwaitMasks(*attempt, lock, stop));
  absl::StatusOr<std::string> file = attempt->task->File(update);
  if (!file.ok()) return ForTheReport(file.status());
  RV_RETURN_IF_ERROR(OfTheDisk(Save(*attempt)));
  return file;
}

void MaskingDesk::Leave(const TaskKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(key.job);
  if (found == attempts_.end() || found->second->key != key) return;
  End(*found->second);
  attempts_.erase(found);
}

void MaskingDesk::EndRounds(const std::string& job, uint64_t round) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(job);
  if (found == attempts_.end() || found->second->key.round > round) return;
  End(*found->second);
  attempts_.erase(found);
}

void MaskingDesk::End(Attempt& attempt) {
  const std::lock_guard lock(attempt.mutex);
  attempt.over = true;
  store_->EraseSession(attempt.key);
  attempt.changed.notify_all();
}

// With the attempt's mutex held. An attempt that is over leaves no file.
absl::Status MaskingDesk::Save(Attempt& attempt) {
  if (attempt.over) return absl::OkStatus();
  std::string state = attempt.task->Serialise();
  const MaskedTaskFacts& facts = attempt.facts;
  // Reserved at once: a text that grows leaves copies of secrets behind.
  secagg::ByteWriter out(256 + facts.job.size() + facts.document.size() + facts.parameters.size() +
                         state.size());
  out.U8(kSessionVersion).Lp(facts.job).U64(facts.round).U32(facts.attempt);
  out.U64(static_cast<uint64_t>(attempt.expires_s));
  out.Lp(facts.state_sha256).Lp(facts.document).Lp(facts.parameters).Lp(facts.log_sha256);
  out.Lp(state);
  std::string bytes = out.Take();
  const absl::Status saved = store_->PutSession(attempt.key, bytes);
  OPENSSL_cleanse(state.data(), state.size());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return saved;
}

absl::StatusOr<MaskingDesk::AttemptPtr> MaskingDesk::Resumed(const TaskKey& key,
                                                             const Assignment& task,
                                                             std::string_view state) const {
  RV_ASSIGN_OR_RETURN(AttemptPtr attempt, NewAttempt(key, task));
  RV_ASSIGN_OR_RETURN(attempt->task, MaskedTask::Restore(*attempt->member, attempt->facts, state));
  return attempt;
}

// Of two attempts of one job, which a crash can leave, the later one goes on.
absl::Status MaskingDesk::RestoreLocked(std::string_view bytes) {
  secagg::ByteReader in(bytes);
  const uint8_t version = in.U8();
  TaskKey key{std::string(in.Lp())};
  key.round = in.U64();
  key.attempt = in.U32();
  if (version != kSessionVersion && !in.failed()) {  // an agent of before the upgrade began it
    store_->EraseSession(key);
    return Refuse(absl::StatusCode::kFailedPrecondition, TextOf(key) + ": got a file of version " +
                                                             std::to_string(version) + ", want " +
                                                             std::to_string(kSessionVersion));
  }
  const auto expires_s = static_cast<int64_t>(in.U64());
  Assignment task;
  task.state_sha256 = in.Lp();
  task.job_document = in.Lp();
  task.masking = in.Lp();
  if (const std::string_view log = in.Lp(); !log.empty()) task.log = StateLog{std::string(log)};
  const std::string_view state = in.Lp();
  if (!in.Done()) {
    return Refuse(absl::StatusCode::kDataLoss, "its file is damaged");
  }
  if (expires_s <= clock_()) {
    store_->EraseSession(key);
    return Refuse(absl::StatusCode::kDeadlineExceeded, TextOf(key) + ": its time is over");
  }
  const auto known = attempts_.find(key.job);
  if (known != attempts_.end() && !IsBefore(known->second->key, key)) {
    store_->EraseSession(key);
    return absl::OkStatus();
  }
  absl::StatusOr<AttemptPtr> attempt = Resumed(key, task, state);
  if (!attempt.ok()) {
    store_->EraseSession(key);
    return Annotate(attempt.status(), TextOf(key));
  }
  (*attempt)->expires_s = expires_s;
  if (known != attempts_.end()) End(*known->second);
  attempts_[key.job] = *std::move(attempt);
  return absl::OkStatus();
}

}  // namespace rivulet

// Federation: rounds under masks. MaskedRound says what is to be done; here it is done, durably
// first.
#include <optional>
#include <set>
#include <utility>

#include "common/job/validate_private.h"
#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/masked_mean.h"
#include "coordinator/rounds/refusals.h"
#include "coordinator/storage/secret_pieces.h"
#include "privacy/secagg/shared/messages.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {

namespace {

secagg::MemberCertificate MemberOf(const ClientFacts& facts) {
  secagg::MemberCertificate member;
  member.client_id = facts.name;
  member.organisation = facts.organisation;
  const auto take = [](const std::string& from, Bytes32& to) {
    if (from.size() == to.size()) std::copy(from.begin(), from.end(), to.begin());
  };
  take(facts.fingerprint, member.fingerprint);
  take(facts.signing_key, member.public_key);
  return member;
}

// Whom a message names, by fingerprint.
std::set<Bytes32> MembersIn(const std::string& bytes) {
  std::set<Bytes32> members;
  const auto kind = bytes.empty() ? secagg::MessageKind() : secagg::MessageKind(bytes[0]);
  if (kind == secagg::MessageKind::kRoster) {
    const auto roster = secagg::Decode<secagg::Roster>(bytes);
    if (!roster.ok()) return members;
    for (const auto& entry : roster->entries) members.insert(entry.fingerprint);
  } else if (kind == secagg::MessageKind::kPool) {
    const auto pool = secagg::Decode<secagg::Pool>(bytes);
    if (!pool.ok()) return members;
    for (const auto& entry : pool->entries) members.insert(entry.fingerprint);
  }
  return members;
}

Bytes32 FingerprintIn(const std::string& text) {
  Bytes32 fingerprint{};
  if (text.size() == fingerprint.size()) std::copy(text.begin(), text.end(), fingerprint.begin());
  return fingerprint;
}

std::pair<uint64_t, uint32_t> AttemptOf(const EngineState& state) {
  return {state.round, state.attempt};
}

// A session for every group that was drawn.
absl::StatusOr<std::vector<MaskedRound::Session>> SessionsOf(const MaskedForm& form,
                                                             MaskedAttempt attempt,
                                                             const secagg::ServerDraw& drawn) {
  const auto members = static_cast<uint32_t>(drawn.members().size());
  RV_ASSIGN_OR_RETURN(const auto groups, drawn.Groups(form.GroupsOf(members)));
  attempt.drawn = drawn.drawn();
  std::vector<MaskedRound::Session> sessions;
  for (const auto& group : groups) {
    attempt.cohort = static_cast<uint32_t>(group.size());
    attempt.group = static_cast<uint32_t>(sessions.size());
    MaskedRound::Session& session = sessions.emplace_back();
    session.params = form.ParamsOf(attempt);
    for (const auto& member : group) session.cohort.push_back(member.client_id);
  }
  return sessions;
}

}  // namespace

MaskedRound::Limits Federation::Impl::MaskingLimits(const Job& job) const {
  const JobSpec& spec = job.plan->spec;
  return {spec.secure_aggregation.phase_deadline, spec.job.round_deadline};
}

std::vector<Write> Federation::Impl::MaskingWrites(const Job& job) const {
  const RoundRecord& round = job.rounds.back();
  return WritesOf({round.job, round.round, round.attempt, kMaskingSecret, job.masked->Serialise()});
}

absl::Status Federation::Impl::StartMaskingLocked(Job& job, const OpenRound& action) {
  MaskedAttempt attempt;
  attempt.job = job.record.id;
  attempt.round = action.round;
  attempt.attempt = action.attempt;
  attempt.state_sha256 = job.models.rbegin()->second.sha256;
  attempt.document = job.record.document;
  const MaskedForm form =
      job.plan->masked->OfRound(TermsOfLocked(job, action.cohort.size()).clip_norm)
          .OfSecondPass(FirstPassOf(*job.plan, job.models.rbegin()->second));
  attempt.cohort = static_cast<uint32_t>(action.cohort.size());
  const secagg::Params params = form.ParamsOf(attempt);
  const auto needed = static_cast<size_t>(FewestGroups(job.plan->spec));
  std::unique_ptr<MaskedRound> masked;
  if (form.grouped()) {
    RV_ASSIGN_OR_RETURN(
        std::unique_ptr<MaskedDraw> draw,
        MaskedDraw::Start(params, form.fewest_drawn(), action.cohort, MaskingLimits(job), Now()));
    RV_ASSIGN_OR_RETURN(masked, MaskedRound::Draw(
                                    std::move(draw),
                                    [form, attempt](const secagg::ServerDraw& drawn) {
                                      return SessionsOf(form, attempt, drawn);
                                    },
                                    needed, MaskingLimits(job)));
  } else {
    RV_ASSIGN_OR_RETURN(
        masked, MaskedRound::Start({{params, action.cohort}}, needed, MaskingLimits(job), Now()));
  }
  job.masked = std::move(masked);
  job.opening = false;
  return absl::OkStatus();
}

void Federation::Impl::EndMaskingLocked(Job& job) {
  job.masked.reset();
  job.masking.clear();
  job.opening = false;
}

// After a restart. An attempt whose keys were still being collected begins anew; one that has its
// roster goes on with the clients that remember it.
absl::Status Federation::Impl::ResumeMaskingLocked(Job& job,
                                                   const std::vector<SecretRecord>& secrets) {
  if (job.engine == nullptr || !job.plan->masked || job.rounds.empty()) return absl::OkStatus();
  const RoundRecord& round = job.rounds.back();
  const Phase phase = job.engine->state().phase;
  if (phase != Phase::kOpen && phase != Phase::kClosed) return absl::OkStatus();
  const auto state =
      JoinedSecret(secrets, {round.job, round.round, round.attempt, kMaskingSecret, ""});
  MaskedRound::Output lost;  // what the process before may not have got to
  if (state.status().code() == absl::StatusCode::kNotFound) {
    lost.failed = absl::AbortedError("the coordinator was restarted while keys were exchanged");
    job.masking.push_back(std::move(lost));
    return absl::OkStatus();
  }
  RV_RETURN_IF_ERROR(state.status());
  RV_ASSIGN_OR_RETURN(job.masked, MaskedRound::Restore(*state, MaskingLimits(job), Now()));
  lost.lost = job.masked->Lost();
  job.masking.push_back(std::move(lost));
  return phase == Phase::kOpen ? ReadTrailersLocked(job) : absl::OkStatus();
}

// Uploads that were acknowledged before a restart count.
absl::Status Federation::Impl::ReadTrailersLocked(Job& job) {
  for (const UpdateRecord& update : job.updates) {
    const auto group = job.masked->GroupOf(update.client);
    if (update.round != job.rounds.back().round || update.attempt != job.rounds.back().attempt ||
        !group.ok()) {
      continue;
    }
    const uint64_t packed = (*group)->params().packed_bytes();
    RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> blob, blobs_.Open(update.sha256));
    std::string trailer(update.bytes - std::min(update.bytes, packed), '\0');
    RV_RETURN_IF_ERROR(blob->Read(packed, std::as_writable_bytes(std::span(trailer))));
    RV_RETURN_IF_ERROR(Annotate(job.masked->OnUpload(update.client, trailer), update.client));
  }
  return absl::OkStatus();
}

absl::Status Federation::Impl::Masking(const std::string& client, const MaskingMessage& message) {
  const std::lock_guard lock(mutex_);
  Job* const job = FindLocked(message.job_id);
  const auto known = clients_.find(client);
  const bool open = job != nullptr && job->masked != nullptr && !job->opening &&
                    known != clients_.end() && job->rounds.back().round == message.round &&
                    job->rounds.back().attempt == message.attempt;
  if (!open) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "masking of job " + message.job_id + " round " + std::to_string(message.round) +
                      " attempt " + std::to_string(message.attempt) + ": is not open",
                  Remedy::kResync);
  }
  RV_ASSIGN_OR_RETURN(MaskedRound::Output output,
                      job->masked->OnMessage(MemberOf(known->second.facts), message.bytes, Now()));
  job->masking.push_back(std::move(output));
  DrainLocked(*job);
  return absl::OkStatus();
}

// Of those whom a message to this client and others names: what they showed when they began.
std::vector<std::string> Federation::Impl::CertificatesLocked(const Job& job,
                                                              const std::string& client,
                                                              const std::string& bytes) const {
  std::vector<std::string> certificates;
  const std::set<Bytes32> members = MembersIn(bytes);
  if (members.empty()) return certificates;
  const auto group = job.masked->GroupOf(client);  // a roster is of one, a pool of all
  const bool roster = secagg::MessageKind(bytes[0]) == secagg::MessageKind::kRoster;
  const std::vector<std::string> names =
      roster && group.ok() ? (*group)->cohort() : job.masked->Members();
  for (const std::string& name : names) {
    const auto known = clients_.find(name);
    if (known == clients_.end()) continue;
    const Client& member = known->second;
    const bool current = members.contains(FingerprintIn(member.facts.fingerprint));
    const bool former = !current && members.contains(FingerprintIn(member.former_fingerprint));
    const std::string& certificate = former ? member.former_certificate : member.facts.certificate;
    if ((current || former) && !certificate.empty()) certificates.push_back(certificate);
  }
  return certificates;
}

void Federation::Impl::TellLocked(const Job& job,
                                  const std::vector<MaskedRound::Message>& messages) {
  const RoundRecord& round = job.rounds.back();
  for (const auto& [clients, bytes] : messages) {
    if (clients.empty()) continue;
    gateway_.Tell(clients, {job.record.id, round.round, round.attempt, bytes,
                            CertificatesLocked(job, clients.front(), bytes)});
  }
}

// One of the clients cannot be waited for any longer.
void Federation::Impl::LoseLocked(Job& job, const std::string& client, const std::string& why) {
  const RoundRecord& round = job.rounds.back();
  if (!job.engine->Wants(client, round.round, round.attempt)) return;
  const FailureRecord failure{round.job, round.round, round.attempt, client, kLeftOut, why};
  const absl::Status stored = states_.Commit({PutFailure{failure}});
  if (!stored.ok() && stored.code() != absl::StatusCode::kAlreadyExists) return;
  job.failures.push_back(failure);
  EmitLocked(job, "client.dropped", round.round, {{"client", client}, {"reason", why}});
  const TaskKey key{round.job, round.round, round.attempt};
  const auto known = clients_.find(client);
  if (known != clients_.end() && known->second.running == key) {
    const std::string told = job.masked != nullptr ? job.masked->ToldTo(client, why) : why;
    gateway_.Cancel(client, key.job, key.round, key.attempt, told);  // or it waits for the others
  }
  TaskOverLocked(client, key);
  const TaskFailed event{client, round.round, round.attempt, PredicateOf(failure),
                         RefusesForGood(failure)};
  for (Action& action : job.engine->Step(event, Now())) {
    job.backlog.push_back(std::move(action));
  }
}

// It takes part in no further attempt of the job.
void Federation::Impl::ExcludeLocked(Job& job, const std::string& client, const std::string& why) {
  if (!job.excluded.emplace(client, why).second) return;
  const RoundRecord& round = job.rounds.back();
  const FailureRecord failure{round.job, round.round, round.attempt, client, kExcluded, why};
  // One that had given its task up has a row of this attempt. A disk may be full: then a restart
  // forgets, and it has to be found out again.
  if (states_.Commit({PutFailure{failure, /*replaces=*/true}}).ok()) {
    std::erase_if(job.failures, [&](const FailureRecord& row) {
      return row.round == failure.round && row.attempt == failure.attempt && row.client == client;
    });
    job.failures.push_back(failure);
  }
  EmitLocked(job, "client.excluded", round.round, {{"client", client}, {"reason", why}});
  for (Action& action : job.engine->Step(ClientExcluded{client}, Now())) {
    job.backlog.push_back(std::move(action));
  }
}

// Called by DrainLocked between two actions of the engine.
void Federation::Impl::DoMaskingLocked(Job& job, MaskedRound::Output output) {
  const auto feed = [this, &job](const Event& event) {
    for (Action& action : job.engine->Step(event, Now())) job.backlog.push_back(std::move(action));
  };
  const std::pair attempt = AttemptOf(job.engine->state());
  if (output.save && job.masked != nullptr && output.failed.ok()) {
    const absl::Status saved = states_.Commit(MaskingWrites(job));
    if (!saved.ok()) {
      return feed(MaskingFailed{"masking: " + std::string(saved.message()), output.repeatable,
                                false, "the coordinator cannot store its masks"});
    }
    job.masked->Saved();
  }
  if (job.masked != nullptr) TellLocked(job, output.send);
  for (const auto& [client, why] : output.lost) LoseLocked(job, client, why);
  for (const auto& [client, why] : output.faulty) ExcludeLocked(job, client, why);
  if (output.rebuild && job.masked != nullptr) {
    work_.push_back({job.record.id});
    work_ready_.notify_one();
  }
  // Those lost may have ended the attempt before: the next one has not failed.
  if (!output.failed.ok() && attempt == AttemptOf(job.engine->state())) {
    feed(MaskingFailed{std::string(output.failed.message()), output.repeatable,
                       !output.faulty.empty(),
                       job.masked != nullptr ? job.masked->Nameless(output.failed) : ""});
  } else if (output.failed.ok() && output.opened && job.masked != nullptr) {
    job.opening = true;
    work_.push_back({job.record.id});
    work_ready_.notify_one();
  }
}

// The secrets of a group from its shares. Further messages are taken meanwhile.
void Federation::Impl::RebuildSecrets(Job& job, std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<MaskedRound> masked = job.masked;
  if (masked == nullptr) return;
  std::optional<MaskedRound::Rebuild> rebuild = masked->BeginRebuild();
  if (!rebuild) return;
  working_ = true;
  lock.unlock();
  rebuild->work.Run();
  lock.lock();
  working_ = false;
  if (job.masked != masked) return;  // the attempt is over
  work_.push_back({job.record.id});  // for the next group
  job.masking.push_back(masked->Rebuilt(*std::move(rebuild), Now()));
  DrainLocked(job);
}

// The survivor sets and the closing of the round are one commit, before a byte of a set leaves.
absl::Status Federation::Impl::CloseMaskedLocked(Job& job, MoveRound close) {
  MaskedRound::Output output = job.masked->Freeze(close.counted, Now());
  if (output.failed.ok()) {
    close.counted = job.masked->Remaining(close.counted);
    std::vector<Write> writes = MaskingWrites(job);
    writes.push_back(close);
    RV_RETURN_IF_ERROR(ChargeLocked(job, close, writes));
    RV_RETURN_IF_ERROR(states_.Commit(writes));
    ChargedLocked(job);
    job.masked->Saved();
    output.save = false;
    output.lost = job.masked->Lost();  // also of a try before that found no space
    job.rounds.back().state = RoundState::kClosed;
    job.rounds.back().counted = close.counted;
    EndUploadsLocked(job);
  }
  job.masking.push_back(std::move(output));
  return absl::OkStatus();
}

void Federation::Impl::MaskingTimeLocked(Job& job) {
  // What waits for space on the disk is not overtaken by a deadline.
  if (job.masked == nullptr || job.opening || job.resuming || !job.backlog.empty()) return;
  job.masking.push_back(job.masked->OnTime(Now()));
  DrainLocked(job);
}

// The engine hears of it by itself.
void Federation::Impl::MaskingGoneLocked(Job& job, const FailureRecord& failure) {
  if (job.masked == nullptr || job.opening) return;
  job.masking.push_back(job.masked->OnGone(failure.client, ReasonIn(failure), Now()));
}

void Federation::Impl::MaskingReturnedLocked(Job& job, const std::string& client) {
  if (job.engine == nullptr || job.masked == nullptr || job.opening) return;
  std::vector<MaskedRound::Message> again;
  for (std::string& bytes : job.masked->MessagesFor(client)) {
    again.push_back({{client}, std::move(bytes)});
  }
  TellLocked(job, again);
}

}  // namespace rivulet

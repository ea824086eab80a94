#include "coordinator/rounds/masked_group.h"

#include <algorithm>
#include <utility>

#include "coordinator/rounds/refusals.h"
#include "privacy/masking/signature_verifier.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet {

using secagg::MessageKind;
using secagg::Reason;
using Session = secagg::ServerSession;

namespace {

// The phase that a client's message of this kind is awaited in.
std::optional<Session::Phase> PhaseOf(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  switch (static_cast<MessageKind>(bytes[0])) {
    case MessageKind::kAdvertisement:
      return Session::Phase::kAdvertise;
    case MessageKind::kReveal:
      return Session::Phase::kReveal;
    case MessageKind::kShares:
      return Session::Phase::kShare;
    case MessageKind::kEndorsement:
      return Session::Phase::kEndorse;
    case MessageKind::kUnmask:
      return Session::Phase::kUnmask;
    default:
      return std::nullopt;
  }
}

const char* AwaitedIn(Session::Phase phase) {
  switch (phase) {
    case Session::Phase::kAdvertise:
      return "keys";
    case Session::Phase::kReveal:
      return "nonces";
    case Session::Phase::kShare:
      return "shares";
    case Session::Phase::kEndorse:
      return "endorsements";
    case Session::Phase::kUnmask:
      return "unmasking shares";
    default:
      return "";
  }
}

// Whether a client may have given shares away, as far as the session tells.
bool SharesMayBeOut(const Session& session) {
  return session.phase() == Session::Phase::kUnmask || session.phase() == Session::Phase::kDone ||
         (session.phase() == Session::Phase::kAborted && session.u3().Count() > 0);
}

// Who was found at fault, for the operator.
std::string Blamed(const Session& session,
                   std::vector<std::pair<std::string, std::string>>& faulty) {
  std::string text;
  const auto list = [&](const std::vector<uint32_t>& indices, const char* what, const char* why) {
    if (indices.empty()) return;
    text += (text.empty() ? "" : ", ") + std::string(what);
    for (const uint32_t index : indices) {
      const std::string& client = session.members()[index].client_id;
      text += " '" + client + "'";
      faulty.emplace_back(client, why);
    }
  };
  list(session.blame().holders, "wrong shares came from", "sent wrong shares of others' secrets");
  list(session.blame().dealers, "shares that belong to no secret were dealt by",
       "dealt shares that belong to no secret");
  return text;
}

}  // namespace

MaskedGroup::MaskedGroup(Session session, std::vector<std::string> cohort, Limits limits,
                         milliseconds now)
    : session_(std::move(session)),
      cohort_(std::move(cohort)),
      limits_(limits),
      waiting_(cohort_.begin(), cohort_.end()),
      deadline_(now + limits.phase) {}

absl::StatusOr<std::unique_ptr<MaskedGroup>> MaskedGroup::Start(
    const secagg::Params& params, const std::vector<std::string>& cohort, Limits limits,
    milliseconds now) {
  RV_ASSIGN_OR_RETURN(Session session,
                      Session::Start(params, std::set<std::string>(cohort.begin(), cohort.end()),
                                     SignatureVerifier()));
  return std::unique_ptr<MaskedGroup>(new MaskedGroup(std::move(session), cohort, limits, now));
}

std::string MaskedGroup::Serialise() const {
  secagg::ByteWriter out;
  out.U8(3).Lp(session_.Serialise()).U64(protocol_bytes_);
  for (const std::vector<std::string>* list : {&cohort_, &said_}) {
    out.U32(static_cast<uint32_t>(list->size()));
    for (const std::string& one : *list) out.Lp(one);
  }
  return out.Take();
}

absl::StatusOr<std::unique_ptr<MaskedGroup>> MaskedGroup::Restore(std::string_view state,
                                                                  Limits limits, milliseconds now) {
  secagg::ByteReader in(state);
  const uint8_t version = in.U8();
  RV_ASSIGN_OR_RETURN(Session session, Session::Restore(in.Lp(), SignatureVerifier()));
  const uint64_t protocol_bytes = in.U64();
  std::vector<std::string> cohort, said;
  for (std::vector<std::string>* list : {&cohort, &said}) {
    for (uint32_t left = in.U32(); left > 0 && !in.failed(); --left) list->emplace_back(in.Lp());
  }
  if (version != 3 || !in.Done()) {
    return Refuse(absl::StatusCode::kDataLoss, "masking: the stored state is damaged");
  }
  std::unique_ptr<MaskedGroup> group(
      new MaskedGroup(std::move(session), std::move(cohort), limits, now));
  group->said_ = std::move(said);
  group->protocol_bytes_ = protocol_bytes;
  group->Saved();
  group->unmasking_ = SharesMayBeOut(group->session_);
  if (group->session_.phase() == Session::Phase::kAdvertise) return group;
  group->KnowMembers();
  group->ExpectMembers();
  if (group->session_.phase() == Session::Phase::kUnmask) group->deadline_ = now + limits.unmask;
  return group;
}

void MaskedGroup::KnowMembers() {
  for (const secagg::MemberCertificate& member : session_.members()) {
    fingerprints_[member.client_id] = member.fingerprint;
  }
}

const Bytes32* MaskedGroup::FingerprintOf(const std::string& client) const {
  const auto found = fingerprints_.find(client);
  return found == fingerprints_.end() ? nullptr : &found->second;
}

// Whom the phase that has just begun is about: the roster, later those who shared or survived.
bool MaskedGroup::Expected(const std::string& client) const {
  const Bytes32* const fingerprint = FingerprintOf(client);
  if (fingerprint == nullptr) return false;
  const std::optional<uint32_t> index = session_.IndexOf(*fingerprint);
  if (!index) return false;
  switch (session_.phase()) {
    case Session::Phase::kReveal:
    case Session::Phase::kShare:
      return true;
    case Session::Phase::kMasked:
      return session_.u2().Contains(*index);
    case Session::Phase::kEndorse:
    case Session::Phase::kUnmask:
      return session_.u3().Contains(*index);
    default:
      return false;
  }
}

void MaskedGroup::ExpectMembers() {
  waiting_.clear();
  for (const auto& [client, fingerprint] : fingerprints_) {
    if (Expected(client)) waiting_.insert(client);
  }
}

void MaskedGroup::SayToAll(const std::string& bytes, Output& out) {
  said_.push_back(bytes);
  ExpectMembers();
  out.send.push_back({{waiting_.begin(), waiting_.end()}, bytes});
  out.save = true;
}

void MaskedGroup::Fail(const absl::Status& status, Output& out) {
  const std::string blamed = Blamed(session_, out.faulty);
  out.failed = blamed.empty() ? status : Annotate(status, blamed);
  out.repeatable = session_.phase() != Session::Phase::kUnmask && !unmasking_;
  if (session_.phase() != Session::Phase::kAborted) {
    session_.GiveUp(secagg::ReasonOf(status).value_or(Reason::kDeadline));
  }
  MaskedGroup::Message end{{}, session_.AbortMessage()};
  for (const auto& [client, fingerprint] : fingerprints_) end.clients.push_back(client);
  out.send.push_back(std::move(end));
}

absl::StatusOr<MaskedGroup::Output> MaskedGroup::OnMessage(const secagg::MemberCertificate& who,
                                                           std::string_view bytes,
                                                           milliseconds now) {
  Output out;
  const std::string& client = who.client_id;
  const std::optional<Session::Phase> meant = PhaseOf(bytes);
  if (meant == Session::Phase::kAdvertise) {
    RV_ASSIGN_OR_RETURN(const auto message, secagg::Decode<secagg::Advertisement>(bytes));
    RV_RETURN_IF_ERROR(session_.OnAdvertisement(who, message));
    fingerprints_[client] = who.fingerprint;
  } else if (!bytes.empty() && static_cast<MessageKind>(bytes[0]) == MessageKind::kAbort) {
    RV_ASSIGN_OR_RETURN(const auto message, secagg::Decode<secagg::Abort>(bytes));
    out.lost.emplace_back(client, AbortText(message.reason));
    waiting_.erase(client);
  } else {
    // The one that it advertised with: its certificate may have been renewed since.
    const Bytes32* const known = FingerprintOf(client);
    RV_RETURN_IF_ERROR(session_.Handle(known != nullptr ? *known : who.fingerprint, bytes));
  }
  protocol_bytes_ += bytes.size();
  if (meant == session_.phase()) waiting_.erase(client);
  Advance(out, now);
  return out;
}

MaskedGroup::Output MaskedGroup::OnGone(const std::string& client, milliseconds now) {
  Output out;
  waiting_.erase(client);
  Advance(out, now);
  return out;
}

MaskedGroup::Output MaskedGroup::OnTime(milliseconds now) {
  Output out;
  const std::optional<milliseconds> next = NextDeadline();
  if (next && now >= *next) PhaseIsOver(out, now);
  return out;
}

void MaskedGroup::Advance(Output& out, milliseconds now) {
  switch (session_.phase()) {
    case Session::Phase::kAdvertise:
      if (waiting_.empty()) CloseAdvertise(out, now);
      break;
    case Session::Phase::kReveal:
      if (waiting_.empty()) CloseReveal(out, now);
      break;
    case Session::Phase::kShare:
      if (waiting_.empty()) CloseShares(out, now);
      break;
    case Session::Phase::kEndorse:
      if (session_.EndorsementsReady()) CloseEndorsements(out, now);
      break;
    case Session::Phase::kUnmask:
      if (session_.UnmaskReady()) WantSecrets(out);
      break;
    default:
      break;
  }
}

void MaskedGroup::CloseAdvertise(Output& out, milliseconds now) {
  const absl::StatusOr<std::string> roster = session_.CloseAdvertise();
  if (!roster.ok()) return Fail(roster.status(), out);
  KnowMembers();
  deadline_ = now + limits_.phase;
  SayToAll(*roster, out);
}

void MaskedGroup::CloseReveal(Output& out, milliseconds now) {
  const absl::StatusOr<std::string> nonces = session_.CloseReveal();
  if (!nonces.ok()) return Fail(nonces.status(), out);
  deadline_ = now + limits_.phase;
  SayToAll(*nonces, out);
}

void MaskedGroup::CloseShares(Output& out, milliseconds now) {
  if (const absl::Status closed = session_.CloseShares(); !closed.ok()) return Fail(closed, out);
  ExpectMembers();
  for (const std::string& client : waiting_) {
    const auto forward = session_.ForwardFor(*FingerprintOf(client));
    if (forward.ok()) out.send.push_back({{client}, *forward});
  }
  out.save = true;
}

void MaskedGroup::CloseEndorsements(Output& out, milliseconds now) {
  const absl::StatusOr<std::string> endorsements = session_.CloseEndorsements();
  if (!endorsements.ok()) return Fail(endorsements.status(), out);
  unmasking_ = true;
  deadline_ = now + limits_.unmask;
  SayToAll(*endorsements, out);
}

void MaskedGroup::PhaseIsOver(Output& out, milliseconds now) {
  const Session::Phase phase = session_.phase();
  if (phase == Session::Phase::kEndorse) return CloseEndorsements(out, now);
  if (phase == Session::Phase::kUnmask) {
    late_ = true;
    waiting_.clear();
    if (rebuild_due_ || rebuilding_) return;  // what comes of it decides
    if (!session_.UnmaskReady()) return FailLate(out);
    rebuild_due_ = out.rebuild = true;
    return;
  }
  const std::string why = std::string("sent no ") + AwaitedIn(phase) + " within " +
                          std::to_string(limits_.phase.count() / 1000) + " s";
  for (const std::string& client : waiting_) out.lost.emplace_back(client, why);
  waiting_.clear();
  Advance(out, now);
}

absl::Status MaskedGroup::MayUpload(const std::string& client) const {
  if (session_.phase() == Session::Phase::kMasked && Expected(client)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "update of '" + client + "': its masks are not agreed with the others",
                Remedy::kResync);
}

uint64_t MaskedGroup::upload_bytes() const {
  secagg::MaskedTrailer trailer;
  trailer.failed = secagg::FailedSet(static_cast<uint32_t>(session_.members().size()));
  return session_.params().packed_bytes() + secagg::Encode(trailer).size();
}

absl::Status MaskedGroup::OnUpload(const std::string& client, std::string_view trailer) {
  RV_RETURN_IF_ERROR(MayUpload(client));
  RV_ASSIGN_OR_RETURN(const auto message, secagg::Decode<secagg::MaskedTrailer>(trailer));
  return session_.OnMasked(*FingerprintOf(client), message);
}

MaskedGroup::Output MaskedGroup::Freeze(const std::vector<std::string>& counted, milliseconds now) {
  Output out;
  const absl::StatusOr<std::string> survivors = session_.FreezeSurvivors();
  if (!survivors.ok()) {
    Fail(survivors.status(), out);
    return out;
  }
  if (session_.u3().Count() != counted.size()) {  // a disk that was full took one back
    Fail(secagg::RefuseFor(Reason::kU3, std::to_string(counted.size()) + " uploads are stored of " +
                                            std::to_string(session_.u3().Count())),
         out);
    return out;
  }
  unmasking_ = session_.phase() == Session::Phase::kUnmask;
  deadline_ = now + (unmasking_ ? limits_.unmask : limits_.phase);
  if (said_.empty() || said_.back() != *survivors) {
    SayToAll(*survivors, out);
    return out;
  }
  out.send.push_back({{waiting_.begin(), waiting_.end()}, *survivors});
  out.save = true;
  return out;
}

MaskedGroup::Output MaskedGroup::GiveUp(const absl::Status& why) {
  Output out;
  Fail(why, out);
  return out;
}

void MaskedGroup::Saved() {
  saved_ = said_.size();
  forwarding_ = session_.phase() == Session::Phase::kMasked;
}

std::vector<std::string> MaskedGroup::MessagesFor(const std::string& client) const {
  if (!Expected(client)) return {};
  std::vector<std::string> messages(said_.begin(), said_.begin() + static_cast<ptrdiff_t>(saved_));
  if (!forwarding_ || session_.phase() != Session::Phase::kMasked) return messages;
  const auto forward = session_.ForwardFor(*FingerprintOf(client));
  if (forward.ok()) messages.push_back(*forward);
  return messages;
}

std::optional<std::chrono::milliseconds> MaskedGroup::NextDeadline() const {
  if (late_) return std::nullopt;
  switch (session_.phase()) {
    case Session::Phase::kMasked:
    case Session::Phase::kDone:
    case Session::Phase::kAborted:
      return std::nullopt;
    default:
      return deadline_;
  }
}

std::pair<std::string, size_t> MaskedGroup::Awaited() const {
  return {AwaitedIn(session_.phase()), waiting_.size()};
}

}  // namespace rivulet

#include "coordinator/rounds/masked_draw.h"

#include <algorithm>

#include "coordinator/rounds/refusals.h"
#include "privacy/masking/signature_verifier.h"

namespace rivulet {

using secagg::Reason;
using DrawPhase = secagg::ServerDraw::Phase;

namespace {

// Nonces that may be missing by the fault of their clients, of so many.
size_t FewOf(size_t members) { return std::max<size_t>(1, members / 4); }

}  // namespace

MaskedDraw::MaskedDraw(secagg::ServerDraw draw, const std::vector<std::string>& cohort,
                       MaskedGroup::Limits limits, milliseconds now)
    : draw_(std::move(draw)),
      cohort_(cohort.begin(), cohort.end()),
      limits_(limits),
      waiting_(cohort_),
      deadline_(now + limits.phase) {}

absl::StatusOr<std::unique_ptr<MaskedDraw>> MaskedDraw::Start(
    const secagg::Params& params, uint32_t fewest, const std::vector<std::string>& cohort,
    MaskedGroup::Limits limits, milliseconds now) {
  RV_ASSIGN_OR_RETURN(
      secagg::ServerDraw draw,
      secagg::ServerDraw::Start(params, fewest, std::set<std::string>(cohort.begin(), cohort.end()),
                                SignatureVerifier()));
  return std::unique_ptr<MaskedDraw>(new MaskedDraw(std::move(draw), cohort, limits, now));
}

absl::StatusOr<MaskedDraw::Output> MaskedDraw::OnMessage(const secagg::MemberCertificate& who,
                                                         std::string_view bytes, milliseconds now) {
  RV_ASSIGN_OR_RETURN(const secagg::Message message, secagg::DecodeMessage(bytes));
  Output out;
  const std::string& client = who.client_id;
  if (const auto* commitment = std::get_if<secagg::Commitment>(&message)) {
    RV_RETURN_IF_ERROR(draw_.OnCommitment(who, *commitment));
    fingerprints_[client] = who.fingerprint;
    if (draw_.phase() == DrawPhase::kCommit) waiting_.erase(client);
  } else if (const auto* reveal = std::get_if<secagg::Reveal>(&message)) {
    // The one that it committed with: its certificate may have been renewed since.
    const auto known = fingerprints_.find(client);
    RV_RETURN_IF_ERROR(
        draw_.OnReveal(known != fingerprints_.end() ? known->second : who.fingerprint, *reveal));
    if (draw_.phase() == DrawPhase::kReveal) waiting_.erase(client);
  } else if (const auto* abort = std::get_if<secagg::Abort>(&message)) {
    Without(client,
            {.why = "refused: " + std::string(NameOf(abort->reason)),
             .said = AbortText(abort->reason),
             .refuses = IsRefusal(abort->reason)},
            out);
  } else {
    return Refuse(absl::StatusCode::kFailedPrecondition, "message: groups are not drawn yet");
  }
  protocol_bytes_ += bytes.size();
  Advance(out, now);
  return out;
}

// It takes no further part.
void MaskedDraw::Without(const std::string& client, const Absence& absence, Output& out) {
  const bool awaited = waiting_.erase(client) > 0;
  if (draw_.phase() != DrawPhase::kCommit && awaited) {
    if (!absence.refuses) {
      out.faulty.emplace_back(client, absence.why);  // or it could do it again
    } else if (!absence.known) {
      out.lost.emplace_back(client, absence.said);
    }
    return Fail(secagg::RefuseFor(Reason::kNonce, "groups are not drawn without the nonce of '" +
                                                      client + "', which " + absence.why),
                out);
  }
  if (!absence.known) {
    out.lost.emplace_back(client, absence.said.empty() ? absence.why : absence.said);
  }
  if (draw_.phase() == DrawPhase::kCommit) {
    draw_.Withdraw(client);
    fingerprints_.erase(client);
  } else {
    gone_.insert(client);  // its group must not wait for it
  }
}

MaskedDraw::Output MaskedDraw::OnGone(const std::string& client, std::optional<Reason> why,
                                      milliseconds now) {
  Output out;
  const bool refuses = why && IsRefusal(*why);
  const std::string text = why ? ": " + std::string(NameOf(*why)) : "";
  Without(client, {.why = "gave its task up" + text, .known = true, .refuses = refuses}, out);
  Advance(out, now);
  return out;
}

MaskedDraw::Output MaskedDraw::OnTime(milliseconds now) {
  Output out;
  const std::optional<milliseconds> next = NextDeadline();
  if (!next || now < *next) return out;
  const std::string why = "sent no " + Awaited().first + " within " +
                          std::to_string(limits_.phase.count() / 1000) + " s";
  const std::set<std::string> late = waiting_;
  const size_t members = draw_.members().size();
  if (draw_.phase() == DrawPhase::kReveal && late.size() > FewOf(members)) {
    Fail(secagg::RefuseFor(Reason::kDeadline, std::to_string(late.size()) + " of " +
                                                  std::to_string(members) + " clients " + why),
         out);
    return out;
  }
  for (const std::string& client : late) Without(client, {.why = why}, out);
  Advance(out, now);
  return out;
}

void MaskedDraw::Advance(Output& out, milliseconds now) {
  if (!waiting_.empty()) return;
  if (draw_.phase() == DrawPhase::kCommit) return Say(draw_.ClosePool(), out, now);
  if (draw_.phase() == DrawPhase::kReveal) return Say(draw_.CloseReveal(), out, now);
}

void MaskedDraw::Say(const absl::StatusOr<std::string>& message, Output& out, milliseconds now) {
  if (!message.ok()) return Fail(message.status(), out);
  said_.push_back(*message);
  deadline_ = now + limits_.phase;
  if (!drawn()) {
    for (const secagg::MemberCertificate& member : draw_.members()) {
      waiting_.insert(member.client_id);
    }
  }
  SayToAll(*message, out);
}

void MaskedDraw::SayToAll(const std::string& bytes, Output& out) const {
  MaskedGroup::Message message{{}, bytes};
  for (const secagg::MemberCertificate& member : draw_.members()) {
    message.clients.push_back(member.client_id);
  }
  out.send.push_back(std::move(message));
}

void MaskedDraw::Fail(const absl::Status& why, Output& out) {
  if (std::exchange(failed_, true)) return;  // the first reason counts
  out.failed = why;
  draw_.GiveUp(secagg::ReasonOf(why).value_or(Reason::kDeadline));
  SayToAll(draw_.AbortMessage(), out);
}

std::vector<std::string> MaskedDraw::MessagesFor(const std::string& client) const {
  return draw_.IsMember(client) ? said_ : std::vector<std::string>();
}

std::optional<std::chrono::milliseconds> MaskedDraw::NextDeadline() const {
  const bool waits = draw_.phase() == DrawPhase::kCommit || draw_.phase() == DrawPhase::kReveal;
  return waits ? std::optional(deadline_) : std::nullopt;
}

std::pair<std::string, size_t> MaskedDraw::Awaited() const {
  switch (draw_.phase()) {
    case DrawPhase::kCommit:
      return {"commitment", waiting_.size()};
    case DrawPhase::kReveal:
      return {"nonce", waiting_.size()};
    default:
      return {"", 0};
  }
}

}  // namespace rivulet

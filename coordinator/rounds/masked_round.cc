#include "coordinator/rounds/masked_round.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/draw.h"
#include "privacy/secagg/shared/messages.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {
namespace {

// Nothing, or a pool and the nonces of its draw: what those who come back are told.
bool IsOfOneDraw(const std::vector<std::string>& said) {
  if (said.size() != 2) return said.empty();
  const auto pool = secagg::Decode<secagg::Pool>(said[0]);
  const auto nonces = secagg::Decode<secagg::Nonces>(said[1]);
  return pool.ok() && nonces.ok() && nonces->sid == secagg::DrawId(pool->pool, pool->entries);
}

template <typename T>
void Append(std::vector<T> from, std::vector<T>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

bool Holds(const MaskedGroup& group, const std::string& client) {
  return std::find(group.cohort().begin(), group.cohort().end(), client) != group.cohort().end();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MaskedRound>> MaskedRound::Start(const std::vector<Session>& groups,
                                                                size_t needed, Limits limits,
                                                                milliseconds now) {
  std::unique_ptr<MaskedRound> round(new MaskedRound(needed));
  for (const Session& session : groups) {
    Group& group = round->groups_.emplace_back();
    RV_ASSIGN_OR_RETURN(group.group,
                        MaskedGroup::Start(session.params, session.cohort, limits, now));
  }
  return round;
}

absl::StatusOr<std::unique_ptr<MaskedRound>> MaskedRound::Draw(std::unique_ptr<MaskedDraw> draw,
                                                               Grouping sessions, size_t needed,
                                                               Limits limits) {
  std::unique_ptr<MaskedRound> round(new MaskedRound(needed, limits));
  round->drawn_by_ = draw->ParametersMessage();
  round->draw_ = std::move(draw);
  round->sessions_ = std::move(sessions);
  return round;
}

// Once the draw is over, the groups begin.
absl::Status MaskedRound::BeginGroups(milliseconds now) {
  RV_ASSIGN_OR_RETURN(const std::vector<Session> sessions, sessions_(draw_->draw()));
  std::vector<Group> groups;
  for (const Session& session : sessions) {
    RV_ASSIGN_OR_RETURN(groups.emplace_back().group,
                        MaskedGroup::Start(session.params, session.cohort, limits_, now));
  }
  drawn_ = draw_->said();
  groups_ = std::move(groups);
  return absl::OkStatus();
}

// What a step of the draw comes to.
void MaskedRound::Follow(Output& out, milliseconds now) {
  draw_bytes_ = draw_->protocol_bytes();
  if (!out.failed.ok() || !draw_->drawn() || !groups_.empty()) return;
  out.failed = BeginGroups(now);
  for (const std::string& client : draw_->gone()) {
    const size_t at = Find(client);
    if (at < size() && groups_[at].waits()) Take(groups_[at], group(at).OnGone(client, now), out);
  }
}

// What a client that comes back may still say of a draw that is over.
bool MaskedRound::OfDraw(std::string_view bytes) const {
  if (drawn_.empty() || bytes.empty()) return false;
  const auto kind = static_cast<secagg::MessageKind>(bytes[0]);
  return kind == secagg::MessageKind::kCommitment ||
         (kind == secagg::MessageKind::kReveal &&
          bytes.substr(1, 32) == std::string_view(drawn_.back()).substr(1, 32));
}

std::string MaskedRound::Serialise() const {
  secagg::ByteWriter out;
  out.U8(2).U32(static_cast<uint32_t>(needed_)).Lp(drawn_by_).U64(draw_bytes_);
  out.U32(static_cast<uint32_t>(drawn_.size()));
  for (const std::string& message : drawn_) out.Lp(message);
  out.U32(static_cast<uint32_t>(groups_.size()));
  for (const Group& group : groups_) {
    out.Lp(group.group->Serialise()).Lp(group.left_out).U8(group.repeatable);
  }
  return out.Take();
}

absl::StatusOr<std::unique_ptr<MaskedRound>> MaskedRound::Restore(std::string_view state,
                                                                  Limits limits, milliseconds now) {
  secagg::ByteReader in(state);
  const uint8_t version = in.U8();
  std::unique_ptr<MaskedRound> round(new MaskedRound(in.U32(), limits));
  round->drawn_by_ = in.Lp();
  round->draw_bytes_ = in.U64();
  for (uint32_t left = in.U32(); left > 0 && !in.failed(); --left)
    round->drawn_.emplace_back(in.Lp());
  for (uint32_t left = in.U32(); left > 0 && !in.failed(); --left) {
    Group& group = round->groups_.emplace_back();
    RV_ASSIGN_OR_RETURN(group.group, MaskedGroup::Restore(in.Lp(), limits, now));
    group.left_out = in.Lp();
    group.repeatable = in.U8() != 0;
  }
  const bool whole = version == 2 && in.Done() && !round->groups_.empty();
  if (whole && IsOfOneDraw(round->drawn_)) return round;
  return Refuse(absl::StatusCode::kDataLoss, "masking: the stored state is damaged");
}

size_t MaskedRound::Find(const std::string& client) const {
  size_t at = 0;
  while (at < size() && !Holds(group(at), client)) ++at;
  return at;
}

absl::StatusOr<const MaskedGroup*> MaskedRound::GroupOf(const std::string& client) const {
  const size_t at = Find(client);
  if (at == size()) {
    return Refuse(absl::StatusCode::kNotFound, "masking: '" + client + "' is in no group");
  }
  if (left_out(at).empty()) return &group(at);
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "masking: the group of '" + client + "' is " + groups_[at].Told(), Remedy::kResync);
}

absl::StatusOr<std::string> MaskedRound::ParametersFor(const std::string& client) const {
  if (drawing() && draw_->Invited(client)) return drawn_by_;
  RV_ASSIGN_OR_RETURN(const MaskedGroup* const group, GroupOf(client));
  return drawn_by_.empty() ? group->ParametersMessage() : drawn_by_;
}

std::string MaskedRound::NameOf(size_t at) const {
  std::string names;
  for (const std::string& client : group(at).cohort()) {
    names += (names.empty() ? "" : ", ") + client;
  }
  return "group " + std::to_string(at + 1) + " (" + names + ")";
}

size_t MaskedRound::Left() const {
  return static_cast<size_t>(std::count_if(
      groups_.begin(), groups_.end(), [](const Group& group) { return group.left_out.empty(); }));
}

absl::Status MaskedRound::TooFew(size_t left, const std::vector<std::string>& why) const {
  std::string text = "got sums of " + std::to_string(left) + " of " + std::to_string(size()) +
                     " groups, want " + std::to_string(needed_);
  for (const std::string& one : why) text += "; " + one;
  return Refuse(absl::StatusCode::kFailedPrecondition, text);
}

std::string MaskedRound::Nameless(const absl::Status& failed) const {
  const auto reason = secagg::ReasonOf(failed);
  const std::string kind = reason ? ": " + std::string(secagg::NameOf(*reason)) : "";
  if (size() <= 1) return "no masked sum" + kind;
  std::map<std::string, size_t> kinds;
  for (const Group& group : groups_) {
    if (!group.kind.empty()) ++kinds[group.kind];
  }
  std::string text(TooFew(Left(), {}).message());
  for (const auto& [name, groups] : kinds) text += "; " + std::to_string(groups) + " by " + name;
  return text;
}

std::string MaskedRound::ToldTo(const std::string& client, const std::string& why) const {
  const size_t at = Find(client);
  if (at == size() || left_out(at).empty()) return why;
  return "its group is " + groups_[at].Told();
}

// Does what one of the groups asked for, as part of what the attempt asks for.
void MaskedRound::Take(Group& from, Output part, Output& out) {
  out.save = out.save || part.save;
  out.rebuild = out.rebuild || part.rebuild;
  Append(std::move(part.send), out.send);
  Append(std::move(part.lost), out.lost);
  Append(std::move(part.faulty), out.faulty);
  if (!part.failed.ok()) {
    from.repeatable = part.repeatable;
    LeaveOut(from, part.failed, out);
  }
  from.opened = from.opened || part.opened;
  const bool news = part.opened || !part.failed.ok();
  out.opened = out.failed.ok() && (out.opened || news) &&
               std::none_of(groups_.begin(), groups_.end(),
                            [](const Group& group) { return group.waits(); });
}

void MaskedRound::LeaveOut(Group& group, const absl::Status& why, Output& out) {
  group.left_out = std::string(why.message());
  if (const auto reason = secagg::ReasonOf(why)) group.kind = secagg::NameOf(*reason);
  out.save = true;
  if (!out.failed.ok()) return;
  if (Left() >= needed_) {
    for (const std::string& client : group.group->cohort()) {
      out.lost.emplace_back(client, "its group is left out: " + group.left_out);
    }
    return;
  }
  std::vector<std::string> reasons;
  for (size_t at = 0; at < size(); ++at) {
    if (!left_out(at).empty()) reasons.push_back(NameOf(at) + ": " + left_out(at));
  }
  out.failed = size() == 1 ? why : TooFew(Left(), reasons);
  for (Group& other : groups_) {
    if (other.left_out.empty()) {
      Output end = other.group->GiveUp(out.failed);
      other.repeatable = end.repeatable;
      Append(std::move(end.send), out.send);
    }
    out.repeatable = out.repeatable && other.repeatable;
  }
}

absl::StatusOr<MaskedRound::Output> MaskedRound::OnMessage(const secagg::MemberCertificate& who,
                                                           std::string_view bytes,
                                                           milliseconds now) {
  if (drawing()) {
    RV_ASSIGN_OR_RETURN(Output out, draw_->OnMessage(who, bytes, now));
    Follow(out, now);
    return out;
  }
  RV_RETURN_IF_ERROR(GroupOf(who.client_id).status());
  if (OfDraw(bytes)) return Output();
  Group& group = groups_[Find(who.client_id)];
  Output out;
  if (group.opened) return out;  // enough had been said
  RV_ASSIGN_OR_RETURN(Output part, group.group->OnMessage(who, bytes, now));
  Take(group, std::move(part), out);
  return out;
}

MaskedRound::Output MaskedRound::OnGone(const std::string& client,
                                        std::optional<secagg::Reason> why, milliseconds now) {
  Output out;
  if (drawing()) {
    out = draw_->OnGone(client, why, now);
    Follow(out, now);
    return out;
  }
  const size_t at = Find(client);
  if (at == size() || !groups_[at].waits()) return out;
  Take(groups_[at], group(at).OnGone(client, now), out);
  return out;
}

MaskedRound::Output MaskedRound::OnTime(milliseconds now) {
  Output out;
  if (drawing()) {
    out = draw_->OnTime(now);
    Follow(out, now);
    return out;
  }
  for (Group& group : groups_) {
    if (group.waits() && out.failed.ok()) Take(group, group.group->OnTime(now), out);
  }
  return out;
}

absl::Status MaskedRound::MayUpload(const std::string& client) const {
  RV_ASSIGN_OR_RETURN(const MaskedGroup* const group, GroupOf(client));
  return group->MayUpload(client);
}

absl::Status MaskedRound::OnUpload(const std::string& client, std::string_view trailer) {
  RV_RETURN_IF_ERROR(GroupOf(client).status());
  return group(Find(client)).OnUpload(client, trailer);
}

MaskedRound::Output MaskedRound::Freeze(const std::vector<std::string>& counted, milliseconds now) {
  Output out;
  if (drawing()) out.failed = absl::FailedPreconditionError("masking: groups are not drawn");
  for (Group& group : groups_) {
    if (!group.left_out.empty() || !out.failed.ok()) continue;
    std::vector<std::string> members;
    for (const std::string& client : counted) {
      if (Holds(*group.group, client)) members.push_back(client);
    }
    Take(group, group.group->Freeze(members, now), out);
  }
  return out;
}

std::optional<MaskedRound::Rebuild> MaskedRound::BeginRebuild() {
  for (size_t at = 0; at < size(); ++at) {
    auto work = group(at).BeginRebuild();
    if (work) return Rebuild{at, *std::move(work)};
  }
  return std::nullopt;
}

MaskedRound::Output MaskedRound::Rebuilt(Rebuild done, milliseconds now) {
  Output out;
  Group& group = groups_[done.group];
  if (group.waits()) Take(group, group.group->Rebuilt(std::move(done.work), now), out);
  return out;
}

std::vector<std::string> MaskedRound::Remaining(const std::vector<std::string>& clients) const {
  std::vector<std::string> rest;
  std::copy_if(clients.begin(), clients.end(), std::back_inserter(rest),
               [this](const std::string& client) { return GroupOf(client).ok(); });
  return rest;
}

std::vector<std::pair<std::string, std::string>> MaskedRound::Lost() const {
  std::vector<std::pair<std::string, std::string>> lost;
  for (const Group& group : groups_) {
    if (group.left_out.empty()) continue;
    for (const std::string& client : group.group->cohort()) {
      lost.emplace_back(client, "its group is left out: " + group.left_out);
    }
  }
  return lost;
}

void MaskedRound::Saved() {
  for (Group& group : groups_) group.group->Saved();
}

std::vector<std::string> MaskedRound::MessagesFor(const std::string& client) const {
  if (drawing()) return draw_->MessagesFor(client);
  const auto group = GroupOf(client);
  if (!group.ok()) return {};
  const bool keys = (*group)->session().phase() == secagg::ServerSession::Phase::kAdvertise;
  return keys ? drawn_ : (*group)->MessagesFor(client);
}

std::optional<std::chrono::milliseconds> MaskedRound::NextDeadline() const {
  std::optional<milliseconds> next;
  if (drawing()) return draw_->NextDeadline();
  for (const Group& group : groups_) {
    const std::optional<milliseconds> own =
        group.waits() ? group.group->NextDeadline() : std::nullopt;
    if (own && (!next || *own < *next)) next = own;
  }
  return next;
}

std::vector<std::string> MaskedRound::Members() const {
  std::vector<std::string> members;
  if (drawing()) {
    for (const auto& member : draw_->draw().members()) members.push_back(member.client_id);
  }
  for (const Group& group : groups_) {
    const std::vector<std::string>& cohort = group.group->cohort();
    members.insert(members.end(), cohort.begin(), cohort.end());
  }
  return members;
}

std::string MaskedRound::Waiting() const {
  std::map<std::string, size_t> awaited;
  if (drawing() && draw_->Awaited().second > 0) awaited.insert(draw_->Awaited());
  for (const Group& group : groups_) {
    const auto [what, clients] = group.group->Awaited();
    if (group.waits() && !what.empty()) awaited[what] += clients;
  }
  std::string text;
  for (const auto& [what, clients] : awaited) {
    text += (text.empty() ? "waiting: " : ", ") + what + " of " + std::to_string(clients) +
            " more clients";
  }
  return text;
}

}  // namespace rivulet

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"
#include "coordinator/rounds/masked_draw.h"
#include "coordinator/rounds/masked_group.h"

namespace rivulet {

// One attempt under masks: its cohort in one group, or in several, each with a sum of its own,
// which its clients draw first. A group that comes to no sum is left out; the attempt is over when
// fewer are left than it needs. Pure, as a group is. Not thread safe.
class MaskedRound {
 public:
  using milliseconds = std::chrono::milliseconds;
  using Message = MaskedGroup::Message;
  using Limits = MaskedGroup::Limits;
  // Of all groups together. `failed`: the attempt is over; `repeatable`: no client of any group may
  // have given shares away; `opened`: every group that is left can be opened.
  using Output = MaskedGroup::Output;

  struct Session {
    secagg::Params params;
    std::vector<std::string> cohort;
  };
  // No client is in two of the groups. `needed`: the fewest that make a round, 1 .. their number.
  // Errors: those of the protocol's parameters.
  static absl::StatusOr<std::unique_ptr<MaskedRound>> Start(const std::vector<Session>& groups,
                                                            size_t needed, Limits limits,
                                                            milliseconds now);
  // The same in groups that are still to be drawn: `sessions` makes them of what was drawn. There
  // are none until then.
  using Grouping =
      std::function<absl::StatusOr<std::vector<Session>>(const secagg::ServerDraw& draw)>;
  static absl::StatusOr<std::unique_ptr<MaskedRound>> Draw(std::unique_ptr<MaskedDraw> draw,
                                                           Grouping sessions, size_t needed,
                                                           Limits limits);
  // From Serialise(), which is of groups that are there: an attempt whose draw was not over begins
  // anew. Deadlines start anew.
  static absl::StatusOr<std::unique_ptr<MaskedRound>> Restore(std::string_view state, Limits limits,
                                                              milliseconds now);
  std::string Serialise() const;

  // As those of MaskedGroup, of the group that the client is in. FailedPrecondition where it is
  // left out, NotFound for one who is in none; both for clients' ears.
  absl::StatusOr<Output> OnMessage(const secagg::MemberCertificate& who, std::string_view bytes,
                                   milliseconds now);
  absl::Status MayUpload(const std::string& client) const;
  absl::Status OnUpload(const std::string& client, std::string_view trailer);
  absl::StatusOr<const MaskedGroup*> GroupOf(const std::string& client) const;
  // The parameters that the client's task begins with: its group's, or what groups are drawn by.
  // Errors: those of GroupOf.
  absl::StatusOr<std::string> ParametersFor(const std::string& client) const;
  std::vector<std::string> Members() const;  // of the pool or of all groups
  void Saved();                              // what Serialise() gave last is durable
  std::vector<std::string> MessagesFor(const std::string& client) const;

  // `why`: as that of MaskedDraw; groups do not ask.
  Output OnGone(const std::string& client, std::optional<secagg::Reason> why, milliseconds now);
  Output OnTime(milliseconds now);
  Output Freeze(const std::vector<std::string>& counted, milliseconds now);
  // As those of MaskedGroup, of the first group that has something to do.
  struct Rebuild {
    size_t group = 0;
    secagg::Reconstruction work;
  };
  std::optional<Rebuild> BeginRebuild();
  Output Rebuilt(Rebuild done, milliseconds now);
  std::optional<milliseconds> NextDeadline() const;
  std::string Waiting() const;  // "waiting: keys of 3 more clients"; empty while uploads come

  size_t size() const { return groups_.size(); }
  bool drawing() const { return draw_ != nullptr && !draw_->drawn(); }
  uint64_t draw_bytes() const { return draw_bytes_; }  // of the draw's messages that were taken
  size_t needed() const { return needed_; }
  MaskedGroup& group(size_t at) { return *groups_[at].group; }
  const MaskedGroup& group(size_t at) const { return *groups_[at].group; }
  // Why it comes to no sum; empty for one that is not left out. With names, for the operator.
  const std::string& left_out(size_t at) const { return groups_[at].left_out; }
  std::string NameOf(size_t at) const;  // "group 2 (bob, eve)"
  // Those of `clients` whose groups are not left out.
  std::vector<std::string> Remaining(const std::vector<std::string>& clients) const;
  std::vector<std::pair<std::string, std::string>> Lost() const;  // all members of those left out
  // That `left` groups make no round, and why the others came to nothing.
  absl::Status TooFew(size_t left, const std::vector<std::string>& why) const;
  // What clients hear of an attempt that failed so: how many groups and of what kind. Names are for
  // the operator: members of one group are nothing to those of another.
  std::string Nameless(const absl::Status& failed) const;
  // What a client hears that is lost for this reason: of a group that is left out the kind alone.
  std::string ToldTo(const std::string& client, const std::string& why) const;

 private:
  struct Group {
    std::unique_ptr<MaskedGroup> group;
    std::string left_out;
    std::string kind;        // of the reason in left_out, until a restart
    bool repeatable = true;  // while nobody in it can have given shares away
    bool opened = false;
    bool waits() const { return left_out.empty() && !opened; }
    std::string Told() const { return "left out" + (kind.empty() ? "" : ": " + kind); }
  };
  explicit MaskedRound(size_t needed, Limits limits = {}) : needed_(needed), limits_(limits) {}

  size_t Find(const std::string& client) const;  // its group; size() for none
  size_t Left() const;
  void Follow(Output& out, milliseconds now);
  absl::Status BeginGroups(milliseconds now);
  bool OfDraw(std::string_view bytes) const;
  void Take(Group& from, Output part, Output& out);
  void LeaveOut(Group& group, const absl::Status& why, Output& out);

  const size_t needed_;
  const Limits limits_;
  std::unique_ptr<MaskedDraw> draw_;  // null without one, and after a restart
  Grouping sessions_;
  // Of a draw, for those who come back: its parameters, the pool and the nonces.
  std::string drawn_by_;
  std::vector<std::string> drawn_;
  uint64_t draw_bytes_ = 0;
  std::vector<Group> groups_;
};

}  // namespace rivulet

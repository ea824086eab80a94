#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/rounds/masked_group.h"
#include "privacy/secagg/server/server_draw.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {

// The draw before an attempt in groups, on the coordinator's side: who has committed and revealed,
// and when to go on. Who commits to nothing is left out; a nonce that does not come ends the
// attempt, for whoever may leave one out chooses between two partitions. Whose it was takes part in
// no further attempt of the job, or one client could end them all; but not where it refused what
// it was shown, nor where more than a quarter of the pool fell silent: then the coordinator itself
// was cut off. Nothing of it is stored: after a restart the attempt begins anew. Pure. Not thread
// safe.
class MaskedDraw {
 public:
  using milliseconds = std::chrono::milliseconds;
  using Output = MaskedGroup::Output;

  // `params`, `fewest`: as those of ServerDraw. Errors: its own.
  static absl::StatusOr<std::unique_ptr<MaskedDraw>> Start(const secagg::Params& params,
                                                           uint32_t fewest,
                                                           const std::vector<std::string>& cohort,
                                                           MaskedGroup::Limits limits,
                                                           milliseconds now);
  // As those of MaskedGroup. `why`: what of the protocol it gave its task up for, if any.
  absl::StatusOr<Output> OnMessage(const secagg::MemberCertificate& who, std::string_view bytes,
                                   milliseconds now);
  Output OnGone(const std::string& client, std::optional<secagg::Reason> why, milliseconds now);
  Output OnTime(milliseconds now);
  std::optional<milliseconds> NextDeadline() const;
  std::pair<std::string, size_t> Awaited() const;

  bool drawn() const { return draw_.phase() == secagg::ServerDraw::Phase::kDrawn; }
  const secagg::ServerDraw& draw() const { return draw_; }
  std::string ParametersMessage() const { return draw_.ParametersMessage(); }
  // Pool and Nonces, as far as they were said; for members alone.
  std::vector<std::string> MessagesFor(const std::string& client) const;
  const std::vector<std::string>& said() const { return said_; }
  // Those who took no further part once they had revealed their nonces.
  const std::set<std::string>& gone() const { return gone_; }
  bool Invited(const std::string& client) const { return cohort_.contains(client); }
  uint64_t protocol_bytes() const { return protocol_bytes_; }

 private:
  MaskedDraw(secagg::ServerDraw draw, const std::vector<std::string>& cohort,
             MaskedGroup::Limits limits, milliseconds now);
  struct Absence {
    std::string why;
    std::string said = {};  // by its own word: a reason's name first; else why
    bool known = false;     // the engine has heard of it
    bool refuses = false;   // what the coordinator shows it or asks of it
  };
  void Without(const std::string& client, const Absence& absence, Output& out);
  void Advance(Output& out, milliseconds now);
  void Say(const absl::StatusOr<std::string>& message, Output& out, milliseconds now);
  void SayToAll(const std::string& bytes, Output& out) const;
  void Fail(const absl::Status& why, Output& out);

  secagg::ServerDraw draw_;
  std::set<std::string> cohort_;
  MaskedGroup::Limits limits_;
  std::set<std::string> waiting_;  // clients that have not spoken in this phase
  std::map<std::string, Bytes32> fingerprints_;
  std::set<std::string> gone_;
  std::vector<std::string> said_;
  bool failed_ = false;  // and said so
  uint64_t protocol_bytes_ = 0;
  milliseconds deadline_{0};
};

}  // namespace rivulet

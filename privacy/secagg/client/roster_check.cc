#include <algorithm>
#include <set>

#include "privacy/secagg/client/client_state.h"

namespace rivulet::secagg {
namespace {

absl::Status CheckOwnEntry(const RosterEntry& advertised, const Roster& roster) {
  size_t found = 0;
  for (const RosterEntry& entry : roster.entries) {
    if (entry.fingerprint != advertised.fingerprint) continue;
    ++found;
    if (entry != advertised) return RefuseFor(Reason::kRosterSelf, "own entry is altered");
  }
  if (found == 1) return absl::OkStatus();
  return RefuseFor(Reason::kRosterSelf,
                   "own entry: got it " + std::to_string(found) + " times, want once");
}

absl::Status CheckDistinct(const Roster& roster) {
  const auto not_before = [](const RosterEntry& a, const RosterEntry& b) {
    return a.fingerprint >= b.fingerprint;
  };
  if (std::adjacent_find(roster.entries.begin(), roster.entries.end(), not_before) !=
      roster.entries.end()) {
    return RefuseFor(Reason::kRosterDuplicate, "members are not ascending by fingerprint");
  }
  std::set<Bytes32> keys;
  for (const RosterEntry& entry : roster.entries) {
    if (!keys.insert(entry.channel_key).second || !keys.insert(entry.mask_key).second)
      return RefuseFor(Reason::kRosterDuplicate, "a public key is there twice");
  }
  return absl::OkStatus();
}

// Complete or ring, k, t and quorum exactly as the table has them.
absl::Status CheckGraphRule(const ClientPolicy& policy, const Params& params,
                            const Roster& roster) {
  RV_ASSIGN_OR_RETURN(const GraphRule rule,
                      params.RuleOf(static_cast<uint32_t>(roster.entries.size())));
  if (rule.kind == kRingGraph && !policy.ring)
    return RefuseFor(Reason::kGraph, "kind: got a ring, want a complete graph (policy)");
  const GraphRule& got = roster.rule;
  if (got.kind != rule.kind || got.k != rule.k || got.t != rule.t || got.quorum != rule.quorum) {
    const auto text = [](const GraphRule& r) {
      return std::to_string(r.kind) + ", " + std::to_string(r.k) + ", " + std::to_string(r.t) +
             ", " + std::to_string(r.quorum);
    };
    return RefuseFor(Reason::kGraph,
                     "kind, k, t, quorum: got " + text(got) + ", want " + text(rule));
  }
  if (params.mode == Mode::kMalicious && HonestInputs(params, rule) < policy.h_min) {
    return RefuseFor(Reason::kRosterSmall, "honest inputs of a sum: got " +
                                               std::to_string(HonestInputs(params, rule)) +
                                               ", want at least " + std::to_string(policy.h_min));
  }
  return absl::OkStatus();
}

absl::Status CheckOrganisations(const ClientPolicy& policy, const std::set<std::string>& seen) {
  size_t counted = seen.size();
  if (!policy.orgs.empty()) {
    counted = std::count_if(seen.begin(), seen.end(), [&](const std::string& organisation) {
      return std::find(policy.orgs.begin(), policy.orgs.end(), organisation) != policy.orgs.end();
    });
  }
  if (counted >= policy.org_min) return absl::OkStatus();
  return RefuseFor(Reason::kRosterSmall, "organisations: got " + std::to_string(counted) +
                                             ", want at least " + std::to_string(policy.org_min));
}

// Every certificate by the client's own trust store, every signature by that certificate.
absl::StatusOr<std::vector<Bytes32>> CheckMembers(const ClientContext& context, const Bytes32& sid0,
                                                  const Roster& roster) {
  std::vector<Bytes32> keys;
  std::set<std::string> clients, organisations;
  for (const RosterEntry& entry : roster.entries) {
    RV_ASSIGN_OR_RETURN(const MemberCertificate member,
                        CheckMember(context, keys.size(), entry.fingerprint,
                                    AdvertisementMessage(sid0, entry), entry.signature, clients));
    organisations.insert(member.organisation);
    keys.push_back(member.public_key);
  }
  RV_RETURN_IF_ERROR(CheckOrganisations(context.policy, organisations));
  return keys;
}

}  // namespace

absl::StatusOr<MemberCertificate> CheckMember(const ClientContext& context, size_t at,
                                              const Bytes32& fingerprint, std::string_view message,
                                              const Signature& signature,
                                              std::set<std::string>& clients) {
  auto member = context.directory.Find(fingerprint);
  if (!member.ok() || member->fingerprint != fingerprint) {
    return RefuseFor(Reason::kRosterSignature, "certificate of member " + std::to_string(at) +
                                                   ": " + std::string(member.status().message()));
  }
  if (!clients.insert(member->client_id).second)
    return RefuseFor(Reason::kRosterDuplicate, "one client with two certificates");
  if (!context.verifier.Verify(member->public_key, message, signature)) {
    return RefuseFor(Reason::kRosterSignature,
                     "signature of member " + std::to_string(at) + " does not hold");
  }
  return member;
}

absl::Status CheckGroup(const std::vector<Bytes32>& group, const Roster& roster) {
  for (size_t at = 0; at < roster.entries.size() && !group.empty(); ++at) {
    if (!std::binary_search(group.begin(), group.end(), roster.entries[at].fingerprint))
      return RefuseFor(Reason::kGroup, "member " + std::to_string(at) +
                                           " of the roster was not drawn into this group");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Bytes32>> CheckRoster(const ClientContext& context, const Params& params,
                                                 const RosterEntry& advertised,
                                                 const Roster& roster) {
  const size_t n = roster.entries.size();
  if (n < params.roster_min() || n > params.n_max) {
    return RefuseFor(Reason::kRosterSmall, "members: got " + std::to_string(n) + ", want " +
                                               std::to_string(params.roster_min()) + ".." +
                                               std::to_string(params.n_max));
  }
  RV_RETURN_IF_ERROR(CheckOwnEntry(advertised, roster));
  RV_RETURN_IF_ERROR(CheckDistinct(roster));
  RV_RETURN_IF_ERROR(CheckGraphRule(context.policy, params, roster));
  return CheckMembers(context, roster.sid0, roster);
}

}  // namespace rivulet::secagg

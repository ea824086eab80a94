#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "privacy/crypto/x25519.h"
#include "privacy/secagg/server/server_state.h"
#include "privacy/secagg/shared/checksum.h"
#include "privacy/secagg/shared/mask_generator.h"

// The end of the server's attempt: survivors, endorsements, secrets, the sum.
namespace rivulet::secagg {
namespace {

using Phase = ServerSession::Phase;

absl::Status Awaited(std::string_view what, Phase now, Phase wanted) {
  if (now == wanted) return absl::OkStatus();
  if (now > wanted) return RefuseFor(Reason::kDeadline, std::string(what) + ": the phase is over");
  return Refuse(absl::StatusCode::kFailedPrecondition, std::string(what) + ": out of order");
}

absl::Status Differing(std::string_view what) {
  return Refuse(absl::StatusCode::kAlreadyExists, std::string(what) + ": another one was accepted");
}

// The secret of the first t shares, with coefficients that secrets with the same holders share.
class FastCombiner {
 public:
  explicit FastCombiner(size_t threshold) : threshold_(threshold) {}

  absl::StatusOr<Secret32> Combine(std::span<const Share> shares) {
    const auto first = shares.first(threshold_);
    std::vector<uint16_t> xs;
    for (const Share& share : first) xs.push_back(share.x);
    if (!known_.has_value() || known_->xs() != xs) {
      RV_ASSIGN_OR_RETURN(known_, Reconstructor::Make(std::move(xs)));
    }
    return known_->Combine(first);
  }

 private:
  size_t threshold_;
  std::optional<Reconstructor> known_;
};

// What the owner committed to in its roster entry: its self seed where it survived, else its mask
// secret.
bool IsSecretOf(const Bytes32& sid0, const RosterEntry& entry, bool survived,
                const Secret32& secret) {
  if (survived) return SeedCommitment(sid0, entry.fingerprint, secret) == entry.seed_commitment;
  return X25519PairOf(secret).public_key == entry.mask_key;
}

// A secret and whose shares of it were wrong.
struct Rebuilt {
  Secret32 secret;
  std::vector<uint16_t> faulty_x;
};

// The secret in spite of wrong shares. Error correction finds floor((m - t) / 2) of them; what the
// owner committed to finds one as soon as there is a share too many, by leaving each out in turn.
std::optional<Rebuilt> Correct(std::span<const Share> shares, size_t t,
                               const std::function<bool(const Secret32&)>& matches) {
  auto corrected = CombineWithErrors(shares, t);
  if (corrected.ok() && matches(corrected->secret))
    return Rebuilt{std::move(corrected->secret), corrected->faulty_x};
  for (size_t left_out = 0; left_out < shares.size() && shares.size() > t; ++left_out) {
    std::vector<Share> others(shares.begin(), shares.end());
    others.erase(others.begin() + left_out);
    auto secret = Combine(others, t);
    if (secret.ok() && matches(*secret)) return Rebuilt{*std::move(secret), {shares[left_out].x}};
  }
  return std::nullopt;
}

void Note(std::vector<uint32_t>& indices, uint32_t index) {
  const auto at = std::lower_bound(indices.begin(), indices.end(), index);
  if (at == indices.end() || *at != index) indices.insert(at, index);
}

}  // namespace

absl::StatusOr<std::string> ServerSession::FreezeSurvivors() {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (state.phase < Phase::kMasked)
    return Refuse(absl::StatusCode::kFailedPrecondition, "survivors: out of order");
  if (state.phase == Phase::kMasked) {
    U3Set u3(state.n());
    for (uint32_t index = 0; index < state.n(); ++index) {
      if (state.members[index].masked.has_value()) u3.Insert(index);
    }
    const uint32_t least = std::max(
        state.params.n_min, state.params.mode == Mode::kMalicious ? state.roster.rule.quorum : 0);
    if (u3.Count() < least) {
      return state.End(Reason::kDeadline, "survivors: got " + std::to_string(u3.Count()) +
                                              ", want at least " + std::to_string(least));
    }
    state.u3 = u3;
    bool held = true;
    for (const uint32_t owner : state.u2.Indices()) {
      if (state.HoldersLeft(owner) >= state.roster.rule.t) continue;
      held = false;
      // Enough survive, but what it sent them did not open.
      if (state.HoldersThere(owner) >= state.roster.rule.t) Note(state.blame.dealers, owner);
    }
    if (!held) return state.End(Reason::kDeadline, "too few holders of somebody's shares survive");
    state.phase = state.params.mode == Mode::kMalicious ? Phase::kEndorse : Phase::kUnmask;
  }
  if (state.params.mode == Mode::kMalicious)
    return Encode(SurvivorSet{.sid = state.sid, .u2 = state.u2, .u3 = state.u3});
  return Encode(UnmaskRequest{.sid = state.sid, .u2 = state.u2, .u3 = state.u3});
}

absl::Status ServerSession::OnEndorsement(const Bytes32& fingerprint, const Endorsement& message) {
  ServerState& state = *state_;
  RV_ASSIGN_OR_RETURN(ServerMember* const member, state.MemberOf(fingerprint, message.sid));
  if (member->endorsement.has_value()) {
    return member->endorsement->signature == message.signature ? absl::OkStatus()
                                                               : Differing("endorsement");
  }
  RV_RETURN_IF_ERROR(Awaited("endorsement", state.phase, Phase::kEndorse));
  if (!state.u3.Contains(state.index_of.at(fingerprint)))
    return Refuse(absl::StatusCode::kNotFound, "endorsement: not of a survivor");
  if (!state.verifier->Verify(member->certificate.public_key,
                              EndorsementMessage(state.sid, state.u2, state.u3), message.signature))
    return RefuseFor(Reason::kQuorum, "endorsement: the signature is not of this set");
  member->endorsement = message;
  return absl::OkStatus();
}

bool ServerSession::EndorsementsReady() const {
  const ServerState& state = *state_;
  if (state.phase < Phase::kEndorse || state.phase == Phase::kAborted) return false;
  const auto count = std::count_if(state.members.begin(), state.members.end(),
                                   [](const auto& m) { return m.endorsement.has_value(); });
  return count >= state.roster.rule.quorum;
}

absl::StatusOr<std::string> ServerSession::CloseEndorsements() {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (state.phase < Phase::kEndorse || state.params.mode != Mode::kMalicious)
    return Refuse(absl::StatusCode::kFailedPrecondition, "endorsements: out of order");
  if (!EndorsementsReady()) return state.End(Reason::kQuorum, "too few endorsements");
  Endorsements message{.sid = state.sid};
  for (uint32_t index = 0; index < state.n(); ++index) {
    if (message.endorsers.size() == state.roster.rule.quorum) break;
    const auto& endorsement = state.members[index].endorsement;
    if (endorsement.has_value()) message.endorsers.push_back({index, endorsement->signature});
  }
  if (state.phase == Phase::kEndorse) state.phase = Phase::kUnmask;
  return Encode(message);
}

absl::Status ServerSession::OnUnmask(const Bytes32& fingerprint, const Unmask& message) {
  ServerState& state = *state_;
  RV_ASSIGN_OR_RETURN(ServerMember* const member, state.MemberOf(fingerprint, message.sid));
  if (member->unmask.has_value()) {
    const bool same = state.phase == Phase::kDone || Encode(*member->unmask) == Encode(message);
    return same ? absl::OkStatus() : Differing("unmask");
  }
  RV_RETURN_IF_ERROR(Awaited("unmask", state.phase, Phase::kUnmask));
  const uint32_t index = state.index_of.at(fingerprint);
  if (!state.u3.Contains(index))
    return Refuse(absl::StatusCode::kNotFound, "unmask: not of a survivor");
  const auto owners = state.OwnersFor(index);
  const auto right = [&](uint32_t owner, const OwnedShare& share) {
    const ShareKind wanted =
        state.u3.Contains(owner) ? ShareKind::kSelfSeed : ShareKind::kMaskSecret;
    return share.owner == owner && share.kind == wanted;
  };
  if (!std::equal(owners.begin(), owners.end(), message.shares.begin(), message.shares.end(),
                  right)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "unmask: not one share of the right kind for every member of U2 it serves");
  }
  member->unmask = message;
  state.CountShares(message);
  return absl::OkStatus();
}

bool ServerSession::UnmaskReady() const {
  const ServerState& state = *state_;
  if (state.phase != Phase::kUnmask) return state.phase == Phase::kDone;
  const auto needed = state.u2.Indices();
  return std::all_of(needed.begin(), needed.end(),
                     [&](uint32_t owner) { return state.arrived[owner] >= state.roster.rule.t; });
}

struct Reconstruction::Problem {
  struct Owner {
    uint32_t index = 0;
    bool survived = false;
    bool complete = false;  // nobody is left who could send another share
    RosterEntry entry;
    std::vector<uint32_t> holders;
    std::vector<Share> shares;
  };
  Bytes32 sid0{};
  size_t threshold = 0;
  std::vector<Owner> owners;
  // What comes of it.
  std::map<uint32_t, Secret32> secrets;
  Blame blame;
  bool waiting = false, hopeless = false;

  void Solve(const Owner& owner, FastCombiner& combiner) {
    const auto matches = [&](const Secret32& secret) {
      return IsSecretOf(sid0, owner.entry, owner.survived, secret);
    };
    auto secret = combiner.Combine(owner.shares);
    if (secret.ok() && matches(*secret)) {
      secrets[owner.index] = *std::move(secret);
      return;
    }
    auto rebuilt = Correct(owner.shares, threshold, matches);
    if (rebuilt.has_value()) {
      for (const uint16_t x : rebuilt->faulty_x) Note(blame.holders, owner.holders[x - 1]);
      secrets[owner.index] = std::move(rebuilt->secret);
      return;
    }
    if (owner.complete) Note(blame.dealers, owner.index);
    (owner.complete ? hopeless : waiting) = true;
  }
};

Reconstruction::Reconstruction(std::unique_ptr<Problem> problem) : problem_(std::move(problem)) {}
Reconstruction::~Reconstruction() = default;
Reconstruction::Reconstruction(Reconstruction&&) noexcept = default;
Reconstruction& Reconstruction::operator=(Reconstruction&&) noexcept = default;

void Reconstruction::Run() {
  FastCombiner combiner(problem_->threshold);
  for (const Problem::Owner& owner : problem_->owners) problem_->Solve(owner, combiner);
}

absl::StatusOr<Reconstruction> ServerSession::BeginReconstruct() const {
  const ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  RV_RETURN_IF_ERROR(Awaited("secrets", state.phase, Phase::kUnmask));
  if (!UnmaskReady()) return RefuseFor(Reason::kReconstruct, "shares are missing");
  auto problem = std::make_unique<Reconstruction::Problem>();
  problem->sid0 = state.sid0;
  problem->threshold = state.roster.rule.t;
  auto shares = state.CollectShares();
  for (const uint32_t index : state.u2.Indices()) {
    if (state.secrets.contains(index)) continue;
    problem->owners.push_back({.index = index,
                               .survived = state.u3.Contains(index),
                               .complete = state.arrived[index] == state.HoldersLeft(index),
                               .entry = state.roster.entries[index],
                               .holders = state.topology.SharingSetOf(index),
                               .shares = std::move(shares[index])});
  }
  return Reconstruction(std::move(problem));
}

absl::Status ServerSession::Take(Reconstruction done) {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  RV_RETURN_IF_ERROR(Awaited("secrets", state.phase, Phase::kUnmask));
  Reconstruction::Problem& found = *done.problem_;
  state.secrets.merge(found.secrets);
  for (const uint32_t holder : found.blame.holders) Note(state.blame.holders, holder);
  for (const uint32_t dealer : found.blame.dealers) Note(state.blame.dealers, dealer);
  if (found.hopeless) return state.End(Reason::kReconstruct, "shares that give no secret");
  if (found.waiting) return RefuseFor(Reason::kReconstruct, "wrong shares, more are needed");
  return absl::OkStatus();
}

absl::Status ServerSession::Reconstruct() {
  RV_ASSIGN_OR_RETURN(Reconstruction work, BeginReconstruct());
  work.Run();
  return Take(std::move(work));
}

absl::StatusOr<RingVector> ServerSession::Finish(RingVector sum, unsigned threads) {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (sum.bits() != state.params.b || sum.size() != state.params.length())
    return Refuse(absl::StatusCode::kInvalidArgument, "sum: of another size or width");
  RV_RETURN_IF_ERROR(Reconstruct());
  RV_ASSIGN_OR_RETURN(const std::vector<Mask> masks, state.MasksToRemove(threads));
  ApplyMasks(sum, masks, threads);
  sum.Reduce();
  state.secrets.clear();
  if (absl::Status sound = state.CheckSum(sum); !sound.ok()) return state.End(std::move(sound));
  // The shares are worth as much as the secrets they gave.
  for (ServerMember& member : state.members) {
    if (member.unmask.has_value()) member.unmask->shares.clear();
  }
  state.phase = Phase::kDone;
  return sum;
}

// z = sum y - sum PRG(self_u) - sum over dropped v and surviving neighbours u of
// sign(u, v) PRG(seed_uv). Masks between two dropped members never entered the sum.
absl::StatusOr<std::vector<Mask>> ServerState::MasksToRemove(unsigned threads) const {
  std::vector<Mask> masks;
  std::vector<X25519Key> keys;
  struct Pair {
    size_t key;  // of the dropped one
    uint32_t dropped, survivor;
  };
  std::vector<Pair> pairs;
  for (const uint32_t member : u2.Indices()) {
    if (u3.Contains(member)) {
      masks.push_back({.seed = SelfMaskSeed(sid, secrets.at(member), member), .subtract = true});
      continue;
    }
    for (const uint32_t peer : topology.NeighboursOf(member)) {
      if (u3.Contains(peer))
        pairs.push_back({.key = keys.size(), .dropped = member, .survivor = peer});
    }
    keys.emplace_back(secrets.at(member));
  }
  const size_t first = masks.size();
  masks.resize(first + pairs.size());
  std::atomic<bool> failed = false;
  const auto derive = [&](size_t begin, size_t end) {
    for (size_t index = begin; index < end; ++index) {
      const auto [key, dropped, survivor] = pairs[index];
      auto seed = PairSeed(view(), keys[key], dropped, survivor);
      if (!seed.ok()) failed = true;
      masks[first + index] = {.seed = seed.ok() ? *std::move(seed) : Secret32(),
                              .subtract = dropped > survivor};
    }
  };
  const size_t parts = std::max<size_t>(1, std::min<size_t>(threads, pairs.size() / 64));
  std::vector<std::thread> workers;
  for (size_t part = 1; part < parts; ++part)
    workers.emplace_back(derive, pairs.size() * part / parts, pairs.size() * (part + 1) / parts);
  derive(0, pairs.size() / parts);
  for (std::thread& worker : workers) worker.join();
  if (failed) return RefuseFor(Reason::kLowOrder, "a member's key is of low order");
  return masks;
}

absl::Status ServerState::CheckSum(const RingVector& sum) const {
  const uint64_t largest = LargestSum(params, u3.Count());
  const size_t checked = sum.size() - kChecksums;
  for (size_t index = 0; index < checked; ++index) {
    const int64_t value = sum.SignedAt(index);
    if (static_cast<uint64_t>(value < 0 ? -value : value) > largest) {
      return RefuseFor(Reason::kRange,
                       "coordinate " + std::to_string(index) + " of the sum is out of range");
    }
  }
  RV_RETURN_IF_ERROR(CheckChecksums(sid0, sid, sum));
  const int64_t weight = sum.SignedAt(params.d);
  if (weight < 1 || static_cast<uint64_t>(weight) > uint64_t{u3.Count()} * params.W)
    return RefuseFor(Reason::kRange, "the sum of the weights is " + std::to_string(weight));
  return absl::OkStatus();
}

}  // namespace rivulet::secagg

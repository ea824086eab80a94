#include "privacy/secagg/client/client_state.h"

#include <openssl/crypto.h>

#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

using Phase = ClientSession::Phase;

constexpr uint8_t kStateVersion = 2;

absl::Status NoState() {
  return Refuse(absl::StatusCode::kInvalidArgument, "state: not one of a client session");
}

void PutBits(ByteWriter& out, const IndexBits& set) { out.U32(set.n()).Raw(set.bytes()); }

template <typename Set>
Set TakeBits(ByteReader& in) {
  Set set;
  const uint32_t n = in.U32();
  if (n > kMaxMembers || !set.Assign(n, in.Raw(Set::BytesOf(n))).ok()) in.Fail();
  return set;
}

void PutRefusal(ByteWriter& out, const ClientState& state) {
  const auto reason = ReasonOf(state.refusal);
  out.U8(reason.has_value() ? static_cast<uint8_t>(*reason) : 0).U8(state.refused_by_server);
}

void TakeRefusal(ByteReader& in, ClientState& state) {
  const uint8_t number = in.U8();
  state.refused_by_server = in.U8() != 0;
  const auto reason = ReasonFrom(number);
  if (reason.has_value() != (state.phase == Phase::kRefused)) return in.Fail();
  if (reason.has_value()) state.refusal = RefuseFor(*reason, "the attempt was refused before");
}

void TakeKeys(ByteReader& in, ClientState& state) {
  state.channel = X25519PairOf(Secret32(in.Array<32>()));
  state.mask = X25519PairOf(Secret32(in.Array<32>()));
  state.self_seed = Secret32(in.Array<32>());
  state.nonce = in.Array<32>();
  state.advertisement = in.Lp();
  const uint32_t members = in.U32();
  if (members > kMaxMembers) return in.Fail();
  state.group.resize(members);
  for (Bytes32& member : state.group) member = in.Array<32>();
}

// Rosters and nonces as the messages they came in; an empty text: not there yet.
void TakeSession(ByteReader& in, ClientState& state, const Bytes32& fingerprint) {
  const std::string_view roster = in.Lp();
  const std::string_view nonces = in.Lp();
  if (!roster.empty()) {
    auto message = Decode<Roster>(roster);
    if (!message.ok()) return in.Fail();
    state.roster = *std::move(message);
    state.public_keys.resize(state.roster.entries.size());
  }
  if (!nonces.empty()) {
    auto message = Decode<Nonces>(nonces);
    if (!message.ok() || message->nonces.size() != state.roster.entries.size()) return in.Fail();
    state.nonces = *std::move(message);
  }
  for (Bytes32& key : state.public_keys) key = in.Array<32>();
  if (state.has_roster()) state.Place(fingerprint);
  state.reveal = in.Lp();
  state.shares = in.Lp();
}

// A client whose certificate was renewed meanwhile is not in the roster: it has no index.
bool IsStateOf(const Bytes32& fingerprint, const ClientState& state) {
  if (!state.advertisement.empty()) {
    const auto own = Decode<Advertisement>(state.advertisement);
    if (!own.ok() || own->entry.fingerprint != fingerprint) return false;
  }
  return !state.has_roster() || state.roster.entries[state.self].fingerprint == fingerprint;
}

// The rule of the roster is that of the parameters; `corrupt` does not travel.
bool HasItsRule(const ClientState& state) {
  auto rule = state.params.RuleOf(static_cast<uint32_t>(state.roster.entries.size()));
  if (!rule.ok()) return false;
  rule->corrupt = state.roster.rule.corrupt;
  return *rule == state.roster.rule;
}

template <typename Rows>
bool AreOfMembers(const Rows& rows, uint32_t n) {
  return rows.empty() || rows.rbegin()->first < n;
}

// What every later step takes for granted: indices are of members, and what a phase has behind it
// is there.
bool IsWhole(const ClientState& state) {
  const Phase phase = state.phase;
  if (phase == Phase::kRefused) return true;  // answers nothing but its refusal
  if (phase == Phase::kNew) return state.advertisement.empty() && !state.has_roster();
  if (!Check(state.params).ok() || (state.has_roster() && !HasItsRule(state))) return false;
  const uint32_t n = static_cast<uint32_t>(state.roster.entries.size());
  for (const IndexBits& set : {IndexBits(state.u2), IndexBits(state.failed), IndexBits(state.u3)}) {
    if (set.n() != 0 && set.n() != n) return false;
  }
  if (!AreOfMembers(state.held, n) || !AreOfMembers(state.channel_keys, n) ||
      !AreOfMembers(state.pair_seeds, n))
    return false;
  const bool ring = state.roster.rule.kind == kRingGraph;
  const bool placed = state.has_roster() && (!ring || !state.nonces.nonces.empty());
  if (phase == Phase::kRevealed && !ring) return false;
  if (phase >= Phase::kShared && (!placed || state.shares.empty())) return false;
  if (phase >= Phase::kForwarded && (state.u2.n() != n || state.failed.n() != n)) return false;
  if (phase >= Phase::kMasked && state.trailer.empty()) return false;
  if (phase >= Phase::kEndorsed && state.u3.n() != n) return false;
  return phase != Phase::kUnmasked || !state.unmask.empty();
}

// Pairs of secrets by member.
template <typename Pair>
void PutPairs(ByteWriter& out, const std::map<uint32_t, Pair>& pairs, Secret32 Pair::*first,
              Secret32 Pair::*second) {
  out.U32(static_cast<uint32_t>(pairs.size()));
  for (const auto& [member, pair] : pairs)
    out.U32(member).Raw((pair.*first).bytes()).Raw((pair.*second).bytes());
}

template <typename Pair>
void TakePairs(ByteReader& in, std::map<uint32_t, Pair>& pairs, Secret32 Pair::*first,
               Secret32 Pair::*second) {
  const uint32_t count = in.U32();
  for (uint32_t index = 0; index < count && !in.failed(); ++index) {
    Pair& pair = pairs[in.U32()];
    pair.*first = Secret32(in.Array<32>());
    pair.*second = Secret32(in.Array<32>());
  }
}

void PutSeeds(ByteWriter& out, const std::map<uint32_t, Secret32>& seeds) {
  out.U32(static_cast<uint32_t>(seeds.size()));
  for (const auto& [peer, seed] : seeds) out.U32(peer).Raw(seed.bytes());
}

void TakeSeeds(ByteReader& in, std::map<uint32_t, Secret32>& seeds) {
  const uint32_t count = in.U32();
  for (uint32_t index = 0; index < count && !in.failed(); ++index) {
    const uint32_t peer = in.U32();
    seeds[peer] = Secret32(in.Array<32>());
  }
}

}  // namespace

absl::Status OutOfOrder(std::string_view message) {
  return Refuse(absl::StatusCode::kFailedPrecondition, std::string(message) + ": out of order");
}

absl::Status OfAnotherSession(std::string_view message) {
  return Refuse(absl::StatusCode::kFailedPrecondition,
                std::string(message) + ": of another attempt or session");
}

std::string RoundKey(const Params& params) {
  return ByteWriter().Raw(params.job_id).U64(params.round).Take();
}

std::string AttemptKey(const Params& params) {
  return ByteWriter().Raw(params.job_id).U64(params.round).U32(params.attempt).Take();
}

absl::Status RecordOnce(RoundLedger& ledger, LedgerTable table, std::string_view key,
                        std::string_view value, Reason otherwise, std::string_view what) {
  RV_ASSIGN_OR_RETURN(const std::string stored, ledger.PutOnce(table, key, value));
  if (stored == value) return absl::OkStatus();
  return RefuseFor(otherwise, std::string(what) + ": this client sent or accepted another before");
}

absl::Status NotAnswered(RoundLedger& ledger, const Params& params) {
  RV_ASSIGN_OR_RETURN(const auto revealed, ledger.Find(LedgerTable::kRevealed, RoundKey(params)));
  if (!revealed.has_value()) return absl::OkStatus();
  return RefuseFor(Reason::kAlreadyRevealed, "shares of this round were given before");
}

void ClientState::Place(const Bytes32& fingerprint) {
  const uint32_t n = static_cast<uint32_t>(roster.entries.size());
  sid = SessionId(sid0, RosterBytes(roster.rule, roster.entries));
  for (uint32_t index = 0; index < n; ++index) {
    if (roster.entries[index].fingerprint == fingerprint) self = index;
  }
  if (roster.rule.kind != kRingGraph) {
    topology = Topology(n);
  } else if (!nonces.nonces.empty()) {
    topology = Topology(GraphKey(sid, nonces.nonces), n, roster.rule.k);
  }
}

void ClientState::Wipe() {
  channel = {};
  mask = {};
  self_seed = {};
  OPENSSL_cleanse(nonce.data(), nonce.size());
  held.clear();
  channel_keys.clear();
  pair_seeds.clear();
}

std::string SerialiseState(const ClientState& state) {
  const size_t n = state.roster.entries.size();
  // Reserved at once: a text that grows leaves copies of secrets behind.
  ByteWriter out(4096 + n * 512 + state.group.size() * 32 + state.shares.size() +
                 state.unmask.size() +
                 (state.held.size() + state.channel_keys.size() + state.pair_seeds.size()) * 68);
  out.U8(kStateVersion).U8(static_cast<uint8_t>(state.phase));
  PutRefusal(out, state);
  out.Raw(CanonicalBytes(state.params));
  out.Raw(state.channel.secret.bytes()).Raw(state.mask.secret.bytes());
  out.Raw(state.self_seed.bytes()).Raw(state.nonce).Lp(state.advertisement);
  out.U32(static_cast<uint32_t>(state.group.size()));
  for (const Bytes32& member : state.group) out.Raw(member);
  out.Lp(state.has_roster() ? Encode(state.roster) : "");
  out.Lp(state.nonces.nonces.empty() ? "" : Encode(state.nonces));
  for (const Bytes32& key : state.public_keys) out.Raw(key);
  out.Lp(state.reveal).Lp(state.shares);
  PutPairs(out, state.held, &HeldShares::mask_secret, &HeldShares::self_seed);
  PutPairs(out, state.channel_keys, &ChannelKeys::outgoing, &ChannelKeys::incoming);
  PutSeeds(out, state.pair_seeds);
  out.Raw(state.forward_hash);
  PutBits(out, state.u2);
  PutBits(out, state.failed);
  out.Lp(state.trailer);
  PutBits(out, state.u3);
  out.Lp(state.endorsement).Lp(state.unmask);
  return out.Take();
}

absl::StatusOr<ClientState> ParseState(std::string_view bytes, const Bytes32& fingerprint) {
  ByteReader in(bytes);
  ClientState state;
  const uint8_t version = in.U8(), phase = in.U8();
  if (version != kStateVersion || phase > static_cast<uint8_t>(Phase::kRefused)) return NoState();
  state.phase = static_cast<Phase>(phase);
  TakeRefusal(in, state);
  const auto params = ParseParams(in.Raw(150));
  if (!params.ok()) return NoState();
  state.params = *params;
  state.sid0 = Sid0(*params);
  TakeKeys(in, state);
  TakeSession(in, state, fingerprint);
  TakePairs(in, state.held, &HeldShares::mask_secret, &HeldShares::self_seed);
  TakePairs(in, state.channel_keys, &ChannelKeys::outgoing, &ChannelKeys::incoming);
  TakeSeeds(in, state.pair_seeds);
  state.forward_hash = in.Array<32>();
  state.u2 = TakeBits<U2Set>(in);
  state.failed = TakeBits<FailedSet>(in);
  state.trailer = in.Lp();
  state.u3 = TakeBits<U3Set>(in);
  state.endorsement = in.Lp();
  state.unmask = in.Lp();
  if (!in.Done() || !IsWhole(state)) return NoState();
  if (!IsStateOf(fingerprint, state)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "state: of another certificate");
  }
  return state;
}

}  // namespace rivulet::secagg

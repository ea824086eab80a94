#include "privacy/secagg/shared/messages.h"

#include <type_traits>

#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

ByteWriter Begin(MessageKind kind, const Bytes32& id, size_t more = 128) {
  ByteWriter out(33 + more);
  out.U8(static_cast<uint8_t>(kind)).Raw(id);
  return out;
}

void PutSet(ByteWriter& out, const IndexBits& set) { out.U32(set.n()).Raw(set.bytes()); }

void PutShares(ByteWriter& out, const std::vector<AddressedShare>& shares) {
  out.U32(static_cast<uint32_t>(shares.size()));
  for (const AddressedShare& share : shares) out.U32(share.peer).Raw(share.sealed);
}

// A count of things of `bytes` bytes each that the rest can hold.
uint32_t TakeCount(ByteReader& in, size_t bytes) {
  const uint32_t count = in.U32();
  if (count > kMaxMembers || count * bytes > in.left()) in.Fail();
  return in.failed() ? 0 : count;
}

template <typename Set>
Set TakeSet(ByteReader& in) {
  Set set;
  const uint32_t n = in.U32();
  if (n > kMaxMembers || !set.Assign(n, in.Raw(Set::BytesOf(n))).ok()) in.Fail();
  return set;
}

std::vector<AddressedShare> TakeShares(ByteReader& in) {
  std::vector<AddressedShare> shares(TakeCount(in, 4 + kSealedShareBytes));
  for (AddressedShare& share : shares) {
    share.peer = in.U32();
    share.sealed = in.Array<kSealedShareBytes>();
  }
  return shares;
}

RosterEntry TakeEntry(ByteReader& in) {
  RosterEntry entry;
  entry.fingerprint = in.Array<32>();
  entry.channel_key = in.Array<32>();
  entry.mask_key = in.Array<32>();
  entry.nonce_commitment = in.Array<32>();
  entry.seed_commitment = in.Array<32>();
  entry.signature = in.Array<64>();
  return entry;
}

// One Take for every message: what follows the kind.
void Take(ByteReader& in, Parameters& out) {
  const auto params = ParseParams(in.Raw(in.left()));
  if (params.ok()) {
    out.params = *params;
  } else {
    in.Fail();
  }
}

void Take(ByteReader& in, Advertisement& out) {
  out.sid0 = in.Array<32>();
  out.entry = TakeEntry(in);
}

void Take(ByteReader& in, Roster& out) {
  out.sid0 = in.Array<32>();
  out.rule.kind = in.U8();
  out.rule.k = in.U32();
  out.rule.t = in.U32();
  out.rule.quorum = in.U32();
  out.entries.resize(TakeCount(in, kRosterEntryBytes));
  for (RosterEntry& entry : out.entries) entry = TakeEntry(in);
}

void Take(ByteReader& in, Reveal& out) {
  out.sid = in.Array<32>();
  out.nonce = in.Array<32>();
}

void Take(ByteReader& in, Nonces& out) {
  out.sid = in.Array<32>();
  const auto present = TakeSet<IndexBits>(in);
  out.nonces.resize(present.n());
  for (uint32_t index : present.Indices()) out.nonces[index] = in.Array<32>();
}

void Take(ByteReader& in, Shares& out) {
  out.sid = in.Array<32>();
  out.shares = TakeShares(in);
}

void Take(ByteReader& in, Forward& out) {
  out.sid = in.Array<32>();
  out.u2 = TakeSet<U2Set>(in);
  out.shares = TakeShares(in);
}

void Take(ByteReader& in, MaskedHeader& out) {
  out.sid = in.Array<32>();
  out.index = in.U32();
  out.packed_bytes = in.U64();
}

void Take(ByteReader& in, MaskedTrailer& out) {
  out.sid = in.Array<32>();
  out.packed_bytes = in.U64();
  out.packed_sha256 = in.Array<32>();
  out.signature = in.Array<64>();
  out.failed = TakeSet<FailedSet>(in);
}

void Take(ByteReader& in, SurvivorSet& out) {
  out.sid = in.Array<32>();
  out.u2 = TakeSet<U2Set>(in);
  out.u3 = TakeSet<U3Set>(in);
}

void Take(ByteReader& in, Endorsement& out) {
  out.sid = in.Array<32>();
  out.signature = in.Array<64>();
}

void Take(ByteReader& in, Endorsements& out) {
  out.sid = in.Array<32>();
  out.endorsers.resize(TakeCount(in, 68));
  for (Endorser& endorser : out.endorsers) {
    endorser.index = in.U32();
    endorser.signature = in.Array<64>();
  }
}

void Take(ByteReader& in, UnmaskRequest& out) {
  out.sid = in.Array<32>();
  out.u2 = TakeSet<U2Set>(in);
  out.u3 = TakeSet<U3Set>(in);
}

void Take(ByteReader& in, Unmask& out) {
  out.sid = in.Array<32>();
  out.shares.resize(TakeCount(in, 37));
  for (OwnedShare& share : out.shares) {
    share.owner = in.U32();
    const uint8_t kind = in.U8();
    if (kind > 1) in.Fail();
    share.kind = static_cast<ShareKind>(kind);
    share.value = Secret32(in.Array<32>());
  }
}

void Take(ByteReader& in, Abort& out) {
  out.id = in.Array<32>();
  const auto reason = ReasonFrom(in.U8());
  if (!reason.has_value()) in.Fail();
  out.reason = reason.value_or(Reason::kDeadline);
}

PoolEntry TakePoolEntry(ByteReader& in) {
  PoolEntry entry;
  entry.fingerprint = in.Array<32>();
  entry.nonce_commitment = in.Array<32>();
  entry.signature = in.Array<64>();
  return entry;
}

void Take(ByteReader& in, Commitment& out) {
  out.pool = in.Array<32>();
  out.entry = TakePoolEntry(in);
}

void Take(ByteReader& in, Pool& out) {
  out.pool = in.Array<32>();
  out.entries.resize(TakeCount(in, kPoolEntryBytes));
  for (PoolEntry& entry : out.entries) entry = TakePoolEntry(in);
}

// The alternative number `kind` - 1 of Message; the numbers of MessageKind are its order.
template <size_t Alternative = 0>
absl::StatusOr<Message> TakeKind(uint8_t kind, ByteReader& in) {
  if constexpr (Alternative == std::variant_size_v<Message>) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "message: unknown kind " + std::to_string(kind));
  } else {
    if (kind != Alternative + 1) return TakeKind<Alternative + 1>(kind, in);
    std::variant_alternative_t<Alternative, Message> out;
    Take(in, out);
    if (!in.Done()) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "message: wrong length or field in kind " + std::to_string(kind));
    }
    return Message(std::move(out));
  }
}

static_assert(
    std::is_same_v<
        std::variant_alternative_t<static_cast<size_t>(MessageKind::kAbort) - 1, Message>, Abort>);
static_assert(
    std::is_same_v<std::variant_alternative_t<static_cast<size_t>(MessageKind::kPool) - 1, Message>,
                   Pool>);

}  // namespace

std::string Encode(const Parameters& message) {
  return ByteWriter(160)
      .U8(static_cast<uint8_t>(MessageKind::kParameters))
      .Raw(CanonicalBytes(message.params))
      .Take();
}

std::string Encode(const Advertisement& message) {
  return Begin(MessageKind::kAdvertisement, message.sid0, kRosterEntryBytes)
      .Raw(EntryBytes(message.entry))
      .Take();
}

std::string Encode(const Roster& message) {
  const size_t n = message.entries.size();
  ByteWriter out = Begin(MessageKind::kRoster, message.sid0, 32 + n * kRosterEntryBytes);
  out.U8(message.rule.kind).U32(message.rule.k).U32(message.rule.t).U32(message.rule.quorum);
  out.U32(static_cast<uint32_t>(n));
  for (const RosterEntry& entry : message.entries) out.Raw(EntryBytes(entry));
  return out.Take();
}

std::string Encode(const Reveal& message) {
  return Begin(MessageKind::kReveal, message.sid).Raw(message.nonce).Take();
}

std::string Encode(const Nonces& message) {
  const uint32_t n = static_cast<uint32_t>(message.nonces.size());
  ByteWriter out = Begin(MessageKind::kNonces, message.sid, 16 + n * 33);
  IndexBits present(n);
  for (uint32_t index = 0; index < n; ++index) {
    if (message.nonces[index].has_value()) present.Insert(index);
  }
  PutSet(out, present);
  for (const auto& nonce : message.nonces) {
    if (nonce.has_value()) out.Raw(*nonce);
  }
  return out.Take();
}

std::string Encode(const Shares& message) {
  ByteWriter out = Begin(MessageKind::kShares, message.sid, 16 + message.shares.size() * 106);
  PutShares(out, message.shares);
  return out.Take();
}

std::string Encode(const Forward& message) {
  ByteWriter out = Begin(MessageKind::kForward, message.sid,
                         32 + message.u2.bytes().size() + message.shares.size() * 106);
  PutSet(out, message.u2);
  PutShares(out, message.shares);
  return out.Take();
}

std::string Encode(const MaskedHeader& message) {
  return Begin(MessageKind::kMaskedHeader, message.sid)
      .U32(message.index)
      .U64(message.packed_bytes)
      .Take();
}

std::string Encode(const MaskedTrailer& message) {
  ByteWriter out = Begin(MessageKind::kMaskedTrailer, message.sid);
  out.U64(message.packed_bytes).Raw(message.packed_sha256).Raw(message.signature);
  PutSet(out, message.failed);
  return out.Take();
}

std::string Encode(const SurvivorSet& message) {
  ByteWriter out = Begin(MessageKind::kSurvivorSet, message.sid);
  PutSet(out, message.u2);
  PutSet(out, message.u3);
  return out.Take();
}

std::string Encode(const Endorsement& message) {
  return Begin(MessageKind::kEndorsement, message.sid).Raw(message.signature).Take();
}

std::string Encode(const Endorsements& message) {
  ByteWriter out = Begin(MessageKind::kEndorsements, message.sid, message.endorsers.size() * 68);
  out.U32(static_cast<uint32_t>(message.endorsers.size()));
  for (const Endorser& endorser : message.endorsers)
    out.U32(endorser.index).Raw(endorser.signature);
  return out.Take();
}

std::string Encode(const UnmaskRequest& message) {
  ByteWriter out = Begin(MessageKind::kUnmaskRequest, message.sid);
  PutSet(out, message.u2);
  PutSet(out, message.u3);
  return out.Take();
}

std::string Encode(const Unmask& message) {
  ByteWriter out = Begin(MessageKind::kUnmask, message.sid, 8 + message.shares.size() * 37);
  out.U32(static_cast<uint32_t>(message.shares.size()));
  for (const OwnedShare& share : message.shares)
    out.U32(share.owner).U8(static_cast<uint8_t>(share.kind)).Raw(share.value.bytes());
  return out.Take();
}

std::string Encode(const Abort& message) {
  return Begin(MessageKind::kAbort, message.id).U8(static_cast<uint8_t>(message.reason)).Take();
}

std::string Encode(const Commitment& message) {
  return Begin(MessageKind::kCommitment, message.pool, kPoolEntryBytes)
      .Raw(EntryBytes(message.entry))
      .Take();
}

std::string Encode(const Pool& message) {
  const size_t n = message.entries.size();
  ByteWriter out = Begin(MessageKind::kPool, message.pool, 4 + n * kPoolEntryBytes);
  out.U32(static_cast<uint32_t>(n));
  for (const PoolEntry& entry : message.entries) out.Raw(EntryBytes(entry));
  return out.Take();
}

std::string Encode(const Message& message) {
  return std::visit([](const auto& held) { return Encode(held); }, message);
}

absl::StatusOr<Message> DecodeMessage(std::string_view bytes) {
  ByteReader in(bytes);
  const uint8_t kind = in.U8();
  return TakeKind(kind, in);
}

}  // namespace rivulet::secagg

#include "privacy/secagg/shared/transcript.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "common/io/sha256.h"
#include "privacy/crypto/hkdf.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

Bytes32 CommitmentTo(std::string_view domain, const Bytes32& sid0, const Bytes32& fingerprint,
                     std::span<const uint8_t, 32> secret) {
  std::string opening = ByteWriter(128).Lp(domain).Raw(sid0).Raw(fingerprint).Raw(secret).Take();
  const Bytes32 commitment = Sha256Of(opening);
  OPENSSL_cleanse(opening.data(), opening.size());
  return commitment;
}

Bytes32 HashOfSet(std::string_view domain, const IndexBits& set) {
  return Sha256Of(ByteWriter().Lp(domain).U32(set.n()).Raw(set.bytes()).Take());
}

}  // namespace

std::string EntryBytes(const RosterEntry& entry) {
  return ByteWriter(kRosterEntryBytes)
      .Raw(entry.fingerprint)
      .Raw(entry.channel_key)
      .Raw(entry.mask_key)
      .Raw(entry.nonce_commitment)
      .Raw(entry.seed_commitment)
      .Raw(entry.signature)
      .Take();
}

std::string RosterBytes(const GraphRule& rule, std::span<const RosterEntry> entries) {
  ByteWriter out(64 + entries.size() * kRosterEntryBytes);
  out.Lp("rvl1/roster").U32(static_cast<uint32_t>(entries.size()));
  out.U8(rule.kind).U32(rule.k).U32(rule.t).U32(rule.quorum);
  for (const RosterEntry& entry : entries) out.Raw(EntryBytes(entry));
  return out.Take();
}

Bytes32 SessionId(const Bytes32& sid0, std::string_view roster_bytes) {
  return Sha256Of(ByteWriter().Lp("rvl1/session").Raw(sid0).Raw(Sha256Of(roster_bytes)).Take());
}

Bytes32 NonceCommitment(const Bytes32& sid0, const Bytes32& fingerprint, const Bytes32& nonce) {
  return CommitmentTo("rvl1/nc", sid0, fingerprint, nonce);
}

Bytes32 SeedCommitment(const Bytes32& sid0, const Bytes32& fingerprint, const Secret32& seed) {
  return CommitmentTo("rvl1/bc", sid0, fingerprint, seed.bytes());
}

std::string AdvertisementMessage(const Bytes32& sid0, const RosterEntry& entry) {
  return ByteWriter(256)
      .Lp("rvl1/adv")
      .Raw(sid0)
      .Raw(entry.fingerprint)
      .Raw(entry.channel_key)
      .Raw(entry.mask_key)
      .Raw(entry.nonce_commitment)
      .Raw(entry.seed_commitment)
      .Take();
}

std::string UploadMessage(const Bytes32& sid, uint32_t index, uint64_t packed_bytes,
                          const Bytes32& packed_sha256) {
  return ByteWriter(128)
      .Lp("rvl1/y")
      .Raw(sid)
      .U32(index)
      .U64(packed_bytes)
      .Raw(packed_sha256)
      .Take();
}

std::string EndorsementMessage(const Bytes32& sid, const U2Set& u2, const U3Set& u3) {
  return ByteWriter(128)
      .Lp("rvl1/u3")
      .Raw(sid)
      .Raw(HashOfSet("rvl1/u2set", u2))
      .Raw(HashOfSet("rvl1/u3set", u3))
      .Take();
}

std::string ShareAad(const Bytes32& sid, uint32_t sender, uint32_t receiver) {
  return ByteWriter(64).Lp("rvl1/share").Raw(sid).U32(sender).U32(receiver).Take();
}

std::string ChannelInfo(uint32_t sender, uint32_t receiver, const Bytes32& sender_key,
                        const Bytes32& receiver_key) {
  return ByteWriter(128)
      .Lp("rvl1/channel")
      .U32(sender)
      .U32(receiver)
      .Raw(sender_key)
      .Raw(receiver_key)
      .Take();
}

std::string PairMaskInfo(uint32_t u, uint32_t v, const Bytes32& u_key, const Bytes32& v_key) {
  return ByteWriter(128)
      .Lp("rvl1/pair-mask")
      .U32(std::min(u, v))
      .U32(std::max(u, v))
      .Raw(u < v ? u_key : v_key)
      .Raw(u < v ? v_key : u_key)
      .Take();
}

std::string SelfMaskInfo(uint32_t index) {
  return ByteWriter(32).Lp("rvl1/self-mask").U32(index).Take();
}

absl::StatusOr<ChannelKeys> ChannelKeysOf(const SessionView& session, const X25519Key& own,
                                          uint32_t self, uint32_t peer) {
  const Bytes32& ours = session.entries[self].channel_key;
  const Bytes32& theirs = session.entries[peer].channel_key;
  RV_ASSIGN_OR_RETURN(const Secret32 shared, own.Shared(theirs));
  return ChannelKeys{
      .outgoing = HkdfSha256(shared.bytes(), session.sid, ChannelInfo(self, peer, ours, theirs)),
      .incoming = HkdfSha256(shared.bytes(), session.sid, ChannelInfo(peer, self, theirs, ours))};
}

absl::StatusOr<Secret32> PairSeed(const SessionView& session, const X25519Key& own, uint32_t self,
                                  uint32_t peer) {
  const Bytes32& ours = session.entries[self].mask_key;
  const Bytes32& theirs = session.entries[peer].mask_key;
  RV_ASSIGN_OR_RETURN(const Secret32 shared, own.Shared(theirs));
  return HkdfSha256(shared.bytes(), session.sid, PairMaskInfo(self, peer, ours, theirs));
}

Secret32 SelfMaskSeed(const Bytes32& sid, const Secret32& self_seed, uint32_t index) {
  return HkdfSha256(self_seed.bytes(), sid, SelfMaskInfo(index));
}

Secret32 GraphKey(const Bytes32& sid, std::span<const std::optional<Bytes32>> nonces) {
  ByteWriter out(32 + nonces.size() * 33);
  out.Lp("rvl1/nonces").U32(static_cast<uint32_t>(nonces.size()));
  for (const auto& nonce : nonces) out.U8(nonce.has_value()).Raw(nonce.value_or(Bytes32{}));
  return HkdfSha256(Sha256Of(out.Take()), sid, ByteWriter().Lp("rvl1/graph").Take());
}

Secret32 PublicStream(const Bytes32& sid0, const Bytes32& sid, std::string_view label) {
  return HkdfSha256(sid, sid0, ByteWriter().Lp(label).Take());
}

Secret32 ChecksumStream(const Bytes32& sid0, const Bytes32& sid, uint32_t row) {
  return HkdfSha256(sid, sid0, ByteWriter().Lp("rvl1/checksum").U32(row).Take());
}

}  // namespace rivulet::secagg

#include "privacy/secagg/shared/draw.h"

#include "aggregation/robust/groups.h"
#include "common/io/sha256.h"
#include "privacy/crypto/hkdf.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {

std::string EntryBytes(const PoolEntry& entry) {
  return ByteWriter(kPoolEntryBytes)
      .Raw(entry.fingerprint)
      .Raw(entry.nonce_commitment)
      .Raw(entry.signature)
      .Take();
}

Bytes32 PoolId(const Params& params) {
  return Sha256Of(ByteWriter(192).Lp("rvl1/pool").Raw(CanonicalBytes(params)).Take());
}

std::string CommitmentMessage(const Bytes32& pool, const PoolEntry& entry) {
  return ByteWriter(128)
      .Lp("rvl1/commit")
      .Raw(pool)
      .Raw(entry.fingerprint)
      .Raw(entry.nonce_commitment)
      .Take();
}

Bytes32 DrawId(const Bytes32& pool, std::span<const PoolEntry> entries) {
  ByteWriter out(64 + entries.size() * kPoolEntryBytes);
  out.Lp("rvl1/draw").Raw(pool).U32(static_cast<uint32_t>(entries.size()));
  for (const PoolEntry& entry : entries) out.Raw(EntryBytes(entry));
  return Sha256Of(out.Take());
}

Bytes32 DrawnId(const Bytes32& draw, std::span<const Bytes32> nonces) {
  ByteWriter out(64 + nonces.size() * 32);
  out.Lp("rvl1/drawn").Raw(draw);
  for (const Bytes32& nonce : nonces) out.Raw(nonce);
  return Sha256Of(out.Take());
}

absl::StatusOr<std::vector<std::vector<uint32_t>>> DrawGroups(const Bytes32& pool,
                                                              std::span<const Bytes32> nonces,
                                                              uint32_t groups) {
  const auto n = static_cast<uint32_t>(nonces.size());
  ByteWriter all(32 + nonces.size() * 32);
  all.Lp("rvl1/nonces").U32(n);
  for (const Bytes32& nonce : nonces) all.Raw(nonce);
  const Secret32 key =
      HkdfSha256(Sha256Of(all.Take()), pool, ByteWriter().Lp("rvl1/groups").Take());
  return PartitionIntoGroups(n, groups, key.bytes());
}

}  // namespace rivulet::secagg

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/ed25519.h"
#include "privacy/crypto/secret.h"
#include "privacy/secagg/shared/params.h"

// A draw that nobody can choose: it cuts a cohort into groups before there are keys. Every client
// commits to a nonce, the list of commitments is fixed, then all reveal; whoever has one nonce of
// his own in it, and reveals it for one list only, knows that the others could not aim. As in
// transcript.h, everything that is hashed or signed has one function.
namespace rivulet::secagg {

// One client in a pool: its signed commitment, 128 bytes.
struct PoolEntry {
  Bytes32 fingerprint{};
  Bytes32 nonce_commitment{};  // NonceCommitment, with the pool's name for a sid0
  Signature signature{};       // over CommitmentMessage
  bool operator==(const PoolEntry&) const = default;
};
inline constexpr size_t kPoolEntryBytes = 128;

std::string EntryBytes(const PoolEntry& entry);

// The pool's name: H(LP("rvl1/pool") || the parameters of one sum over the whole cohort), which
// hold job, round, attempt, state, document and how many were invited.
Bytes32 PoolId(const Params& params);
// What is signed.
std::string CommitmentMessage(const Bytes32& pool, const PoolEntry& entry);
// The draw's name, from the fixed list: the sid of its Reveal and Nonces.
Bytes32 DrawId(const Bytes32& pool, std::span<const PoolEntry> entries);
// What the parameters of a drawn group are bound to: the list and what came of it.
Bytes32 DrawnId(const Bytes32& draw, std::span<const Bytes32> nonces);

// Positions in the list, which is ascending by fingerprint: PartitionIntoGroups
// (aggregation/robust/groups.h) with the key HKDF-SHA-256(H(LP("rvl1/nonces") || u32 n || nonces),
// salt pool, info LP("rvl1/groups")). Errors: InvalidArgument when `groups` is not 1 .. n.
absl::StatusOr<std::vector<std::vector<uint32_t>>> DrawGroups(const Bytes32& pool,
                                                              std::span<const Bytes32> nonces,
                                                              uint32_t groups);

}  // namespace rivulet::secagg

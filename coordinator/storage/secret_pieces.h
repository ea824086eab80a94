#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

// A row holds 64 MiB, the state of a ring of thousands of clients is larger. It is stored in pieces
// of the names "x", "x/1", "x/2", ..., all of this size but the last, which is shorter (and may be
// empty): so an old piece behind it means nothing.
inline constexpr size_t kSecretPieceBytes = size_t{16} << 20;

// The rows of `whole`, for one commit.
std::vector<Write> WritesOf(const SecretRecord& whole, size_t piece_bytes = kSecretPieceBytes);

// The bytes that were cut into pieces under the key and name of `which`. Errors: NotFound where
// there is no piece; DataLoss where one is missing.
absl::StatusOr<SecretText> JoinedSecret(std::span<const SecretRecord> secrets,
                                        const SecretRecord& which,
                                        size_t piece_bytes = kSecretPieceBytes);

}  // namespace rivulet

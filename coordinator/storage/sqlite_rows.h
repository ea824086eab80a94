#pragma once

#include "coordinator/storage/sqlite_database.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

// Performs one write inside the open transaction; errors as StateStore::Commit.
absl::Status ApplyWrite(Database& db, const Write& write);

absl::StatusOr<StoredState> LoadRows(Database& db);

absl::StatusOr<uint64_t> IncrementEpoch(Database& db);

}  // namespace rivulet

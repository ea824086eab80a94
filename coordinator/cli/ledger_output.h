#pragma once

#include <string>

#include "common/status.h"
#include "rivulet/v1/operations.pb.h"

namespace rivulet {

// What `ledger show` prints: every release, then epsilon of each data set. The rows are read as
// strictly as the coordinator reads its own. Errors: those of LedgerRowFrom.
absl::StatusOr<std::string> LedgerTable(const v1::LedgerReply& reply);
// The same as one line of JSON, the rows as they are stored.
absl::StatusOr<std::string> LedgerJson(const v1::LedgerReply& reply);

}  // namespace rivulet

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/status.h"

namespace rivulet::secagg {

// What a client never does twice. Names of tables on disk: never reuse a number.
enum class LedgerTable : uint8_t {
  kAdvertised = 1,  // job, round, attempt -> sid0
  kRoster = 2,      // sid0 -> roster
  kShares = 3,      // sid -> hash of the shares sent
  kForward = 4,     // sid -> hash of the forward accepted
  kUpload = 5,      // sid -> hash of the masked vector
  kEndorsed = 6,    // sid -> hash of the message signed
  kRevealed = 7,    // job, round -> sid, hash of the endorsed message, response
  kCommitted = 8,   // job, round, attempt -> hash of the commitment to a nonce of a draw
  kPool = 9,        // pool -> hash of the list of commitments
};

// The durable memory behind "at most once": outlives the session, the process and, kRevealed and
// kEndorsed, every attempt of the job. Rows are never changed. A ledger that may have been restored
// from an old copy must refuse everything.
class RoundLedger {
 public:
  virtual ~RoundLedger() = default;

  // Records `value` under (table, key) unless there is a row; returns the row's value then. Durable
  // before it returns. Concurrent sessions of one client share a ledger: atomic.
  virtual absl::StatusOr<std::string> PutOnce(LedgerTable table, std::string_view key,
                                              std::string_view value) = 0;
  // The row's value, if there is one.
  virtual absl::StatusOr<std::optional<std::string>> Find(LedgerTable table,
                                                          std::string_view key) = 0;
};

// For simulations and tests. Not thread safe.
class MemoryLedger : public RoundLedger {
 public:
  absl::StatusOr<std::string> PutOnce(LedgerTable table, std::string_view key,
                                      std::string_view value) override {
    return rows_.try_emplace({table, std::string(key)}, value).first->second;
  }
  absl::StatusOr<std::optional<std::string>> Find(LedgerTable table,
                                                  std::string_view key) override {
    const auto row = rows_.find({table, std::string(key)});
    return row == rows_.end() ? std::nullopt : std::optional(row->second);
  }

 private:
  std::map<std::pair<LedgerTable, std::string>, std::string> rows_;
};

}  // namespace rivulet::secagg

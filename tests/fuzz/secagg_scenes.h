#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/privacy/secagg_machines/cohort.h"

// Honest attempts of secure aggregation, stopped before each message of client 0: what a fuzz
// target says instead meets a session that waits for it.
namespace rivulet::secagg {

struct ClientScene {
  std::string state;  // empty: a new session
  MemoryLedger ledger;
  std::string message;  // the server's, that comes next
};

struct ServerScene {
  std::string state;
  std::string message;  // client 0's, that comes next; all the others have sent theirs
};

// The scenes of one whole attempt, and what it gave.
struct Attempt {
  Attempt(uint32_t n, const Params& params);

  ClientSession SessionAt(const ClientScene& scene, MemoryLedger& ledger);
  ServerSession SessionAt(const ServerScene& scene) const;

  Cohort cohort;
  std::vector<ClientScene> client;
  std::vector<ServerScene> server;
  std::optional<RingVector> masked_sum;
  std::vector<int64_t> sum;

 private:
  template <typename MessageFor, typename Answer>
  void Exchange(ServerSession& server, const MessageFor& message_for, const Answer& answer_of);
};

// By `number`, modulo 3: complete graphs of four in both modes, and a ring. Made when first asked
// for; a ring takes seconds.
Attempt& AttemptOf(uint8_t number);

// The message with the id of this attempt in its place (kind, then id), so that a search need not
// guess 32 bytes: `sid0` for the messages that come before a roster.
std::string WithId(std::string_view message, const Bytes32& sid0, const Bytes32& sid);

}  // namespace rivulet::secagg

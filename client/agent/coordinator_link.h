#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "client/session/session.h"

namespace rivulet {

// What the agent says of itself when it connects.
struct AgentFacts {
  std::vector<std::string> datasets;
  std::vector<std::string> base_models;
  uint64_t memory_bytes = 0;
  uint32_t cores = 0;
};

// The way to the coordinator. Implemented over gRPC by client/rpc; by memory in tests. Thread safe.
class CoordinatorLink {
 public:
  using Sink = std::function<void(SessionEvent)>;  // may be called from any thread

  virtual ~CoordinatorLink() = default;
  // Connects and says Hello. Gives Welcomed, Assigned, Cancelled, MaskingArrived, Drained, Reported
  // as they come and, exactly once, StreamLost. Closes the connection before it.
  virtual void Open(const AgentFacts& facts, Sink sink) = 0;
  // Ends the stream and every transfer. StreamLost has been given when it returns, and the sink is
  // not called afterwards: its owner may die. The sink itself must not call it.
  virtual void Close() = 0;
  virtual void Report(const Outcome& outcome) = 0;
  // A message of secure aggregation. Lost when there is no connection: the coordinator asks again.
  virtual void SendMasking(const TaskKey& key, const std::string& bytes) {}
  virtual void Beat(const std::string& activity) = 0;

  // Blocking; Cancelled as soon as `stop` is requested or the link closed. Appends to `partial`
  // from where it ends until it holds the bytes [from, bytes) of the blob.
  virtual absl::Status Download(const std::string& sha256, uint64_t bytes,
                                const std::filesystem::path& partial, std::stop_token stop = {},
                                uint64_t from = 0) = 0;
  // Blocking; Cancelled when the link is closed. Sends what the coordinator does not have yet of
  // `file`, which has the outcome's size and hash; OK once it has given its receipt.
  virtual absl::Status Upload(const Outcome& outcome, std::string_view file) = 0;
};

}  // namespace rivulet

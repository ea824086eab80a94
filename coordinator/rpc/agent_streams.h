#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/status.h"
#include "coordinator/rounds/client_gateway.h"
#include "rivulet/v1/federation.pb.h"

namespace rivulet {

class Federation;

// The stream of one connected agent, as the registry sees it. Thread safe.
class AgentStream {
 public:
  virtual ~AgentStream() = default;
  // Returns at once; dropped once ended. A task comes with its job's document, which goes out only
  // where the last task on this stream had another.
  virtual void Push(v1::CoordinatorMessage message) = 0;
  // A message that is no task, as ToBytes gave it. Whoever else was given the same holds no copy.
  virtual void PushBytes(const grpc::ByteBuffer& message) = 0;
  virtual void End(const absl::Status& status) = 0;  // returns at once
};

// What is known of a connected agent beyond the federation's own view.
struct AgentDetails {
  std::string organisation;
  std::string software;
  int64_t certificate_expiry_s = 0;
  std::string certificate_serial;  // hex, as the file of revoked ones wants it
};

// Which agent is reachable over which stream; carries the federation's tasks. Thread safe.
class AgentStreams : public ClientGateway {
 public:
  // Once, before the server starts. Both must outlive this object's use.
  void Attach(Federation& federation) { federation_ = &federation; }

  // `stream` serves this client from now on; an older one ends with ABORTED.
  void Join(const ClientFacts& facts, AgentDetails details, AgentStream& stream);
  // Before `stream` is destroyed. The client is disconnected unless a newer stream took over.
  void Leave(const std::string& client, AgentStream& stream);

  // Asks every agent to come back later and refuses new ones.
  void Drain(std::chrono::milliseconds reconnect_after);
  bool draining() const;
  size_t size() const;
  std::map<std::string, AgentDetails> details() const;

  void Send(const std::string& client, const ClientTask& task) override;
  void Cancel(const std::string& client, const std::string& job_id, uint64_t round,
              uint32_t attempt, const std::string& reason) override;
  // Certificates beyond those that one message may have go ahead in messages of their own.
  void Tell(const std::vector<std::string>& clients, const MaskingMessage& message) override;

 private:
  void Push(const std::string& client, v1::CoordinatorMessage message);
  void PushToAll(const std::vector<std::string>& clients, const grpc::ByteBuffer& message);

  // Order of locks: membership_, the federation's own, streams_mutex_. Send holds the federation's.
  std::mutex membership_;
  mutable std::mutex streams_mutex_;
  std::map<std::string, AgentStream*> streams_;
  std::map<std::string, AgentDetails> details_;
  bool draining_ = false;
  Federation* federation_ = nullptr;
};

v1::Task ToWire(const ClientTask& task);
// As it goes out. Copies of it, and what gRPC queues of it, are references to the same bytes.
grpc::ByteBuffer ToBytes(const v1::CoordinatorMessage& message);

}  // namespace rivulet

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/runtime/masked_task.h"
#include "client/runtime/task_runner.h"
#include "coordinator/rounds/client_gateway.h"
#include "simulations/engine/drop_out.h"

namespace rivulet {

class Federation;

// What simulated clients are and do under masks: a key pair each, and the tasks in hand. They trust
// each other's keys without certificates. Thread safe.
class MaskedClients : private secagg::CertificateDirectory {
 public:
  using TaskKey = std::pair<std::string, std::string>;  // client, attempt
  // Uploads a masked file through the ordinary path.
  using Upload = std::function<absl::Status(const std::string& client, const ClientTask& task,
                                            const LocalUpdate& update)>;

  // Whether a client vanishes instead of sending what comes next. It is heard of no more then.
  using Vanishes =
      std::function<bool(const std::string& client, const ClientTask& task, DropPoint next)>;

  // `runner` keeps what the clients' vectors could not carry; it must outlive this.
  MaskedClients(std::vector<std::string> clients, TaskRunner& runner, Upload upload,
                Vanishes vanishes);
  ~MaskedClients() override;

  // Fills in who the client is.
  void Introduce(ClientFacts& facts) const;

  // Each talks to `federation`, outside the caller's locks. Errors: the task's own.
  absl::Status Begin(Federation& federation, const std::string& client, const ClientTask& task);
  absl::Status Trained(const std::string& client, const ClientTask& task, LocalUpdate update);
  absl::Status On(Federation& federation, const std::string& client, const MaskingMessage& message);
  // The task of this attempt and what its directions follow from, once masks are agreed and once
  // only.
  std::optional<std::pair<ClientTask, uint64_t>> TakeAgreed(const std::string& client,
                                                            const MaskingMessage& message);
  void Forget(const std::string& client, const std::string& job, uint64_t round, uint32_t attempt);

 private:
  struct Client;
  struct Task;
  absl::StatusOr<secagg::MemberCertificate> Find(const Bytes32& fingerprint) override;
  std::shared_ptr<Task> TaskOf(const std::string& client, const std::string& job, uint64_t round,
                               uint32_t attempt) const;
  absl::Status DeliverWhenReady(const std::string& client, Task& task);

  TaskRunner& runner_;
  const Upload upload_;
  const Vanishes vanishes_;
  std::map<std::string, std::unique_ptr<Client>> clients_;
  std::map<Bytes32, const Client*> by_fingerprint_;
  mutable std::mutex mutex_;                            // of tasks_
  std::map<std::string, std::shared_ptr<Task>> tasks_;  // by client: the attempt in hand
};

}  // namespace rivulet

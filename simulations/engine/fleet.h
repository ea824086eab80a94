#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/runtime/task_runner.h"
#include "coordinator/rounds/client_gateway.h"
#include "coordinator/rounds/federation.h"
#include "simulations/engine/drop_out.h"
#include "simulations/engine/masked_clients.h"

namespace rivulet {

struct FleetConfig {
  int workers = 1;  // tasks at once, > 0
  // Chance that a client vanishes from a round (drop_out.h).
  double drop_rate = 0.0;
  uint64_t seed = 0;
  bool pooled = false;        // scalars.pool > 0
  double backprop_share = 0;  // of clients that project their gradient, drawn from seed and name
  bool by_amplitude = false;  // scalars.pool-choice
  bool of_session = false;    // scalars.drawn-from = "session": masks are agreed before training
  bool two_passes = false;    // InTwoPasses
  bool averages = false;      // KeepsAverage
};

// `asked`, or with 0 as many as keep the cores busy when each computes with `threads`.
int WorkersOf(int asked, int threads);

// Simulated clients in one process: takes the federation's tasks as a gRPC gateway would and works
// them off on a few threads with the agent's own TaskRunner. Uploads pass through the federation's
// ordinary, checked path.
class Fleet : public ClientGateway {
 public:
  Fleet(FleetConfig config, TaskRunner& runner);
  ~Fleet() override;

  // Starts the threads. `federation` must outlive Stop().
  void Start(Federation& federation);
  // Finishes running tasks (cancelled at their next step) and joins.
  void Stop();

  void Send(const std::string& client, const ClientTask& task) override;
  void Cancel(const std::string& client, const std::string& job_id, uint64_t round,
              uint32_t attempt, const std::string& reason) override;
  void Tell(const std::vector<std::string>& clients, const MaskingMessage& message) override;

  // Before Start, when the job masks its updates.
  void Mask(std::vector<std::string> clients);
  void Introduce(ClientFacts& facts) const;  // who the client is under masks

  uint64_t trained_tokens() const { return trained_tokens_; }

 private:
  enum class Kind { kTask, kBegin, kMessage };
  struct Order {
    Kind kind = Kind::kTask;
    std::string client;
    ClientTask task;
    std::shared_ptr<const MaskingMessage> message;  // one for all whom it goes to
    std::optional<uint64_t> session_root;
    std::atomic<bool> cancelled{false};
  };

  void Work();
  std::shared_ptr<Order> Next();  // null when stopping
  void Perform(Order& order);
  absl::Status Do(Order& order);
  void Post(std::shared_ptr<Order> order);
  void PostTask(const std::string& client, const ClientTask& task,
                std::optional<uint64_t> session_root = {});
  absl::Status Begin(Order& order);
  absl::Status Hear(Order& order);
  absl::Status Upload(const std::string& client, const ClientTask& task, const LocalUpdate& update);
  absl::Status Train(Order& order, const StateFile& state);
  absl::Status Evaluate(Order& order, const StateFile& state);
  LocalTask LocalOf(const Order& order) const;
  absl::StatusOr<std::shared_ptr<const std::string>> StateOf(const Order& order);
  absl::StatusOr<std::string> ReadState(const Order& order, bool by_log, const BlobReader* reader);
  absl::StatusOr<std::string> ReadUncounted(const Order& order, const std::string& sha256);
  absl::StatusOr<std::string> MakeFromSnapshot(const Order& order);
  std::optional<uint64_t> MissingLog(const Order& order);
  std::optional<DropPoint> DropPointOf(const std::string& client, const ClientTask& task) const;
  // Whether its client vanishes instead of working on an order, or has before it.
  bool Drops(const Order& order);
  void ReportDrop(const std::string& client, const ClientTask& task);

  FleetConfig config_;
  TaskRunner& runner_;
  Federation* federation_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Order>> queue_;
  std::deque<std::shared_ptr<Order>> messages_;  // go first: others wait for them
  std::unique_ptr<MaskedClients> masked_;
  std::vector<std::shared_ptr<Order>> running_;
  bool stopping_ = false;
  std::pair<std::string, std::shared_ptr<const std::string>>
      state_;                                  // the last one read, by its hash
  std::mutex reading_;                         // held while a state is read or made: by one for all
  std::map<std::string, uint64_t> positions_;  // of clients' states in the log of coefficients
  std::map<std::string, uint64_t> averages_;   // and of the averages that they have
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> trained_tokens_{0};
};

}  // namespace rivulet

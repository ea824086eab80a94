#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/server_optimizer.h"
#include "common/formats/safetensors_writer.h"
#include "common/random.h"
#include "coordinator/rounds/federation.h"

namespace rivulet {

// A job that needs no model: ten numbers, whose document is the text of its few keys.
inline Manifest ToyManifest() { return {{"a", DType::kF32, {4}}, {"b", DType::kF32, {3, 2}}}; }

inline JobSpec ToySpec() {
  JobSpec spec;
  spec.job.name = "toy";
  spec.job.num_rounds = 3;
  spec.job.min_clients = 2;
  spec.job.min_available_clients = 3;
  spec.job.seed = 7;
  spec.job.round_deadline = std::chrono::seconds(100);
  spec.job.start_deadline = std::chrono::seconds(1000);
  spec.strategy.weighting = "tokens";
  return spec;
}

// The same by coefficients.
inline JobSpec ScalarToy() {
  JobSpec spec = ToySpec();
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.learning_rate = 0.5;
  spec.train.max_steps = 1;
  spec.scalars.enabled = true;
  return spec;
}

// Plans `spec` for any document; `initial` starts at small whole numbers. A document "base
// <sha256>" makes the first tensor start from the file of that name.
inline JobPlanner ToyPlanner(JobSpec spec, Manifest manifest = ToyManifest()) {
  return [spec, manifest](std::string_view document) -> absl::StatusOr<JobPlan> {
    if (document.empty()) {
      return Refuse(absl::StatusCode::kInvalidArgument, "document: got nothing, want a job");
    }
    JobPlan plan;
    plan.spec = spec;
    plan.manifest = manifest;
    plan.scalars = ScalarForm::Of(spec, manifest);
    if (document.starts_with("base ")) {
      plan.from_base = {manifest[0]};
      plan.base_tensors = document.substr(5);
    }
    plan.initial = [manifest](const ParameterSet& from_base) -> absl::StatusOr<ParameterSet> {
      ParameterSet state(manifest);
      for (size_t row = 0; row < state.size(); ++row) {
        for (size_t at = 0; at < state.floats(row).size(); ++at) {
          state.floats(row)[at] = static_cast<float>(row + at);
        }
      }
      if (!from_base.empty()) {
        std::copy(from_base.floats(0).begin(), from_base.floats(0).end(), state.floats(0).begin());
      }
      return state;
    };
    return plan;
  };
}

inline SpecReader ToyReader(JobSpec spec) {
  return [spec](std::string_view) { return spec; };
}

struct ToyUpdate {
  std::string file;
  int64_t tokens = 0;
  ParameterSet delta;
};

// What a client makes of a round: a pure function of its name, the round and the state it got.
inline ToyUpdate ToyTrain(const std::string& client, uint64_t round,
                          const std::string& state_sha256,
                          const Manifest& manifest = ToyManifest()) {
  ToyUpdate update{"", 0, ParameterSet(manifest)};
  RandomCursor cursor(
      RandomStream(RootOf(1, round, client + state_sha256), Purpose::kDataOrder, 0));
  for (size_t row = 0; row < update.delta.size(); ++row) {
    for (float& value : update.delta.floats(row)) {
      value = (static_cast<float>(cursor.Bounded(2001)) - 1000) / 1024;
    }
  }
  update.tokens = 1 + cursor.Bounded(99);
  update.file = SafetensorsBytes(update.delta);
  return update;
}

// The toy update with tensor b in front of a: another order in the file, the same update.
inline std::string Reordered(const ParameterSet& delta) {
  std::string header = R"({"b":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},)"
                       R"("a":{"dtype":"F32","shape":[4],"data_offsets":[24,40]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += header;
  for (const size_t row : {size_t{1}, size_t{0}}) {
    const std::span<const std::byte> bytes = delta.bytes(row);
    file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return file;
}

inline UpdateHeader ToyHeader(const ClientTask& task, const ToyUpdate& update) {
  UpdateHeader header;
  header.job_id = task.job_id;
  header.round = task.round;
  header.attempt = task.attempt;
  header.sha256 = Sha256Hex(update.file);
  header.bytes = update.file.size();
  header.examples = 1;
  header.tokens = update.tokens;
  header.steps = 1;
  header.loss = 2.0 / static_cast<double>(task.round);
  header.grad_norm = static_cast<double>(update.tokens) / 4;
  return header;
}

inline absl::StatusOr<Receipt> ToyUpload(Federation& federation, const std::string& client,
                                         const ClientTask& task, const ToyUpdate& update) {
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<UploadSession> session,
                      federation.BeginUpload(client, ToyHeader(task, update)));
  if (session->receipt()) return *session->receipt();
  const uint64_t from = session->committed();
  RV_RETURN_IF_ERROR(session->Append(from, std::as_bytes(std::span(update.file)).subspan(from)));
  return session->Finish();
}

// Remembers what was sent; the test decides who works on it and when.
class ToyGateway : public ClientGateway {
 public:
  struct Order {
    std::string client;
    ClientTask task;
  };
  void Send(const std::string& client, const ClientTask& task) override {
    orders.push_back({client, task});
    ++sent;
  }
  void Cancel(const std::string& client, const std::string& job, uint64_t round, uint32_t attempt,
              const std::string& reason) override {
    std::erase_if(orders, [&](const Order& order) {
      return order.client == client && order.task.job_id == job && order.task.round == round &&
             order.task.attempt == attempt;
    });
    cancelled.push_back(client + ": " + reason);
  }

  std::deque<Order> orders;
  std::vector<std::string> cancelled;
  int sent = 0;
};

inline ClientFacts ToyClient(const std::string& name) {
  ClientFacts facts;
  facts.name = name;
  return facts;
}

// Does one order as an honest client would.
inline absl::Status ToyWork(Federation& federation, const ToyGateway::Order& order,
                            const Manifest& manifest = ToyManifest()) {
  if (order.task.kind == ClientTask::Kind::kEvaluate) {
    return federation.ReportEvaluation(order.client, order.task.job_id, order.task.round,
                                       {int64_t{3} << 20, 2, 1});
  }
  return ToyUpload(federation, order.client, order.task,
                   ToyTrain(order.client, order.task.round, order.task.state_sha256, manifest))
      .status();
}

// Works until nothing is left to do.
inline absl::Status ToyRun(Federation& federation, ToyGateway& gateway,
                           const Manifest& manifest = ToyManifest()) {
  while (true) {
    federation.Tick();
    if (gateway.orders.empty()) return absl::OkStatus();
    const ToyGateway::Order order = gateway.orders.front();
    gateway.orders.pop_front();
    RV_RETURN_IF_ERROR(ToyWork(federation, order, manifest));
  }
}

}  // namespace rivulet

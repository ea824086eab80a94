#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/scalars/log_position.h"

namespace rivulet {

// What an agent is asked to do. Small: no tensors. The agent fetches the global state by its hash
// and computes manifest and initial values from the job document.
struct ClientTask {
  enum class Kind { kTrain = 1, kEvaluate = 2 };
  Kind kind = Kind::kTrain;
  std::string job_id;
  uint64_t round = 0;        // training: from 1; evaluation: the round whose result is evaluated
  uint32_t attempt = 0;      // training: from 1; evaluation: 0
  std::string job_document;  // canonical JSON
  std::string job_sha256;    // of the document, 64 hex digits
  std::string state_sha256;  // blob: safetensors of the global state, 64 hex digits
  uint64_t state_bytes = 0;
  std::chrono::milliseconds deadline{0};  // what is left of it when the task is sent
  uint64_t epoch = 0;                     // of the coordinator's start; never goes back
  std::string masking;                    // training under masks: masking/task_terms.h
  // Where clients can make the state for themselves; in a second pass the mean of the first.
  std::optional<StateLog> log;
  std::string choice;  // training with scalars.candidates: ScalarRound::choice
};

// What an agent says of itself when it connects.
struct ClientFacts {
  std::string name;                      // from the verified certificate
  std::vector<std::string> datasets;     // logical names its policy offers
  std::vector<std::string> base_models;  // "sha256:<hex>"
  uint64_t memory_bytes = 0;             // 0 = not said
  int cores = 0;
  std::string version;
  // Of its verified certificate; empty where there is none (--insecure), and then it takes part in
  // no masked round.
  std::string certificate;  // PEM, the leaf
  std::string fingerprint;  // 32 bytes: SHA-256 of its DER form
  std::string signing_key;  // 32 bytes: Ed25519, raw
  std::string organisation;
};

// A message of secure aggregation (privacy/secagg/shared/messages.h).
struct MaskingMessage {
  std::string job_id;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string bytes;
  std::vector<std::string> certificates;  // PEM, of the clients that it speaks of
};

// Carries tasks to agents. Implemented by coordinator/rpc and by the simulation. Called with the
// federation's lock held: must return at once and must not call back into it. A task for a client
// that is gone may be dropped: the federation sends it again when the client returns.
class ClientGateway {
 public:
  virtual ~ClientGateway() = default;
  virtual void Send(const std::string& client, const ClientTask& task) = 0;
  // The task is no longer wanted (closed, abandoned, stopped: `reason` is a sentence).
  virtual void Cancel(const std::string& client, const std::string& job_id, uint64_t round,
                      uint32_t attempt, const std::string& reason) = 0;
  // To each of `clients`; held once, however many they are. Lost when a client is gone: it is said
  // again when it returns.
  virtual void Tell(const std::vector<std::string>& clients, const MaskingMessage& message) {}
};

}  // namespace rivulet

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "client/session/session.h"
#include "client/upload/update_encoder.h"

namespace rivulet {

struct WorkResult {
  Outcome outcome;                     // kTrained without hash and size, or kEvaluated
  std::string file;                    // trained: the update
  UpdateEncoder::MaskedExtras masked;  // trained, of a job under masks
};

// The computing part of a task, behind which libtorch lies. Called from one thread at a time.
class LocalWork {
 public:
  virtual ~LocalWork() = default;
  // Before the global state is fetched. Errors: those of CheckTask.
  virtual absl::Status Check(const Assignment& task) = 0;
  // From which byte on the task's log is needed to make the state here; nothing where the state
  // must be fetched.
  virtual std::optional<uint64_t> MissingLog(const Assignment&) { return std::nullopt; }
  // The state's file, made by the bytes of the log from there on; or, where `snapshot` is not
  // empty, from that file of the log's snapshot by those since. Errors: any; the state is fetched
  // then.
  virtual absl::StatusOr<std::string> CatchUp(const Assignment&, std::string_view rest,
                                              std::string_view snapshot,
                                              const std::function<bool()>& cancelled) {
    return Refuse(absl::StatusCode::kUnimplemented, "no log is replayed here");
  }
  // Whether Do needs the log itself, which is not here: TakeLog first.
  virtual bool LacksLog(const Assignment&) { return false; }
  // Errors: DataLoss for other bytes than the whole of the task's log.
  virtual absl::Status TakeLog(const Assignment&, std::string_view) { return absl::OkStatus(); }
  // `state`: safetensors of the global state, which may be kept; not null. Errors: those of Check;
  // Aborted (cancelled); ResourceExhausted (memory); any other is a failed task.
  virtual absl::StatusOr<WorkResult> Do(const Assignment& task,
                                        std::shared_ptr<const std::string> state,
                                        const std::function<bool()>& cancelled) = 0;
  // The coordinator has the update of this task; perhaps said again. From another thread than Do.
  virtual void Accepted(const TaskKey&) {}
  // Its masked vector is made: what that could not carry is in `made`, for the next one.
  virtual void Propose(const TaskKey&, const UpdateEncoder::MaskedExtras& made) {}
};

}  // namespace rivulet

#pragma once

#include <string>

#include "client/session/session.h"
#include "rivulet/v1/federation.pb.h"

namespace rivulet {

TaskKey KeyOf(const v1::TaskKey& wire);

// The last job document that a stream brought: later tasks of the job come without it. A stream
// begins with none. Not thread safe.
class KeptDocument {
 public:
  // The document of this task. Errors: InvalidArgument (a hash that is not 32 bytes; a document of
  // another hash, of more than 4 MiB, or missing and not the one kept); what was kept stays then.
  absl::StatusOr<std::string> Of(const v1::Task& wire);

 private:
  std::string sha256_;  // 32 bytes; empty: none
  std::string document_;
};

// A task as the coordinator sends it; the job document in it is not read yet (CheckTask does).
// Errors name what is wrong with the message, and nothing of this machine: Unimplemented (a kind of
// work unknown here); InvalidArgument (a hash that is not 32 bytes, parameters of more than 4 KiB);
// those of KeptDocument, which keeps the document of a task that is refused for something else.
absl::StatusOr<Assignment> AssignmentOf(const v1::Task& wire, KeptDocument& kept);

// A message of secure aggregation as the coordinator sends it. Errors: InvalidArgument beyond the
// limits of federation.proto.
absl::StatusOr<MaskingArrived> MaskingArrivedOf(const v1::Masking& wire);

}  // namespace rivulet

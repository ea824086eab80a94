#pragma once

#include "client/session/session.h"
#include "rivulet/v1/federation.pb.h"

namespace rivulet {

TaskKey KeyOf(const v1::TaskKey& wire);

// A task as the coordinator sends it; the job document in it is not read yet (CheckTask does).
// Errors name what is wrong with the message, and nothing of this machine: Unimplemented (a kind of
// work unknown here); InvalidArgument (a hash that is not 32 bytes, a document of more than 4 MiB,
// parameters of more than 4 KiB).
absl::StatusOr<Assignment> AssignmentOf(const v1::Task& wire);

// A message of secure aggregation as the coordinator sends it. Errors: InvalidArgument beyond the
// limits of federation.proto.
absl::StatusOr<MaskingArrived> MaskingArrivedOf(const v1::Masking& wire);

}  // namespace rivulet

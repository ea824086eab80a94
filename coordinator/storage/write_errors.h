#pragma once

#include <string>
#include <string_view>

#include "coordinator/storage/state_store.h"

namespace rivulet {

// What both stores answer, word for word, so that one contract suite holds them.
inline std::string RoundName(std::string_view job, uint64_t round, uint32_t attempt) {
  return "job " + std::string(job) + " round " + std::to_string(round) + " attempt " +
         std::to_string(attempt);
}
inline absl::Status Taken(const std::string& what) {
  return Refuse(absl::StatusCode::kAlreadyExists, what + ": already stored");
}
inline absl::Status WrongState(const std::string& what, std::string_view got,
                               std::string_view want) {
  return Refuse(absl::StatusCode::kFailedPrecondition,
                what + ": got state " + std::string(got) + ", want " + std::string(want));
}
inline absl::Status Missing(const std::string& what) {
  return Refuse(absl::StatusCode::kFailedPrecondition, what + ": not stored");
}

}  // namespace rivulet

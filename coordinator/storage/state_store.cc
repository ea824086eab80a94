#include "coordinator/storage/state_store.h"

namespace rivulet {

std::string_view NameOf(JobState state) {
  switch (state) {
    case JobState::kActive:
      return "active";
    case JobState::kStopping:
      return "stopping";
    case JobState::kFinished:
      return "finished";
    case JobState::kFailed:
      return "failed";
    case JobState::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view NameOf(RoundState state) {
  switch (state) {
    case RoundState::kOpen:
      return "open";
    case RoundState::kClosed:
      return "closed";
    case RoundState::kDone:
      return "done";
    case RoundState::kAbandoned:
      return "abandoned";
  }
  return "unknown";
}

}  // namespace rivulet

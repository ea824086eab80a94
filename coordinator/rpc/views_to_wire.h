#pragma once

#include "coordinator/rounds/job_view.h"
#include "rivulet/v1/operations.pb.h"

namespace rivulet {

// At most about `max_bytes` (the document aside): the newest rounds and evaluations that fit, and
// how many older ones were left out.
inline constexpr size_t kMaxHistoryBytes = size_t{3} << 19;  // 1.5 MiB; a document has up to 2
v1::Job ToWire(const JobView& view, size_t max_bytes = kMaxHistoryBytes);
// The newest jobs that fit into `max_bytes`, newest last.
v1::ListReply ToWire(const std::vector<JobView>& views, size_t max_bytes = size_t{3} << 20);
v1::JobEvent ToWire(const JobEvent& event);

}  // namespace rivulet

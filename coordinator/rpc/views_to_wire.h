#pragma once

#include "coordinator/rounds/job_view.h"
#include "rivulet/v1/operations.pb.h"

namespace rivulet {

v1::Job ToWire(const JobView& view);
v1::JobEvent ToWire(const JobEvent& event);

}  // namespace rivulet

#pragma once

#include "common/terminal/progress.h"
#include "coordinator/rounds/job_view.h"

namespace rivulet {

// What the live line says of a run.
ProgressState ProgressOf(const JobView& view);

}  // namespace rivulet

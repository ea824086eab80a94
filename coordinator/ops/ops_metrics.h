#pragma once

#include <string>

#include "coordinator/ops/round_metrics.h"
#include "coordinator/rpc/service_context.h"

namespace rivulet {

// The page of /metrics. No label is unbounded: never a client's name; jobs leave an hour after
// their end.
std::string MetricsPage(const ServiceContext& service, const Clock& clock, RoundMetrics& rounds);

}  // namespace rivulet

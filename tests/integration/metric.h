#pragma once

#include <httplib.h>

#include <string>

#include "tests/integration/deployment.h"
#include "tests/integration/prometheus_text.h"

namespace rivulet {

// A sample of the coordinator's /metrics; -1 when there is no answer.
inline double Metric(const Deployment& deployment, const std::string& name) {
  const auto reply = httplib::Client("http://" + deployment.ops_address()).Get("/metrics");
  return reply ? ParseMetrics(reply->body).samples[name] : -1;
}

}  // namespace rivulet

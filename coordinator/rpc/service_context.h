#pragma once

#include <map>
#include <mutex>
#include <string>

#include "coordinator/rounds/federation.h"
#include "coordinator/rpc/access.h"
#include "coordinator/rpc/agent_streams.h"
#include "coordinator/rpc/report_queue.h"
#include "coordinator/rpc/traffic.h"
#include "coordinator/rpc/upload_ledger.h"
#include "coordinator/rpc/worker_pool.h"

namespace rivulet {

// What every rpc needs. All must outlive the server.
struct ServiceContext {
  Federation& federation;
  BlobStore& blobs;
  AgentStreams& streams;
  Access& access;
  WorkerPool& workers;
  ReportQueue& reports;
  Traffic& traffic;
  uint32_t heartbeat_seconds = 15;
  UploadLimits upload_limits = {};
  UploadLedger uploads{upload_limits};

  // Identity and right of a caller; a refusal is counted.
  absl::StatusOr<Identity> Caller(const grpc::ServerContextBase& context, Rpc rpc) {
    absl::StatusOr<Identity> caller = access.Check(context, rpc);
    if (!caller.ok()) ++traffic.calls_denied;
    return caller;
  }
};

}  // namespace rivulet

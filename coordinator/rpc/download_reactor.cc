#include <mutex>

#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/rpc/reactors.h"

namespace rivulet {
namespace {

// One chunk is read and written at a time: memory is a chunk, whatever the blob.
class DownloadReactor final : public grpc::ServerWriteReactor<v1::Chunk> {
 public:
  DownloadReactor(ServiceContext& service, grpc::CallbackServerContext& context,
                  const v1::DownloadRequest& request)
      : service_(service), context_(context), offset_(request.offset()) {
    const std::string hash = HexOfBytes(request.sha256());
    service_.workers.Post([this, hash] {
      if (const absl::Status status = Open(hash); !status.ok()) return End(status);
      Next(true);
    });
  }

  void OnWriteDone(bool ok) override {
    service_.workers.Post([this, ok] { Next(ok); });
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Open(const std::string& hash) {
    RV_ASSIGN_OR_RETURN(const Identity caller, service_.Caller(context_, Rpc::kDownload));
    RV_ASSIGN_OR_RETURN(blob_, service_.federation.OpenState(caller.name, hash, offset_));
    if (offset_ > blob_->size()) {
      return Refuse(absl::StatusCode::kOutOfRange, "offset: got " + std::to_string(offset_) +
                                                       ", want at most " +
                                                       std::to_string(blob_->size()));
    }
    return absl::OkStatus();
  }

  // `written`: the chunk before is with the agent, or there was none.
  void Next(bool written) {
    absl::StatusOr<bool> sent = absl::CancelledError("the agent is gone");
    {
      const std::lock_guard lock(mutex_);
      if (written) sent = SendChunk();
    }
    if (!sent.ok() || !*sent) End(sent.status());
  }

  // False at the end.
  absl::StatusOr<bool> SendChunk() {
    const uint64_t left = blob_->size() - offset_;
    if (left == 0) return false;
    std::string& data = *chunk_.mutable_data();
    data.resize(std::min(left, kChunkBytes));
    RV_RETURN_IF_ERROR(
        blob_->Read(offset_, std::as_writable_bytes(std::span(data.data(), data.size()))));
    chunk_.set_offset(offset_);
    offset_ += data.size();
    service_.traffic.downlink_bytes += data.size();
    StartWrite(&chunk_);
    return true;
  }

  void End(const absl::Status& status) { Finish(ToGrpc(status, context_)); }

  ServiceContext& service_;
  grpc::CallbackServerContext& context_;
  // One step at a time, on whatever thread. gRPC says that a chunk is written, or will never be,
  // while the step that wrote it may still be in StartWrite: who takes the lock has waited for its
  // end. A call is not ended under the lock, for that may delete this.
  std::mutex mutex_;
  uint64_t offset_;
  std::unique_ptr<BlobReader> blob_;
  v1::Chunk chunk_;
};

}  // namespace

grpc::ServerWriteReactor<v1::Chunk>* NewDownloadReactor(ServiceContext& service,
                                                        grpc::CallbackServerContext& context,
                                                        const v1::DownloadRequest& request) {
  return new DownloadReactor(service, context, request);
}

}  // namespace rivulet

#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "client/session/session.h"
#include "rivulet/v1/federation.grpc.pb.h"

namespace rivulet {

// One try each; what arrived stays, and the next try goes on there. A download is of the bytes
// [from, bytes) of the blob.
absl::Status DownloadBlob(v1::Federation::Stub& stub, grpc::ClientContext& context,
                          const std::string& sha256, uint64_t bytes,
                          const std::filesystem::path& partial, uint64_t from);
absl::Status UploadUpdate(v1::Federation::Stub& stub, grpc::ClientContext& context,
                          const Outcome& outcome, std::string_view file);

}  // namespace rivulet

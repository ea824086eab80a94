#include "coordinator/rounds/masked_upload.h"

#include <algorithm>
#include <cstring>

#include "common/io/sha256.h"
#include "privacy/secagg/shared/messages.h"

namespace rivulet {
namespace {

class MaskedUploadCheck final : public UploadCheck {
 public:
  MaskedUploadCheck(const secagg::Params& params, uint64_t file_bytes)
      : params_(params), file_bytes_(file_bytes) {}

  void Feed(std::span<const std::byte> bytes) override {
    const uint64_t packed = params_.packed_bytes();
    if (seen_ < packed) {
      const auto part = bytes.first(std::min<uint64_t>(packed - seen_, bytes.size()));
      hash_.Update(part);
      if (!part.empty()) last_ = part.back();
      seen_ += part.size();
      bytes = bytes.subspan(part.size());
    }
    const size_t room = kLargestTrailer - std::min<size_t>(trailer_.size(), kLargestTrailer);
    const auto rest = bytes.first(std::min(bytes.size(), room));
    trailer_.append(reinterpret_cast<const char*>(rest.data()), rest.size());
    seen_ += bytes.size();
  }

  absl::Status Finish() override {
    if (seen_ != file_bytes_) {
      return Refuse(absl::StatusCode::kDataLoss,
                    "update: got " + std::to_string(seen_) + " bytes to check, want " +
                        std::to_string(file_bytes_),
                    Remedy::kResync);
    }
    const auto trailer = secagg::Decode<secagg::MaskedTrailer>(trailer_);
    if (!trailer.ok()) return Wrong("trailer: " + std::string(trailer.status().message()));
    const Sha256Digest digest = hash_.Finish();
    if (std::memcmp(digest.data(), trailer->packed_sha256.data(), digest.size()) != 0) {
      return Wrong("got a vector with another SHA-256 than its trailer says");
    }
    const int used = static_cast<int>(params_.length() * params_.b % 8);
    if (used != 0 && (std::to_integer<unsigned>(last_) >> used) != 0) {
      return Wrong("got padding bits that are not zero");
    }
    return absl::OkStatus();
  }

  std::string_view trailer() const override { return trailer_; }

 private:
  // One bit for each of the 5,000 members at most.
  static constexpr size_t kLargestTrailer = 1024;

  static absl::Status Wrong(const std::string& what) {
    return Refuse(absl::StatusCode::kInvalidArgument, "masked update: " + what, Remedy::kLeaveRun);
  }

  const secagg::Params& params_;
  const uint64_t file_bytes_;
  uint64_t seen_ = 0;
  Sha256 hash_;
  std::byte last_{0};  // of the packed vector
  std::string trailer_;
};

}  // namespace

std::unique_ptr<UploadCheck> NewMaskedUploadCheck(const secagg::Params& params,
                                                  uint64_t file_bytes) {
  return std::make_unique<MaskedUploadCheck>(params, file_bytes);
}

absl::Status AddMaskedUpload(const BlobStore& blobs, const std::string& sha256,
                             const secagg::Params& params, secagg::RingVector& sum) {
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> blob, blobs.Open(sha256));
  std::string file(blob->size(), '\0');
  RV_RETURN_IF_ERROR(blob->Read(0, std::as_writable_bytes(std::span(file))));
  if (Sha256Hex(file) != sha256 || file.size() < params.packed_bytes()) {
    return WithExit(Refuse(absl::StatusCode::kDataLoss,
                           "blob " + sha256 + ": got other bytes than were acknowledged"),
                    ExitCode::kState);
  }
  return sum.AddPacked(std::string_view(file).substr(0, params.packed_bytes()));
}

}  // namespace rivulet

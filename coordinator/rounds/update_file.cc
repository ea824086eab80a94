#include "coordinator/rounds/update_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/formats/safetensors_header.h"

namespace rivulet {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{256} << 10;  // stays in the cache between its readers
constexpr uint64_t kUploadHeaderBytes = uint64_t{1} << 20;
constexpr uint64_t kOwnHeaderBytes = uint64_t{16} << 20;

struct Placed {
  size_t row;      // in the manifest
  uint64_t begin;  // in the file
};

absl::StatusOr<std::string> ReadHeaderText(const BlobReader& blob, SafetensorsProfile profile) {
  const uint64_t limit =
      profile == SafetensorsProfile::kUpload ? kUploadHeaderBytes : kOwnHeaderBytes;
  uint64_t length = 0;
  if (blob.size() < sizeof length) {
    return RefuseSafetensors(SafetensorsError::kHeaderTooSmall, "header too small");
  }
  RV_RETURN_IF_ERROR(blob.Read(0, std::as_writable_bytes(std::span(&length, 1))));
  if (length > limit) {
    return RefuseSafetensors(SafetensorsError::kHeaderTooLarge, "header too large");
  }
  if (length > blob.size() - sizeof length) {
    return RefuseSafetensors(SafetensorsError::kInvalidHeaderLength, "invalid header length");
  }
  std::string text(length, '\0');
  RV_RETURN_IF_ERROR(blob.Read(sizeof length, std::as_writable_bytes(std::span(text))));
  return text;
}

// Where each row of the manifest lies, in file order. Names, dtypes, shapes and offsets must leave
// no freedom: each tensor once, back to back, to the last byte.
absl::StatusOr<std::vector<Placed>> Place(SafetensorsHeader header, uint64_t data_begin,
                                          uint64_t file_bytes, const Manifest& manifest) {
  std::sort(header.entries.begin(), header.entries.end(),
            [](const HeaderEntry& a, const HeaderEntry& b) { return a.begin < b.begin; });
  Manifest got;
  uint64_t covered = 0;
  for (const HeaderEntry& entry : header.entries) {
    got.push_back({entry.name, entry.dtype, {entry.shape.begin(), entry.shape.end()}});
  }
  std::sort(got.begin(), got.end(),
            [](const TensorSpec& a, const TensorSpec& b) { return a.name < b.name; });
  RV_RETURN_IF_ERROR(SameManifest(got, manifest));
  std::vector<Placed> order;
  for (const HeaderEntry& entry : header.entries) {
    const auto row = std::lower_bound(
        manifest.begin(), manifest.end(), entry.name,
        [](const TensorSpec& spec, const std::string& name) { return spec.name < name; });
    if (entry.begin != covered || entry.end != covered + row->size_bytes()) {
      return RefuseSafetensors(SafetensorsError::kInvalidOffset,
                               "invalid offset for tensor `" + entry.name + "`");
    }
    order.push_back({static_cast<size_t>(row - manifest.begin()), data_begin + covered});
    covered = entry.end;
  }
  if (data_begin + covered != file_bytes) {
    return RefuseSafetensors(SafetensorsError::kMetadataIncompleteBuffer,
                             "got " + std::to_string(file_bytes) + " bytes, want " +
                                 std::to_string(data_begin + covered));
  }
  return order;
}

absl::Status StreamOne(const BlobReader& blob, const Placed& tensor, uint64_t bytes,
                       std::vector<float>& buffer, Sha256* hash, const PieceSink& sink) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t now = std::min(kPieceBytes, bytes - done);
    const std::span<float> piece(buffer.data(), now / sizeof(float));
    RV_RETURN_IF_ERROR(blob.Read(tensor.begin + done, std::as_writable_bytes(piece)));
    if (hash != nullptr) hash->Update(std::as_bytes(piece));
    RV_RETURN_IF_ERROR(sink(tensor.row, done / sizeof(float), piece));
    done += now;
  }
  return absl::OkStatus();
}

absl::Status RefuseValue(const TensorSpec& spec, size_t index, float value) {
  return Refuse(absl::StatusCode::kInvalidArgument,
                spec.name + "[" + std::to_string(index) + "]: got " + std::to_string(value) +
                    ", want a finite value below 128 in magnitude",
                Remedy::kLeaveRun);
}

}  // namespace

uint64_t LargestUpdateBytes(const Manifest& manifest) {
  return SizeBytesOf(manifest) + sizeof(uint64_t) + kUploadHeaderBytes;
}

absl::Status StreamTensors(const BlobReader& blob, const Manifest& manifest,
                           SafetensorsProfile profile, std::string_view sha256,
                           const PieceSink& sink) {
  RV_ASSIGN_OR_RETURN(const std::string text, ReadHeaderText(blob, profile));
  RV_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseHeader(text, profile));
  RV_ASSIGN_OR_RETURN(
      const std::vector<Placed> order,
      Place(std::move(header), sizeof(uint64_t) + text.size(), blob.size(), manifest));
  Sha256 hash;
  const uint64_t length = text.size();
  hash.Update(std::as_bytes(std::span(&length, 1)));
  hash.Update(text);
  std::vector<float> buffer(kPieceBytes / sizeof(float));
  for (const Placed& tensor : order) {
    RV_RETURN_IF_ERROR(StreamOne(blob, tensor, manifest[tensor.row].size_bytes(), buffer,
                                 sha256.empty() ? nullptr : &hash, sink));
  }
  if (sha256.empty()) return absl::OkStatus();
  const std::string got = HexOf(hash.Finish());
  if (got == sha256) return absl::OkStatus();
  return Refuse(absl::StatusCode::kDataLoss,
                "blob: got bytes with hash " + got + ", want " + std::string(sha256));
}

absl::Status CheckUpdate(const BlobReader& blob, const Manifest& manifest) {
  const auto check = [&](size_t row, size_t first, std::span<const float> values) {
    bool fits = true;
    for (const float value : values) fits &= std::fabs(value) < FixedPointSum::kValueLimit;
    if (fits) return absl::OkStatus();
    for (size_t position = 0; position < values.size(); ++position) {
      if (!(std::fabs(values[position]) < FixedPointSum::kValueLimit)) {
        return RefuseValue(manifest[row], first + position, values[position]);
      }
    }
    return absl::OkStatus();
  };
  absl::Status status = StreamTensors(blob, manifest, SafetensorsProfile::kUpload, "", check);
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  return Refuse(status.code(), "update: " + std::string(status.message()), Remedy::kLeaveRun);
}

absl::StatusOr<ParameterSet> ReadOwnState(const BlobStore& blobs, const std::string& sha256,
                                          const Manifest& manifest) {
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> blob, blobs.Open(sha256));
  ParameterSet state(manifest);
  const auto copy = [&](size_t row, size_t first, std::span<const float> values) {
    std::copy(values.begin(), values.end(), state.floats(row).subspan(first).begin());
    return absl::OkStatus();
  };
  RV_RETURN_IF_ERROR(Annotate(
      StreamTensors(*blob, manifest, SafetensorsProfile::kBaseModel, sha256, copy), "state"));
  return state;
}

}  // namespace rivulet

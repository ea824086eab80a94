#include "coordinator/rounds/update_layout.h"

#include <algorithm>
#include <span>
#include <utility>

#include "common/formats/safetensors_header.h"

namespace rivulet {
namespace {

constexpr uint64_t kUploadHeaderBytes = uint64_t{1} << 20;
constexpr uint64_t kOwnHeaderBytes = uint64_t{16} << 20;

// Where each row of the manifest lies, in file order. Names, dtypes, shapes and offsets must leave
// no freedom: each tensor once, back to back, to the last byte.
absl::StatusOr<std::vector<PlacedTensor>> Place(SafetensorsHeader header, uint64_t data_begin,
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
  std::vector<PlacedTensor> order;
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

}  // namespace

uint64_t LargestUpdateBytes(const Manifest& manifest) {
  return SizeBytesOf(manifest) + sizeof(uint64_t) + kUploadHeaderBytes;
}

absl::Status CheckHeaderLength(uint64_t length, uint64_t file_bytes, SafetensorsProfile profile) {
  const uint64_t limit =
      profile == SafetensorsProfile::kUpload ? kUploadHeaderBytes : kOwnHeaderBytes;
  if (length > limit) {
    return RefuseSafetensors(SafetensorsError::kHeaderTooLarge, "header too large");
  }
  if (length > file_bytes - sizeof length) {
    return RefuseSafetensors(SafetensorsError::kInvalidHeaderLength, "invalid header length");
  }
  return absl::OkStatus();
}

absl::StatusOr<UpdateLayout> LayoutOf(std::string_view header_text, uint64_t file_bytes,
                                      const Manifest& manifest, SafetensorsProfile profile) {
  RV_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseHeader(header_text, profile));
  UpdateLayout layout;
  layout.data_begin = sizeof(uint64_t) + header_text.size();
  RV_ASSIGN_OR_RETURN(layout.order,
                      Place(std::move(header), layout.data_begin, file_bytes, manifest));
  return layout;
}

absl::StatusOr<std::string> ReadHeaderText(const BlobReader& blob, SafetensorsProfile profile) {
  uint64_t length = 0;
  if (blob.size() < sizeof length) {
    return RefuseSafetensors(SafetensorsError::kHeaderTooSmall, "header too small");
  }
  RV_RETURN_IF_ERROR(blob.Read(0, std::as_writable_bytes(std::span(&length, 1))));
  RV_RETURN_IF_ERROR(CheckHeaderLength(length, blob.size(), profile));
  std::string text(length, '\0');
  RV_RETURN_IF_ERROR(blob.Read(sizeof length, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace rivulet

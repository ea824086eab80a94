#include "common/formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <tuple>

#include "common/formats/safetensors_header.h"

namespace rivulet {
namespace {

constexpr uint64_t kReferenceHeaderLimit = 100'000'000;
constexpr uint64_t kMaxDimension = uint64_t{1} << 31;

uint64_t HeaderLimit(SafetensorsProfile profile) {
  return profile == SafetensorsProfile::kBaseModel ? 16 << 20 : 1 << 20;
}

// The length field, checked against the file.
absl::StatusOr<uint64_t> HeaderLength(std::span<const std::byte> file, SafetensorsProfile profile) {
  if (file.size() < 8)
    return RefuseSafetensors(SafetensorsError::kHeaderTooSmall, "header too small");
  uint64_t length = 0;
  for (int byte = 0; byte < 8; ++byte) length |= static_cast<uint64_t>(file[byte]) << (8 * byte);
  if (length > kReferenceHeaderLimit)
    return RefuseSafetensors(SafetensorsError::kHeaderTooLarge, "header too large");
  if (length > file.size() - 8)
    return RefuseSafetensors(SafetensorsError::kInvalidHeaderLength, "invalid header length");
  if (length > HeaderLimit(profile))
    return RefuseSafetensors(SafetensorsError::kStricterRule,
                             "header: got " + std::to_string(length) + " bytes, want at most " +
                                 std::to_string(HeaderLimit(profile)));
  return length;
}

// Bytes that the shape asks for, in the reference's order of checks.
absl::StatusOr<uint64_t> SizeOf(const HeaderEntry& entry) {
  uint64_t bits = 1;
  bool overflow = false;
  for (uint64_t dim : entry.shape) overflow |= __builtin_mul_overflow(bits, dim, &bits);
  overflow |= __builtin_mul_overflow(bits, static_cast<uint64_t>(BitsOf(entry.dtype)), &bits);
  if (overflow)
    return RefuseSafetensors(SafetensorsError::kValidationOverflow,
                             "overflow computing buffer size from shape and/or element type");
  if (bits % 8 != 0)
    return RefuseSafetensors(SafetensorsError::kMisalignedSlice,
                             "The slice is slicing for subbytes dtypes, and the slice does not end "
                             "up at a byte boundary, this is invalid.");
  return bits / 8;
}

// Entries sorted by offset must follow each other without hole or overlap.
absl::StatusOr<uint64_t> CheckCoverage(const std::vector<HeaderEntry>& entries) {
  uint64_t previous = 0;
  for (const HeaderEntry& entry : entries) {
    if (entry.begin != previous || entry.end < entry.begin)
      return RefuseSafetensors(SafetensorsError::kInvalidOffset,
                               "invalid offset for tensor `" + entry.name + "`");
    RV_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(entry));
    if (entry.end - entry.begin != size)
      return RefuseSafetensors(SafetensorsError::kTensorInvalidInfo,
                               "invalid shape, data type, or offset for tensor");
    previous = entry.end;
  }
  return previous;
}

absl::Status CheckShape(const HeaderEntry& entry, SafetensorsProfile profile) {
  for (uint64_t dim : entry.shape) {
    if (dim > kMaxDimension)
      return RefuseSafetensors(SafetensorsError::kStricterRule,
                               "tensor '" + entry.name + "': got dimension " + std::to_string(dim) +
                                   ", want at most 2147483648");
  }
  if (profile == SafetensorsProfile::kUpload && entry.begin == entry.end)
    return RefuseSafetensors(SafetensorsError::kStricterRule,
                             "tensor '" + entry.name + "': got no element, want at least one");
  return absl::OkStatus();
}

bool LooksLikePickle(std::span<const std::byte> file) {
  const auto starts = [&](std::string_view magic) {
    return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
  };
  return starts("PK\x03\x04") || starts("\x80\x02") || starts("\x80\x04") || starts("\x80\x05");
}

// The size that a file cut short should have had; nothing for other damage.
std::optional<uint64_t> WantedSize(std::span<const std::byte> file, SafetensorsError error) {
  if (error == SafetensorsError::kHeaderTooSmall) return 8;
  uint64_t length = 0;
  if (file.size() >= 8) std::memcpy(&length, file.data(), 8);
  if (error == SafetensorsError::kInvalidHeaderLength) return 8 + length;
  if (error != SafetensorsError::kMetadataIncompleteBuffer) return std::nullopt;
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  const auto header = ParseHeader(text, SafetensorsProfile::kBaseModel);
  if (!header.ok()) return std::nullopt;
  uint64_t data = 0;
  for (const HeaderEntry& entry : header->entries) data = std::max(data, entry.end);
  return 8 + length + data;
}

// The reference's texts stay as they are; behind them the sizes.
absl::Status AtFile(const absl::Status& status, const std::filesystem::path& path,
                    std::span<const std::byte> file) {
  const auto kind = SafetensorsErrorOf(status);
  const auto want = kind.has_value() ? WantedSize(file, *kind) : std::nullopt;
  if (!want.has_value()) return Annotate(status, path.string());
  const std::string sizes =
      "got " + std::to_string(file.size()) + " bytes, want " + std::to_string(*want);
  return RefuseSafetensors(*kind,
                           path.string() + ": " + std::string(status.message()) + ": " + sizes);
}

}  // namespace

absl::StatusOr<SafetensorsView> SafetensorsView::Parse(std::span<const std::byte> file,
                                                       SafetensorsProfile profile) {
  RV_ASSIGN_OR_RETURN(const uint64_t length, HeaderLength(file, profile));
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  RV_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseHeader(text, profile));
  std::sort(header.entries.begin(), header.entries.end(),
            [](const HeaderEntry& left, const HeaderEntry& right) {
              return std::tie(left.begin, left.end, left.name) <
                     std::tie(right.begin, right.end, right.name);
            });
  RV_ASSIGN_OR_RETURN(const uint64_t covered, CheckCoverage(header.entries));
  const std::span<const std::byte> data = file.subspan(8 + length);
  if (covered != data.size())
    return RefuseSafetensors(SafetensorsError::kMetadataIncompleteBuffer,
                             "incomplete metadata, file not fully covered");
  SafetensorsView view;
  view.metadata_ = std::move(header.metadata);
  view.tensors_.reserve(header.entries.size());
  for (HeaderEntry& entry : header.entries) {
    RV_RETURN_IF_ERROR(CheckShape(entry, profile));
    view.tensors_.push_back(
        {{std::move(entry.name), entry.dtype, {entry.shape.begin(), entry.shape.end()}},
         data.subspan(entry.begin, entry.end - entry.begin)});
  }
  view.by_name_.resize(view.tensors_.size());
  std::iota(view.by_name_.begin(), view.by_name_.end(), size_t{0});
  std::sort(view.by_name_.begin(), view.by_name_.end(), [&](size_t left, size_t right) {
    return view.tensors_[left].spec.name < view.tensors_[right].spec.name;
  });
  return view;
}

const TensorView* SafetensorsView::Find(std::string_view name) const {
  const auto found = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](size_t row, std::string_view wanted) { return tensors_[row].spec.name < wanted; });
  if (found == by_name_.end() || tensors_[*found].spec.name != name) return nullptr;
  return &tensors_[*found];
}

Manifest SafetensorsView::manifest() const {
  Manifest manifest;
  manifest.reserve(by_name_.size());
  for (size_t row : by_name_) manifest.push_back(tensors_[row].spec);
  return manifest;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path,
                                                      SafetensorsProfile profile) {
  SafetensorsFile file;
  RV_ASSIGN_OR_RETURN(file.mapping_, MappedFile::Open(path));
  absl::StatusOr<SafetensorsView> view = SafetensorsView::Parse(file.mapping_.bytes(), profile);
  // Only now: a header of 640 bytes begins like a pickle.
  if (!view.ok() && LooksLikePickle(file.mapping_.bytes()))
    return Refuse(absl::StatusCode::kInvalidArgument,
                  path.string() +
                      ": got a pickle or archive, which can run code when read; want safetensors "
                      "(convert it with the transformers library's save_pretrained)");
  if (!view.ok()) return AtFile(view.status(), path, file.mapping_.bytes());
  file.view_ = *std::move(view);
  return file;
}

absl::StatusOr<ParameterSet> ReadParameterSet(std::span<const std::byte> file,
                                              const Manifest* must_equal) {
  RV_ASSIGN_OR_RETURN(const SafetensorsView view,
                      SafetensorsView::Parse(file, SafetensorsProfile::kUpload));
  const Manifest manifest = view.manifest();
  if (must_equal != nullptr) RV_RETURN_IF_ERROR(SameManifest(manifest, *must_equal));
  ParameterSet set(manifest);
  for (size_t row = 0; row < manifest.size(); ++row) {
    const std::span<const std::byte> bytes = view.Find(manifest[row].name)->bytes;
    std::copy(bytes.begin(), bytes.end(), set.bytes(row).begin());
  }
  return set;
}

absl::StatusOr<ParameterSet> ReadParameterSet(std::string_view file, const Manifest* must_equal) {
  return ReadParameterSet(std::as_bytes(std::span(file.data(), file.size())), must_equal);
}

absl::StatusOr<ParameterSet> ReadParameterSetFile(const std::filesystem::path& path,
                                                  const Manifest* must_equal) {
  RV_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  absl::StatusOr<ParameterSet> set = ReadParameterSet(file.bytes(), must_equal);
  if (!set.ok()) return AtFile(set.status(), path, file.bytes());
  return set;
}

}  // namespace rivulet

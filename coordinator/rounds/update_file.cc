#include "coordinator/rounds/update_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
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

struct TensorStream::State {
  const BlobReader& blob;
  const Manifest& manifest;
  std::string sha256;
  std::vector<Placed> order{};
  size_t next = 0;    // of order
  uint64_t done = 0;  // bytes of that tensor
  Sha256 hash{};
  std::vector<float> buffer{};
};

TensorStream::TensorStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
TensorStream::~TensorStream() = default;
TensorStream::TensorStream(TensorStream&&) noexcept = default;

absl::StatusOr<TensorStream> TensorStream::Open(const BlobReader& blob, const Manifest& manifest,
                                                SafetensorsProfile profile,
                                                std::string_view sha256) {
  RV_ASSIGN_OR_RETURN(const std::string text, ReadHeaderText(blob, profile));
  RV_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseHeader(text, profile));
  std::unique_ptr<State> state(new State{blob, manifest, std::string(sha256)});
  RV_ASSIGN_OR_RETURN(state->order, Place(std::move(header), sizeof(uint64_t) + text.size(),
                                          blob.size(), manifest));
  const uint64_t length = text.size();
  state->hash.Update(std::as_bytes(std::span(&length, 1)));
  state->hash.Update(text);
  state->buffer.resize(kPieceBytes / sizeof(float));
  return TensorStream(std::move(state));
}

absl::StatusOr<std::optional<TensorStream::Piece>> TensorStream::Next() {
  State& at = *state_;
  while (at.next < at.order.size() && at.done == at.manifest[at.order[at.next].row].size_bytes()) {
    ++at.next;
    at.done = 0;
  }
  if (at.next == at.order.size()) {
    if (at.sha256.empty()) return std::nullopt;
    const std::string want = std::exchange(at.sha256, "");
    const std::string got = HexOf(at.hash.Finish());
    if (got == want) return std::nullopt;
    return Refuse(absl::StatusCode::kDataLoss,
                  "blob: got bytes with hash " + got + ", want " + want);
  }
  const Placed& tensor = at.order[at.next];
  const uint64_t now = std::min(kPieceBytes, at.manifest[tensor.row].size_bytes() - at.done);
  const std::span<float> values(at.buffer.data(), now / sizeof(float));
  RV_RETURN_IF_ERROR(at.blob.Read(tensor.begin + at.done, std::as_writable_bytes(values)));
  if (!at.sha256.empty()) at.hash.Update(std::as_bytes(values));
  const Piece piece{tensor.row, at.done / sizeof(float), values};
  at.done += now;
  return piece;
}

absl::Status StreamTensors(const BlobReader& blob, const Manifest& manifest,
                           SafetensorsProfile profile, std::string_view sha256,
                           const PieceSink& sink) {
  RV_ASSIGN_OR_RETURN(TensorStream stream, TensorStream::Open(blob, manifest, profile, sha256));
  for (;;) {
    RV_ASSIGN_OR_RETURN(const std::optional<TensorStream::Piece> piece, stream.Next());
    if (!piece.has_value()) return absl::OkStatus();
    RV_RETURN_IF_ERROR(sink(piece->row, piece->first, piece->values));
  }
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

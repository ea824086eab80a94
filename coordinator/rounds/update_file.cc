#include "coordinator/rounds/update_file.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "coordinator/rounds/update_layout.h"

namespace rivulet {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{256} << 10;  // stays in the cache between its readers
}  // namespace

struct TensorStream::State {
  const BlobReader& blob;
  const Manifest& manifest;
  std::string sha256;
  std::vector<PlacedTensor> order{};
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
  RV_ASSIGN_OR_RETURN(UpdateLayout layout, LayoutOf(text, blob.size(), manifest, profile));
  std::unique_ptr<State> state(new State{blob, manifest, std::string(sha256)});
  state->order = std::move(layout.order);
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
  const PlacedTensor& tensor = at.order[at.next];
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

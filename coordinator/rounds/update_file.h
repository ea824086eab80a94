#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "common/formats/safetensors.h"
#include "common/tensor/parameter_set.h"
#include "coordinator/storage/blob_store.h"

namespace rivulet {

// Reads a safetensors blob of exactly `manifest` (F32) in pieces of at most 256 KiB, in file order:
// memory does not grow with the file. With `sha256` not empty the whole file must have that hash.
// `blob` and `manifest` must outlive it. Movable; not thread safe.
class TensorStream {
 public:
  // Errors: InvalidArgument for a file that is not that, naming the first difference.
  static absl::StatusOr<TensorStream> Open(const BlobReader& blob, const Manifest& manifest,
                                           SafetensorsProfile profile, std::string_view sha256);
  ~TensorStream();
  TensorStream(TensorStream&&) noexcept;

  struct Piece {
    size_t row = 0;                 // in the manifest
    size_t first = 0;               // position of its first value in the tensor
    std::span<const float> values;  // until the next call
  };
  // Nothing at the end. Errors: DataLoss at the end for another hash; those of the blob.
  absl::StatusOr<std::optional<Piece>> Next();

 private:
  struct State;
  explicit TensorStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Takes values `first`.. of tensor `row`; an error ends the reading.
using PieceSink = std::function<absl::Status(size_t row, size_t first, std::span<const float>)>;

// A whole TensorStream into `sink`. Errors: the stream's and the sink's.
absl::Status StreamTensors(const BlobReader& blob, const Manifest& manifest,
                           SafetensorsProfile profile, std::string_view sha256,
                           const PieceSink& sink);

// A blob of our own, verified by its hash.
absl::StatusOr<ParameterSet> ReadOwnState(const BlobStore& blobs, const std::string& sha256,
                                          const Manifest& manifest);

}  // namespace rivulet

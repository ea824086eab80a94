#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/safetensors.h"
#include "common/tensor/parameter_set.h"
#include "coordinator/storage/blob_store.h"

namespace rivulet {

// The largest file that can hold `manifest` and nothing else: its data and the longest header.
uint64_t LargestUpdateBytes(const Manifest& manifest);

struct PlacedTensor {
  size_t row;      // in the manifest
  uint64_t begin;  // in the file
};

// Where a file of exactly one manifest has its tensors: each once, in file order, back to back,
// from `data_begin` to the end of the file.
struct UpdateLayout {
  std::vector<PlacedTensor> order;
  uint64_t data_begin = 0;
};

// Of a header of `length` bytes in a file of `file_bytes`, at least 8. Errors: InvalidArgument.
absl::Status CheckHeaderLength(uint64_t length, uint64_t file_bytes, SafetensorsProfile profile);

// `header_text` is what stands between the length field and the data. Errors: InvalidArgument for a
// file that holds anything else than `manifest`, naming the first difference.
absl::StatusOr<UpdateLayout> LayoutOf(std::string_view header_text, uint64_t file_bytes,
                                      const Manifest& manifest, SafetensorsProfile profile);

// Errors: InvalidArgument; those of the blob.
absl::StatusOr<std::string> ReadHeaderText(const BlobReader& blob, SafetensorsProfile profile);

}  // namespace rivulet

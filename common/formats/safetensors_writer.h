#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "common/formats/safetensors.h"
#include "common/io/atomic_file.h"

// Writing safetensors, byte for byte as the reference does: tensors by dtype in descending enum
// order, then by name in byte order; header padded with spaces to a multiple of 8. With two or more
// metadata keys the reference's order is that of a hash map; ours are sorted.

namespace rivulet {

// {"format": "pt"}: what transformers wants to see. An empty map writes no __metadata__.
const SafetensorsMetadata& PtFormat();

// The whole file. `tensors` in any order. Errors: InvalidArgument when a name comes twice, is not
// UTF-8 or is "__metadata__", when bytes and shape disagree, or when a sub-byte tensor does not end
// at a byte.
absl::StatusOr<std::string> SafetensorsBytes(const std::vector<TensorView>& tensors,
                                             const SafetensorsMetadata& metadata = PtFormat());
std::string SafetensorsBytes(const ParameterSet& set);

// The same file in pieces that follow each other, nothing copied: the set must outlive them.
struct SafetensorsPieces {
  std::string head;  // length field, header, padding
  std::vector<std::span<const std::byte>> tensors;
};
SafetensorsPieces SafetensorsPiecesOf(const ParameterSet& set);

// Atomically. Errors: as SafetensorsBytes and AtomicFile.
absl::Status WriteSafetensors(const std::filesystem::path& path,
                              const std::vector<TensorView>& tensors,
                              const SafetensorsMetadata& metadata = PtFormat());
absl::Status WriteSafetensors(const std::filesystem::path& path, const ParameterSet& set);

// One tensor after the other, for files that do not fit in memory. Dropped without Commit, it
// leaves nothing. Not thread safe.
class SafetensorsWriter {
 public:
  static absl::StatusOr<SafetensorsWriter> Create(const std::filesystem::path& path,
                                                  Manifest tensors,
                                                  const SafetensorsMetadata& metadata = PtFormat());
  // The order in which Append wants the tensors: that of the file.
  const Manifest& order() const { return order_; }
  // The whole next tensor. Errors: InvalidArgument when the size is not the one announced.
  absl::Status Append(std::span<const std::byte> bytes);
  // Errors: FailedPrecondition when tensors are missing; those of AtomicFile.
  absl::Status Commit();

 private:
  SafetensorsWriter(AtomicFile file, Manifest order)
      : file_(std::move(file)), order_(std::move(order)) {}
  AtomicFile file_;
  Manifest order_;
  size_t next_ = 0;
};

// The tensors of a set as views. The set must outlive them.
std::vector<TensorView> ViewsOf(const ParameterSet& set);

}  // namespace rivulet

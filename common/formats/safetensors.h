#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/file.h"
#include "common/tensor/parameter_set.h"

// Reading safetensors: u64 LE N, N bytes of JSON header, packed little-endian data
// (docs/formats/safetensors.md). Writing: safetensors_writer.h.

namespace rivulet {

// Why a file is refused: the reference's errors one to one, and one of our own.
enum class SafetensorsError {
  kHeaderTooSmall = 1,
  kHeaderTooLarge,
  kInvalidHeaderLength,
  kInvalidHeader,
  kInvalidHeaderDeserialization,
  kInvalidOffset,
  kValidationOverflow,
  kMisalignedSlice,
  kTensorInvalidInfo,
  kMetadataIncompleteBuffer,
  kStricterRule,  // the reference accepts it, we do not; the message names the rule
};
// The reason carried by a status of this reader; nullopt for any other status.
std::optional<SafetensorsError> SafetensorsErrorOf(const absl::Status& status);

// How much a file is trusted.
//
//                    kBaseModel (operator's own)   kUpload (adapters, peers)
//   header           <= 16 MiB                     <= 1 MiB
//   padding          JSON white space              spaces
//   names            1..512 bytes, no control      [A-Za-z0-9_.]{1,200}
//   tensors          <= 200,000                    <= 10,000
//   zero-size        accepted                      refused
// Both: rank <= 8, dimensions <= 2^31, no key twice, no unknown field, first byte '{'.
enum class SafetensorsProfile { kBaseModel, kUpload };

struct TensorView {
  TensorSpec spec;
  std::span<const std::byte> bytes;  // little-endian, C order; may be unaligned
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// The tensors of a file that lies in memory. Zero copy: the bytes must outlive the view. Const
// methods are safe from many threads.
class SafetensorsView {
 public:
  // Every size is checked before anything is allocated by it. Errors: InvalidArgument whose text is
  // the reference's and whose kind SafetensorsErrorOf tells.
  static absl::StatusOr<SafetensorsView> Parse(std::span<const std::byte> file,
                                               SafetensorsProfile profile);
  static absl::StatusOr<SafetensorsView> Parse(std::string_view file, SafetensorsProfile profile) {
    return Parse(std::as_bytes(std::span(file.data(), file.size())), profile);
  }

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in data order
  const TensorView* Find(std::string_view name) const;                 // null when absent
  const SafetensorsMetadata& metadata() const { return metadata_; }
  Manifest manifest() const;  // sorted by name in byte order

 private:
  std::vector<TensorView> tensors_;
  std::vector<size_t> by_name_;  // positions in tensors_, sorted by name
  SafetensorsMetadata metadata_;
};

// A mapped file and its view. Movable.
class SafetensorsFile {
 public:
  // Errors: those of MappedFile and SafetensorsView, with the path in front. A pickle or archive
  // (.bin, .pt) is refused by its first bytes, with the advice to convert it.
  static absl::StatusOr<SafetensorsFile> Open(
      const std::filesystem::path& path,
      SafetensorsProfile profile = SafetensorsProfile::kBaseModel);
  const SafetensorsView& view() const { return view_; }
  size_t size_bytes() const { return mapping_.bytes().size(); }

 private:
  MappedFile mapping_;
  SafetensorsView view_;
};

// Copies a whole file (upload rules) into a ParameterSet sorted by name. With `must_equal` the
// names, dtypes and shapes must be exactly those (a manifest sorted by name): InvalidArgument
// naming the first difference. Values are not looked at.
absl::StatusOr<ParameterSet> ReadParameterSet(std::span<const std::byte> file,
                                              const Manifest* must_equal = nullptr);
absl::StatusOr<ParameterSet> ReadParameterSet(std::string_view file,
                                              const Manifest* must_equal = nullptr);
// The same for a file of the operator's own, mapped.
absl::StatusOr<ParameterSet> ReadParameterSetFile(const std::filesystem::path& path,
                                                  const Manifest* must_equal = nullptr);

}  // namespace rivulet

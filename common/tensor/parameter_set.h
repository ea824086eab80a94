#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/sha256.h"
#include "common/status.h"
#include "common/tensor/large_pages.h"

namespace rivulet {

// Element types in the enum order of safetensors (docs/formats/safetensors.md); the numbers are on
// the wire.
enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};
std::string_view NameOf(DType dtype);                  // "F32"
absl::StatusOr<DType> DTypeOf(std::string_view name);  // InvalidArgument for an unknown name
int BitsOf(DType dtype);                               // 4, 6, 8, 16, 32, 64

// One row of a manifest: what a tensor is called and what it looks like, without its values.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;

  int64_t elements() const;     // product of the shape; 1 for a scalar
  uint64_t size_bytes() const;  // elements * bits / 8
  bool operator==(const TensorSpec&) const = default;
};

// "name F32 [8,256]"
std::string Describe(const TensorSpec& spec);

// The ordered list of tensors a job trains, sends and merges; sorted by name in byte order.
using Manifest = std::vector<TensorSpec>;
uint64_t SizeBytesOf(const Manifest& manifest);

// OK when `got` equals `want` row by row; else InvalidArgument naming the first difference, seen
// and wanted.
absl::Status SameManifest(const Manifest& got, const Manifest& want);

// Ordered (name -> shape, dtype, bytes): what a tuner trains, a wire carries, a strategy moves, an
// export writes. Owns one packed buffer, little-endian, C order, each tensor 64-byte aligned.
// Copies are deep. Const methods are safe from many threads.
class ParameterSet {
 public:
  ParameterSet() = default;
  explicit ParameterSet(Manifest manifest);  // zero-filled

  const Manifest& manifest() const { return manifest_; }
  size_t size() const { return manifest_.size(); }
  bool empty() const { return manifest_.empty(); }

  // Position of `name`, or -1.
  int64_t IndexOf(std::string_view name) const;

  std::span<std::byte> bytes(size_t index);
  std::span<const std::byte> bytes(size_t index) const;
  // The values of an F32 tensor; aborts on another dtype.
  std::span<float> floats(size_t index);
  std::span<const float> floats(size_t index) const;

  // SHA-256 over every tensor in manifest order: u32 LE length of the name, name, u8 dtype, u8
  // rank, each dimension as u64 LE, then the bytes. No metadata: the oracle by which two runs are
  // compared.
  Sha256Digest Hash() const;
  std::string HashHex() const { return HexOf(Hash()); }

 private:
  Manifest manifest_;
  std::vector<size_t> offsets_;
  std::vector<std::byte, LargePages<std::byte>> storage_;
};

// InvalidArgument naming the first tensor, element and value that is NaN or infinite. F32 tensors
// only are looked at.
absl::Status CheckFinite(const ParameterSet& set);

}  // namespace rivulet

#include "common/tensor/parameter_set.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace rivulet {
namespace {

struct DTypeRow {
  std::string_view name;
  int bits;
};
constexpr DTypeRow kDTypes[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
};

constexpr size_t kAlignment = 64;

template <typename T>
void HashNumber(Sha256& sha, T value) {
  std::byte bytes[sizeof(T)];
  for (size_t byte = 0; byte < sizeof(T); ++byte)
    bytes[byte] = static_cast<std::byte>(value >> (8 * byte));
  sha.Update(std::span<const std::byte>(bytes));
}

}  // namespace

std::string_view NameOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }
int BitsOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bits; }

absl::StatusOr<DType> DTypeOf(std::string_view name) {
  for (size_t row = 0; row < std::size(kDTypes); ++row) {
    if (kDTypes[row].name == name) return static_cast<DType>(row);
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "dtype: got '" + std::string(name) + "', want one of F32, BF16, F16, ...");
}

int64_t TensorSpec::elements() const {
  int64_t product = 1;
  for (int64_t dim : shape) product *= dim;
  return product;
}

uint64_t TensorSpec::size_bytes() const {
  return static_cast<uint64_t>(elements()) * BitsOf(dtype) / 8;
}

std::string Describe(const TensorSpec& spec) {
  std::string text = spec.name + " " + std::string(NameOf(spec.dtype)) + " [";
  for (size_t axis = 0; axis < spec.shape.size(); ++axis) {
    text += (axis ? "," : "") + std::to_string(spec.shape[axis]);
  }
  return text + "]";
}

uint64_t SizeBytesOf(const Manifest& manifest) {
  uint64_t sum = 0;
  for (const TensorSpec& spec : manifest) sum += spec.size_bytes();
  return sum;
}

absl::Status SameManifest(const Manifest& got, const Manifest& want) {
  const size_t rows = std::min(got.size(), want.size());
  for (size_t row = 0; row < rows; ++row) {
    if (got[row] == want[row]) continue;
    return Refuse(absl::StatusCode::kInvalidArgument, "tensor " + std::to_string(row) + ": got " +
                                                          Describe(got[row]) + ", want " +
                                                          Describe(want[row]));
  }
  if (got.size() == want.size()) return absl::OkStatus();
  const bool more = got.size() > want.size();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "tensors: got " + std::to_string(got.size()) + ", want " +
                    std::to_string(want.size()) +
                    (more ? "; first unexpected: " : "; first missing: ") +
                    Describe(more ? got[rows] : want[rows]));
}

ParameterSet::ParameterSet(Manifest manifest) : manifest_(std::move(manifest)) {
  size_t end = 0;
  for (const TensorSpec& spec : manifest_) {
    offsets_.push_back(end);
    end += (spec.size_bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  storage_.resize(end);
}

int64_t ParameterSet::IndexOf(std::string_view name) const {
  for (size_t row = 0; row < manifest_.size(); ++row) {
    if (manifest_[row].name == name) return static_cast<int64_t>(row);
  }
  return -1;
}

std::span<std::byte> ParameterSet::bytes(size_t index) {
  return std::span(storage_).subspan(offsets_.at(index), manifest_[index].size_bytes());
}

std::span<const std::byte> ParameterSet::bytes(size_t index) const {
  return std::span(storage_).subspan(offsets_.at(index), manifest_[index].size_bytes());
}

std::span<float> ParameterSet::floats(size_t index) {
  if (manifest_.at(index).dtype != DType::kF32) std::abort();
  const std::span<std::byte> raw = bytes(index);
  return {reinterpret_cast<float*>(raw.data()), raw.size() / sizeof(float)};
}

std::span<const float> ParameterSet::floats(size_t index) const {
  if (manifest_.at(index).dtype != DType::kF32) std::abort();
  const std::span<const std::byte> raw = bytes(index);
  return {reinterpret_cast<const float*>(raw.data()), raw.size() / sizeof(float)};
}

Sha256Digest ParameterSet::Hash() const {
  Sha256 sha;
  for (size_t index = 0; index < manifest_.size(); ++index) {
    const TensorSpec& spec = manifest_[index];
    HashNumber(sha, static_cast<uint32_t>(spec.name.size()));
    sha.Update(spec.name);
    HashNumber(sha, static_cast<uint8_t>(spec.dtype));
    HashNumber(sha, static_cast<uint8_t>(spec.shape.size()));
    for (int64_t dim : spec.shape) HashNumber(sha, static_cast<uint64_t>(dim));
    sha.Update(bytes(index));
  }
  return sha.Finish();
}

absl::Status CheckFinite(const ParameterSet& set) {
  for (size_t index = 0; index < set.size(); ++index) {
    if (set.manifest()[index].dtype != DType::kF32) continue;
    const std::span<const float> values = set.floats(index);
    const auto bad = std::find_if(values.begin(), values.end(),
                                  [](float value) { return !std::isfinite(value); });
    if (bad == values.end()) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  set.manifest()[index].name + "[" + std::to_string(bad - values.begin()) +
                      "]: got " + std::to_string(*bad) + ", want a finite number");
  }
  return absl::OkStatus();
}

}  // namespace rivulet

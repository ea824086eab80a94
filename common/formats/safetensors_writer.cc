#include "common/formats/safetensors_writer.h"

#include <algorithm>

#include "common/formats/json.h"

namespace rivulet {
namespace {

bool ComesBefore(const TensorSpec& left, const TensorSpec& right) {
  if (left.dtype != right.dtype) return left.dtype > right.dtype;
  return left.name < right.name;
}

absl::Status CheckSpec(const TensorSpec& spec) {
  const auto bad = [&](const std::string& what) {
    return Refuse(absl::StatusCode::kInvalidArgument, "tensor '" + spec.name + "': " + what);
  };
  if (!IsUtf8(spec.name)) return bad("got a name that is not UTF-8");
  if (spec.name == "__metadata__") return bad("this name belongs to the format");
  uint64_t bits = static_cast<uint64_t>(BitsOf(spec.dtype));
  for (int64_t dim : spec.shape) {
    if (dim < 0 || __builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits))
      return bad("got a negative or too large shape");
  }
  return bits % 8 == 0 ? absl::OkStatus() : bad("does not end at a byte boundary");
}

std::string EntryText(const TensorSpec& spec, uint64_t begin) {
  std::string text =
      QuoteJson(spec.name) + ":{\"dtype\":\"" + std::string(NameOf(spec.dtype)) + "\",\"shape\":[";
  for (size_t axis = 0; axis < spec.shape.size(); ++axis)
    text += (axis ? "," : "") + std::to_string(spec.shape[axis]);
  return text + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(begin + spec.size_bytes()) + "]}";
}

std::string MetadataText(const SafetensorsMetadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata)
    text += (text.empty() ? "" : ",") + QuoteJson(key) + ":" + QuoteJson(value);
  return "\"__metadata__\":{" + text + "}";
}

// Length field, header and padding; sorts `tensors` into file order.
absl::StatusOr<std::string> HeaderBytes(Manifest& tensors, const SafetensorsMetadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), ComesBefore);
  std::string text = metadata.empty() ? "" : MetadataText(metadata);
  uint64_t begin = 0;
  for (const TensorSpec& spec : tensors) {
    RV_RETURN_IF_ERROR(CheckSpec(spec));
    text += (text.empty() ? "" : ",") + EntryText(spec, begin);
    begin += spec.size_bytes();
  }
  text = "{" + text + "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes;
  for (int byte = 0; byte < 8; ++byte) bytes += static_cast<char>(text.size() >> (8 * byte));
  return bytes + text;
}

absl::Status CheckNames(const Manifest& tensors) {
  std::vector<std::string_view> names;
  for (const TensorSpec& spec : tensors) names.push_back(spec.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "tensor '" + std::string(*twice) + "': got it twice, want it once");
}

absl::Status CheckSize(const TensorSpec& spec, size_t got) {
  if (got == spec.size_bytes()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument, Describe(spec) + ": got " +
                                                        std::to_string(got) + " bytes, want " +
                                                        std::to_string(spec.size_bytes()));
}

std::vector<const TensorView*> InFileOrder(const std::vector<TensorView>& tensors) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorView* left, const TensorView* right) {
    return ComesBefore(left->spec, right->spec);
  });
  return order;
}

Manifest SpecsOf(const std::vector<TensorView>& tensors) {
  Manifest manifest;
  for (const TensorView& tensor : tensors) manifest.push_back(tensor.spec);
  return manifest;
}

}  // namespace

const SafetensorsMetadata& PtFormat() {
  static const SafetensorsMetadata metadata = {{"format", "pt"}};
  return metadata;
}

std::vector<TensorView> ViewsOf(const ParameterSet& set) {
  std::vector<TensorView> views;
  for (size_t row = 0; row < set.size(); ++row)
    views.push_back({set.manifest()[row], set.bytes(row)});
  return views;
}

absl::StatusOr<std::string> SafetensorsBytes(const std::vector<TensorView>& tensors,
                                             const SafetensorsMetadata& metadata) {
  Manifest manifest = SpecsOf(tensors);
  RV_RETURN_IF_ERROR(CheckNames(manifest));
  RV_ASSIGN_OR_RETURN(std::string bytes, HeaderBytes(manifest, metadata));
  size_t size = bytes.size();
  for (const TensorView& tensor : tensors) size += tensor.bytes.size();
  bytes.reserve(size);
  for (const TensorView* tensor : InFileOrder(tensors)) {
    RV_RETURN_IF_ERROR(CheckSize(tensor->spec, tensor->bytes.size()));
    bytes.append(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size());
  }
  return bytes;
}

std::string SafetensorsBytes(const ParameterSet& set) {
  return SafetensorsBytes(ViewsOf(set)).value();  // a set's names and sizes are right by making
}

SafetensorsPieces SafetensorsPiecesOf(const ParameterSet& set) {
  SafetensorsPieces pieces;
  Manifest manifest = set.manifest();
  pieces.head = HeaderBytes(manifest, PtFormat()).value();
  const std::vector<TensorView> views = ViewsOf(set);
  for (const TensorView* tensor : InFileOrder(views)) pieces.tensors.push_back(tensor->bytes);
  return pieces;
}

absl::Status WriteSafetensors(const std::filesystem::path& path,
                              const std::vector<TensorView>& tensors,
                              const SafetensorsMetadata& metadata) {
  RV_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                      SafetensorsWriter::Create(path, SpecsOf(tensors), metadata));
  for (const TensorView* tensor : InFileOrder(tensors))
    RV_RETURN_IF_ERROR(writer.Append(tensor->bytes));
  return writer.Commit();
}

absl::Status WriteSafetensors(const std::filesystem::path& path, const ParameterSet& set) {
  return WriteSafetensors(path, ViewsOf(set));
}

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(const std::filesystem::path& path,
                                                            Manifest tensors,
                                                            const SafetensorsMetadata& metadata) {
  RV_RETURN_IF_ERROR(CheckNames(tensors));
  RV_ASSIGN_OR_RETURN(const std::string header, HeaderBytes(tensors, metadata));
  RV_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RV_RETURN_IF_ERROR(file.Append(header));
  return SafetensorsWriter(std::move(file), std::move(tensors));
}

absl::Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  if (next_ == order_.size())
    return Refuse(absl::StatusCode::kInvalidArgument, "tensor: got one more than announced");
  RV_RETURN_IF_ERROR(CheckSize(order_[next_], bytes.size()));
  ++next_;
  return file_.Append(bytes);
}

absl::Status SafetensorsWriter::Commit() {
  if (next_ == order_.size()) return file_.Commit();
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "tensors: got " + std::to_string(next_) + ", want " +
                    std::to_string(order_.size()) + "; next is " + Describe(order_[next_]));
}

}  // namespace rivulet

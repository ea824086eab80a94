#include "common/formats/safetensors_header.h"

#include <set>

#include "common/formats/json.h"

namespace rivulet {
namespace {

using nlohmann::json;

constexpr size_t kMaxRank = 8;
constexpr char kMetadata[] = "__metadata__";
constexpr char kKindUrl[] = "rivulet/safetensors";

bool IsNameAllowed(std::string_view name, SafetensorsProfile profile) {
  if (name.empty()) return false;
  if (profile == SafetensorsProfile::kBaseModel) {
    for (unsigned char byte : name) {
      if (byte < 0x20 || byte == 0x7f) return false;
    }
    return name.size() <= 512;
  }
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.";
  return name.size() <= 200 && name.find_first_not_of(kAllowed) == name.npos;
}

// Walks the header without building a document: a document would keep the last of two equal keys
// and hide the first.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(SafetensorsProfile profile) : profile_(profile) {}
  SafetensorsHeader header;
  absl::Status status;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a signed integer"); }
  bool number_float(number_float_t, const string_t&) override {
    return Unexpected("a floating point number");
  }
  bool binary(binary_t&) override { return Unexpected("binary"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool key(string_t& name) override;
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Invalid("syntax error at byte " + std::to_string(position));
  }

 private:
  enum class In { kStart, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool Invalid(const std::string& what) {
    status = RefuseSafetensors(SafetensorsError::kInvalidHeaderDeserialization,
                               "invalid JSON in header: " + what);
    return false;
  }
  bool Stricter(const std::string& what) {
    status = RefuseSafetensors(SafetensorsError::kStricterRule, what);
    return false;
  }
  bool Unexpected(const std::string& what) {
    // The reference takes a null for an absent __metadata__.
    if (in_ == In::kTop && key_ == kMetadata && what == "null")
      return Stricter("__metadata__: got null, want an object of strings");
    return Invalid("unexpected " + what + " at key '" + key_ + "'");
  }
  bool TopKey(const std::string& name);
  bool TensorKey(const std::string& name);
  size_t max_tensors() const {
    return profile_ == SafetensorsProfile::kBaseModel ? 200'000 : 10'000;
  }

  SafetensorsProfile profile_;
  In in_ = In::kStart;
  std::string key_;  // the key whose value comes next
  std::set<std::string> names_;
  std::set<std::string> fields_;  // of the tensor being read
  int offsets_ = 0;               // how many were read
};

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (in_ == In::kShape) {
    if (header.entries.back().shape.size() == kMaxRank)
      return Stricter("tensor '" + header.entries.back().name + "': got rank above 8, want <= 8");
    header.entries.back().shape.push_back(value);
    return true;
  }
  if (in_ != In::kOffsets) return Unexpected("an integer");
  if (offsets_ == 2) return Invalid("data_offsets: got more than 2 numbers, want 2");
  (offsets_++ == 0 ? header.entries.back().begin : header.entries.back().end) = value;
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (in_ == In::kMetadata) {
    header.metadata[key_] = value;
    return true;
  }
  if (in_ != In::kTensor || key_ != "dtype") return Unexpected("a string");
  const absl::StatusOr<DType> dtype = DTypeOf(value);
  if (!dtype.ok()) return Invalid("unknown dtype '" + value + "'");
  header.entries.back().dtype = *dtype;
  return true;
}

bool HeaderReader::TopKey(const std::string& name) {
  const bool fresh = names_.insert(name).second;
  if (name == kMetadata) return fresh || Invalid("duplicate field `__metadata__`");
  if (!fresh) return Stricter("tensor '" + name + "': got it twice, want it once");
  if (!IsNameAllowed(name, profile_))
    return Stricter("tensor name: got '" + name.substr(0, 80) + "', want " +
                    (profile_ == SafetensorsProfile::kUpload
                         ? "[A-Za-z0-9_.]{1,200}"
                         : "1..512 bytes without control characters"));
  if (header.entries.size() == max_tensors())
    return Stricter("tensors: got more than " + std::to_string(max_tensors()));
  return true;
}

bool HeaderReader::TensorKey(const std::string& name) {
  if (name != "dtype" && name != "shape" && name != "data_offsets")
    return Stricter("tensor '" + header.entries.back().name + "': unknown field '" +
                    name.substr(0, 80) + "', want dtype, shape, data_offsets");
  return fields_.insert(name).second || Invalid("duplicate field `" + name + "`");
}

bool HeaderReader::key(string_t& name) {
  key_ = name;
  if (in_ == In::kTop) return TopKey(name);
  if (in_ == In::kTensor) return TensorKey(name);
  if (header.metadata.contains(name))
    return Stricter("__metadata__: got key '" + name.substr(0, 80) + "' twice, want it once");
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (in_ == In::kStart) {
    in_ = In::kTop;
    return true;
  }
  if (in_ != In::kTop) return Unexpected("an object");
  in_ = key_ == kMetadata ? In::kMetadata : In::kTensor;
  if (in_ == In::kMetadata) return true;
  header.entries.push_back({.name = key_});
  fields_.clear();
  return true;
}

bool HeaderReader::end_object() {
  if (in_ == In::kTensor && fields_.size() != 3)
    return Invalid("tensor '" + header.entries.back().name +
                   "': a field is missing, want dtype, shape, data_offsets");
  in_ = In::kTop;
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (in_ == In::kTop && key_ != kMetadata)
    return Stricter("tensor '" + key_.substr(0, 80) + "': got an array, want an object");
  if (in_ != In::kTensor || key_ == "dtype") return Unexpected("an array");
  in_ = key_ == "shape" ? In::kShape : In::kOffsets;
  offsets_ = 0;
  return true;
}

bool HeaderReader::end_array() {
  if (in_ == In::kOffsets && offsets_ != 2) return Invalid("data_offsets: want 2 numbers");
  in_ = In::kTensor;
  return true;
}

// The header without its padding.
absl::StatusOr<std::string_view> Unpadded(std::string_view text, SafetensorsProfile profile) {
  const auto invalid = [](const std::string& what) {
    return RefuseSafetensors(SafetensorsError::kInvalidHeaderDeserialization,
                             "invalid JSON in header: " + what);
  };
  constexpr std::string_view kWhiteSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == text.npos) return invalid("no value");
  if (text[first] != '{') return invalid("expected '{'");
  if (first != 0)
    return RefuseSafetensors(SafetensorsError::kStricterRule,
                             "header: got white space first, want '{'");
  // Everything up to the last visible byte must be one object; a NUL would end it early.
  if (text.find('\0') != text.npos) return invalid("NUL byte");
  const std::string_view trimmed = text.substr(0, text.find_last_not_of(kWhiteSpace) + 1);
  if (trimmed.back() != '}') return invalid("text behind the closing brace, or none");
  const bool only_spaces = text.find_first_not_of(' ', trimmed.size()) == text.npos;
  if (profile == SafetensorsProfile::kUpload && !only_spaces)
    return RefuseSafetensors(SafetensorsError::kStricterRule,
                             "padding: got other white space, want 0x20 only");
  return trimmed;
}

}  // namespace

absl::Status RefuseSafetensors(SafetensorsError kind, std::string_view message) {
  absl::Status status = Refuse(absl::StatusCode::kInvalidArgument, message);
  status.SetPayload(kKindUrl, absl::Cord(std::to_string(static_cast<int>(kind))));
  return status;
}

std::optional<SafetensorsError> SafetensorsErrorOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kKindUrl);
  if (!payload.has_value()) return std::nullopt;
  return static_cast<SafetensorsError>(std::atoi(std::string(*payload).c_str()));
}

absl::StatusOr<SafetensorsHeader> ParseHeader(std::string_view text, SafetensorsProfile profile) {
  if (const size_t at = FirstInvalidUtf8(text); at != text.size())
    return RefuseSafetensors(SafetensorsError::kInvalidHeader,
                             "invalid UTF-8 in header: from index " + std::to_string(at));
  RV_ASSIGN_OR_RETURN(const std::string_view object, Unpadded(text, profile));
  HeaderReader reader(profile);
  if (!json::sax_parse(object.begin(), object.end(), &reader)) return reader.status;
  return std::move(reader.header);
}

}  // namespace rivulet

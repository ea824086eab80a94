#include "common/formats/json.h"

#include <set>
#include <string>
#include <vector>

#include "common/io/file.h"
#include "common/utf8.h"

namespace rivulet {
namespace {

using nlohmann::json;

// Looks at every event and builds nothing: refuses depth and repeated keys before the document is
// read a second time into memory.
class StrictReader : public nlohmann::json_sax<json> {
 public:
  StrictReader(const JsonLimits& limits, size_t size) : limits_(limits), size_(size) {}
  const std::string& error() const { return error_; }

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    return Fail("key '" + name + "': got it twice in one object, want it once");
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    if (position > size_)
      return Fail("JSON: got the end of the text after " + std::to_string(size_) +
                  " bytes, want the rest of the document");
    return Fail("JSON: syntax error at byte " + std::to_string(position));
  }

 private:
  bool Fail(std::string text) {
    error_ = std::move(text);
    return false;
  }
  bool Count() {
    if (++values_ <= limits_.values) return true;
    return Fail("JSON: got more than " + std::to_string(limits_.values) + " values");
  }
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= static_cast<size_t>(limits_.depth)) return Count();
    return Fail("JSON: nested deeper than " + std::to_string(limits_.depth));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }

  JsonLimits limits_;
  size_t size_;
  size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return Refuse(absl::StatusCode::kOutOfRange, "JSON: got " + std::to_string(text.size()) +
                                                     " bytes, want at most " +
                                                     std::to_string(limits.bytes));
  }
  const auto bad = [](const std::string& message) {
    return Refuse(absl::StatusCode::kInvalidArgument, message);
  };
  if (const size_t at = FirstInvalidUtf8(text); at != text.size())
    return bad("JSON: invalid UTF-8 at byte " + std::to_string(at));
  // The parser would skip a byte order mark and take a NUL for the end of the text.
  if (text.starts_with("\xef\xbb\xbf")) return bad("JSON: got a byte order mark, want none");
  if (text.find('\0') != text.npos) return bad("JSON: got a NUL byte, want none");
  StrictReader reader(limits, text.size());
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return bad(reader.error());
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<json> ReadJson(const std::filesystem::path& path, const JsonLimits& limits) {
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, limits.bytes));
  absl::StatusOr<json> document = ParseJson(text, limits);
  if (!document.ok()) return Annotate(document.status(), path.string());
  return document;
}

std::string QuoteJson(std::string_view text) { return json(text).dump(); }

}  // namespace rivulet

// What the values of job keys may be, and their text.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "common/formats/json.h"
#include "common/job/job_keys.h"
#include "common/job/key_tables.h"

namespace rivulet {
namespace {

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else
      out += c;
  }
  return out + "\"";
}

template <typename T, typename Text>
std::string ListText(const std::vector<T>& items, Text text) {
  std::string out = "[";
  for (const T& item : items) out += (out.size() > 1 ? ", " : "") + text(item);
  return out + "]";
}

// The text of a value of each type a key can have.
struct KeyText {
  std::string operator()(const int* value) const { return std::to_string(*value); }
  std::string operator()(const int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const uint64_t* value) const { return std::to_string(*value); }
  std::string operator()(const double* value) const { return NumberText(*value); }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::string* value) const { return Quoted(*value); }
  std::string operator()(const std::vector<std::string>* value) const {
    return ListText(*value, Quoted);
  }
  std::string operator()(const std::vector<int>* value) const {
    return ListText(*value, [](int item) { return std::to_string(item); });
  }
  std::string operator()(const std::chrono::seconds* value) const {
    return Quoted(DurationText(*value));
  }
};

constexpr size_t kMostItems = 1024;
constexpr size_t kMostTextBytes = 4096;

bool IsPlainText(const std::string& text) {
  return text.size() <= kMostTextBytes && text.find('\0') == std::string::npos && IsUtf8(text);
}

// Whether every number in a value lies within the key's bounds, every string among its choices.
struct InBounds {
  const JobKey& key;

  bool Within(double value) const {
    return std::isfinite(value) && (key.low == key.high || (value >= key.low && value <= key.high));
  }
  bool operator()(const int* value) const { return Within(*value); }
  bool operator()(const int64_t* value) const { return Within(static_cast<double>(*value)); }
  bool operator()(const uint64_t* value) const {  // TOML integers are signed
    return *value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  bool operator()(const double* value) const { return Within(*value); }
  bool operator()(const bool*) const { return true; }
  bool operator()(const std::chrono::seconds* value) const {
    return Within(static_cast<double>(value->count()));
  }
  bool operator()(const std::vector<std::string>* value) const {
    return value->size() <= kMostItems &&
           std::all_of(value->begin(), value->end(),
                       [](const std::string& item) { return !item.empty() && IsPlainText(item); });
  }
  bool operator()(const std::vector<int>* value) const {
    return value->size() <= kMostItems &&
           std::all_of(value->begin(), value->end(), [this](int item) { return Within(item); });
  }
  bool operator()(const std::string* value) const {
    if (key.choices.empty()) return IsPlainText(*value);
    return IsNameAmong(key.choices, *value);
  }
};

std::string BoundText(double bound) {
  if (bound == std::floor(bound) && std::abs(bound) < 1e15)
    return std::to_string(static_cast<int64_t>(bound));
  return NumberText(bound);
}

KeyRef RefIn(const JobKey& key, const JobSpec& spec) {
  return key.ref(const_cast<JobSpec&>(spec));
}  // read only

}  // namespace

std::string WantedOf(const JobKey& key) {
  static JobSpec any;
  const KeyRef ref = key.ref(any);
  if (!key.choices.empty()) return std::string(key.choices);
  const std::string range =
      key.low == key.high ? "" : " " + BoundText(key.low) + ".." + BoundText(key.high);
  if (std::holds_alternative<std::string*>(ref)) return "a string";
  if (std::holds_alternative<bool*>(ref)) return "true or false";
  if (std::holds_alternative<double*>(ref)) return "a number" + range;
  if (std::holds_alternative<std::vector<std::string>*>(ref)) return "a list of strings";
  if (std::holds_alternative<std::vector<int>*>(ref)) return "a list of integers" + range;
  if (std::holds_alternative<std::chrono::seconds*>(ref))
    return "a duration such as \"90s\", \"20m\", \"2h\", \"1d\"";
  return "an integer" + (range.empty() ? std::string(" >= 0") : range);
}

absl::Status CheckRange(const JobKey& key, const JobSpec& spec, std::string_view origin) {
  if (std::visit(InBounds{key}, RefIn(key, spec))) return absl::OkStatus();
  std::string seen = Shortened(ValueText(key, spec));
  if (!origin.empty()) seen += " (" + std::string(origin) + ")";
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                         std::string(key.path) + ": got " + seen + ", want " + WantedOf(key)),
                  ExitCode::kConfig);
}

std::string Shortened(std::string text) {
  constexpr size_t kMost = 200;
  const bool cut = text.size() > kMost;
  if (cut) text.resize(kMost);
  text.resize(FirstInvalidUtf8(text));
  return cut ? text + "..." : text;
}

std::string ValueText(const JobKey& key, const JobSpec& spec) {
  return std::visit(KeyText{}, RefIn(key, spec));
}

absl::StatusOr<std::chrono::seconds> ParseDuration(std::string_view text) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, text.data() + text.size() - end);
  const int64_t scale = unit == "s"   ? 1
                        : unit == "m" ? 60
                        : unit == "h" ? 3600
                        : unit == "d" ? 86400
                                      : 0;
  if (error != std::errc() || scale == 0 || count < 0 || count > int64_t{1} << 40) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "got \"" + std::string(text) +
                      "\", want a duration such as \"90s\", \"20m\", \"2h\", \"1d\"");
  }
  return std::chrono::seconds(count * scale);
}

std::string DurationText(std::chrono::seconds duration) {
  const int64_t seconds = duration.count();
  if (seconds != 0 && seconds % 86400 == 0) return std::to_string(seconds / 86400) + "d";
  if (seconds != 0 && seconds % 3600 == 0) return std::to_string(seconds / 3600) + "h";
  if (seconds != 0 && seconds % 60 == 0) return std::to_string(seconds / 60) + "m";
  return std::to_string(seconds) + "s";
}

std::string NumberText(double value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

}  // namespace rivulet

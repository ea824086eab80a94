#include "common/settings/settings.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/io/file.h"
#include "common/settings/unknown_word.h"
#include "common/suggest.h"
#include "common/toml/toml_text.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxFile = 1 << 20;

std::string FlagOf(std::string path) {
  std::replace(path.begin(), path.end(), '.', '-');
  return "--" + path;
}

std::string VariableOf(const std::string& path) {
  std::string name = "RIVULET_";
  for (const char letter : path) {
    if (letter == '.') {
      name += "__";
    } else {
      name += letter == '-' ? '_' : static_cast<char>(std::toupper(letter));
    }
  }
  return name;
}

bool SetText(const Settings::Target& target, std::string_view text) {
  if (auto* const* out = std::get_if<std::string*>(&target)) {
    **out = std::string(text);
    return true;
  }
  if (auto* const* out = std::get_if<int*>(&target)) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), **out);
    return error == std::errc() && end == text.data() + text.size();
  }
  if (text != "true" && text != "false") return false;
  *std::get<bool*>(target) = text == "true";
  return true;
}

bool SetNode(const Settings::Target& target, const toml::node& node) {
  if (auto* const* out = std::get_if<std::string*>(&target)) {
    const auto value = node.value_exact<std::string>();
    if (value.has_value()) **out = *value;
    return value.has_value();
  }
  if (auto* const* out = std::get_if<int*>(&target)) {
    const auto value = node.value_exact<int64_t>();
    if (!value.has_value() || *value != static_cast<int>(*value)) return false;
    **out = static_cast<int>(*value);
    return true;
  }
  const auto value = node.value_exact<bool>();
  if (value.has_value()) *std::get<bool*>(target) = *value;
  return value.has_value();
}

std::string_view WantedOf(const Settings::Target& target) {
  constexpr std::string_view kWanted[] = {"a text", "a whole number", "true or false"};
  return kWanted[target.index()];
}

std::string TextOf(const toml::node& node) {
  if (const auto value = node.value_exact<std::string>()) return "'" + *value + "'";
  std::ostringstream text;
  text << toml::node_view<const toml::node>(node);
  return text.str();
}

using Leaves = std::vector<std::pair<std::string, const toml::node*>>;
void Flatten(const toml::table& table, const std::string& prefix, Leaves& out) {
  for (const auto& [key, node] : table) {
    std::string name(key.str());
    std::replace(name.begin(), name.end(), '_', '-');
    const std::string path = prefix.empty() ? name : prefix + "." + name;
    if (node.is_table()) {
      Flatten(*node.as_table(), path, out);
    } else {
      out.emplace_back(path, &node);
    }
  }
}

// The value of an option in the arguments before "--", "" when it is not there.
std::string OptionIn(int argc, const char* const* argv, std::string_view option) {
  for (int row = 1; row < argc; ++row) {
    const std::string_view word = argv[row];
    if (word == "--") break;
    if (word == option && row + 1 < argc) return argv[row + 1];
    if (word.starts_with(option) && word.substr(option.size()).starts_with('=')) {
      return std::string(word.substr(option.size() + 1));
    }
  }
  return "";
}

}  // namespace

absl::Status BadSetting(std::string_view what) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, what), ExitCode::kConfig);
}

void Settings::Add(std::string path, Target target, std::string help) {
  keys_.push_back({std::move(path), target, std::move(help)});
}

std::vector<std::string> Settings::paths() const {
  std::vector<std::string> names;
  for (const Key& key : keys_) names.push_back(key.path);
  return names;
}

absl::Status Settings::Load(const std::filesystem::path& path) {
  if (!path.empty()) RV_RETURN_IF_ERROR(LoadFile(path));
  return LoadEnvironment();
}

absl::Status Settings::LoadFile(const std::filesystem::path& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxFile);
  if (!text.ok()) return WithExit(text.status(), ExitCode::kConfig);
  RV_ASSIGN_OR_RETURN(const toml::table table, ParseToml(*text, path.string()));
  const auto at = [&](const toml::source_region& where) { return PlaceText(path.string(), where); };
  Leaves leaves;
  Flatten(table, "", leaves);
  for (const auto& [name, node] : leaves) {
    const auto key = std::find_if(keys_.begin(), keys_.end(),
                                  [&name = name](const Key& row) { return row.path == name; });
    if (key == keys_.end()) {
      return BadSetting(at(node->source()) + "unknown key '" + name + "'" +
                        DidYouMean(name, paths()));
    }
    if (!SetNode(key->target, *node)) {
      return BadSetting(at(node->source()) + name + ": got " + TextOf(*node) + ", want " +
                        std::string(WantedOf(key->target)));
    }
  }
  return absl::OkStatus();
}

absl::Status Settings::LoadEnvironment() {
  for (const Key& key : keys_) {
    const std::string variable = VariableOf(key.path);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || SetText(key.target, value)) continue;
    return BadSetting(key.path + ": got '" + value + "' (env " + variable + "), want " +
                      std::string(WantedOf(key.target)));
  }
  return absl::OkStatus();
}

void Settings::Bind(CLI::App& app) {
  for (const Key& key : keys_) {
    std::visit(
        [&](auto* target) {
          if constexpr (std::is_same_v<decltype(target), bool*>) {
            app.add_flag(FlagOf(key.path) + ",!--no-" + FlagOf(key.path).substr(2), *target,
                         key.help);
          } else {
            app.add_option(FlagOf(key.path), *target, key.help)->capture_default_str();
          }
        },
        key.target);
  }
}

std::string ConfigPathIn(int argc, const char* const* argv) {
  if (std::string given = OptionIn(argc, argv, "--config"); !given.empty()) return given;
  const char* variable = std::getenv("RIVULET_CONFIG");
  return variable == nullptr ? "" : variable;
}

ErrorFormat ErrorFormatIn(int argc, const char* const* argv, std::string_view configured) {
  const std::string given = OptionIn(argc, argv, "--format");
  return (given.empty() ? configured : given) == "json" ? ErrorFormat::kJson : ErrorFormat::kText;
}

std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv,
                                    ErrorFormat format) {
  try {  // CLI11 reports by exceptions; caught here and nowhere else
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    std::ostringstream text;
    if (app.exit(error, std::cout, text) == 0) return 0;
    std::string message = UnknownWord(app, argc, argv);
    message += (message.empty() ? "" : "\n") + text.str();
    while (!message.empty() && message.back() == '\n') message.pop_back();
    return ExitWith(app.get_name(),
                    WithExit(Refuse(absl::StatusCode::kInvalidArgument, message), ExitCode::kUsage),
                    format);
  }
}

int ExitWith(std::string_view program, const absl::Status& status, ErrorFormat format) {
  const int code = static_cast<int>(ExitCodeOf(status));
  if (status.ok()) return code;
  if (format == ErrorFormat::kText) {
    std::cerr << program << ": " << status.message() << '\n';
    return code;
  }
  const nlohmann::json object = {
      {"error", {{"exit", code}, {"message", std::string(status.message())}}}};
  std::cerr << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  return code;
}

}  // namespace rivulet

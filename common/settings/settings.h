#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/status.h"

namespace rivulet {

// The keys of one daemon's configuration, each bound to a member of its config struct. Precedence:
// flag > environment > file > the member's default. (CLI11's own file and environment support has
// another order, so it is not used.)
class Settings {
 public:
  using Target = std::variant<std::string*, int*, bool*>;

  // `path`: "listen.agents"; flag --listen-agents, environment RIVULET_LISTEN__AGENTS. The target
  // must outlive this object.
  void Add(std::string path, Target target, std::string help);

  // Reads `path`, or nothing when it is empty, then the environment. Errors (exit 3): a file that
  // cannot be read, syntax, unknown keys with the nearest known one, wrong types.
  absl::Status Load(const std::filesystem::path& path);

  // Adds a flag for every key. Parse the command line after Load.
  void Bind(CLI::App& app);

 private:
  struct Key {
    std::string path;
    Target target;
    std::string help;
  };
  absl::Status LoadFile(const std::filesystem::path& path);
  absl::Status LoadEnvironment();
  std::vector<std::string> paths() const;

  std::vector<Key> keys_;
};

// The error (exit 3) of a key with a value it cannot have; `what` "key: got X, want Y".
absl::Status BadSetting(std::string_view what);

// The value of --config in the arguments before "--", else RIVULET_CONFIG, else "".
std::string ConfigPathIn(int argc, const char* const* argv);

// How errors are printed on stderr: as "program: message", or as one JSON object on a line of its
// own, {"error":{"exit":code,"message":"..."}}.
enum class ErrorFormat { kText, kJson };

// What --format says in the arguments, so that even an error in them is printed as it asks; without
// it, what `configured` says.
ErrorFormat ErrorFormatIn(int argc, const char* const* argv, std::string_view configured);

// Parses with CLI11 and turns its exit codes into ours: nullopt to go on, 0 after help or version,
// 2 for a usage error (an unknown verb or option gets the nearest name).
std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv,
                                    ErrorFormat format = ErrorFormat::kText);

// Prints the error, if it is one, and returns its exit code. The only place that prints errors.
int ExitWith(std::string_view program, const absl::Status& status,
             ErrorFormat format = ErrorFormat::kText);

}  // namespace rivulet

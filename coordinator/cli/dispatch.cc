#include "coordinator/cli/dispatch.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "common/suggest.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
const std::vector<std::string>& Programs() {
  static const std::vector<std::string> programs = {"coordinator", "client", "simulate", "model"};
  return programs;
}

std::vector<fs::path> BesideUs() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return {self.parent_path(), "/usr/libexec/rivulet"};
}

std::vector<fs::path> OnPath() {
  std::vector<fs::path> folders;
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    if (colon != 0) folders.emplace_back(rest.substr(0, colon));
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return folders;
}

using Words = std::vector<std::string>;

bool Has(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Only comes back when none of the folders has it. `words` follow the program's name.
void ExecFrom(const std::vector<fs::path>& folders, const std::string& name, Words words) {
  std::string own = name;
  std::vector<char*> argv = {own.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  for (const fs::path& folder : folders) {
    const std::string program = (folder / name).string();
    if (access(program.c_str(), X_OK) == 0) execv(program.c_str(), argv.data());
  }
}

// The position of the first word that is neither an option nor the value of one.
size_t VerbAt(const Words& words, const Words& options_with_value) {
  size_t at = 0;
  while (at < words.size() && words[at].starts_with('-')) {
    at += Has(options_with_value, words[at]) ? 2 : 1;
  }
  return std::min(at, words.size());
}

// "--" and what follows it stay last.
Words WithOptions(Words words, const Words& options) {
  words.insert(std::find(words.begin(), words.end(), "--"), options.begin(), options.end());
  return words;
}

absl::Status RunProgram(const std::string& verb, Words words) {
  const std::string name = "rivulet-" + verb;
  ExecFrom(BesideUs(), name, std::move(words));
  return Refuse(absl::StatusCode::kNotFound, name + ": not installed");
}

}  // namespace

absl::Status Dispatch(int argc, char** argv, const OwnWords& own) {
  const Words words(argv + 1, argv + argc);
  const size_t at = VerbAt(words, own.options_with_value);
  if (at == words.size()) return absl::OkStatus();
  const std::string& verb = words[at];
  const Words before(words.begin(), words.begin() + static_cast<long>(at));
  const Words rest(words.begin() + static_cast<long>(at) + 1, words.end());
  if (Has(Programs(), verb)) return RunProgram(verb, WithOptions(rest, before));
  if (verb == "help" && !rest.empty() && Has(Programs(), rest[0])) {
    return RunProgram(rest[0], WithOptions({rest.begin() + 1, rest.end()}, {"--help"}));
  }
  if (at > 0 || Has(own.verbs, verb)) return absl::OkStatus();  // the parser's to judge
  if (verb.find('/') == std::string::npos) ExecFrom(OnPath(), "rivulet-" + verb, rest);
  Words known = own.verbs;
  known.insert(known.end(), Programs().begin(), Programs().end());
  return WithExit(
      Refuse(absl::StatusCode::kNotFound,
             "unknown command '" + verb + "'" + DidYouMean(verb, known) + "\nSee rivulet --help."),
      ExitCode::kUsage);
}

}  // namespace rivulet

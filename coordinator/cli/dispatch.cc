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

// Only comes back when none of the folders has it.
void ExecFrom(const std::vector<fs::path>& folders, const std::string& name, char** argv) {
  for (const fs::path& folder : folders) {
    const std::string program = (folder / name).string();
    if (access(program.c_str(), X_OK) == 0) execv(program.c_str(), argv);
  }
}

}  // namespace

absl::Status Dispatch(int argc, char** argv, const std::vector<std::string>& own_verbs) {
  if (argc < 2 || argv[1][0] == '-') return absl::OkStatus();
  std::string verb = argv[1];
  if (std::find(own_verbs.begin(), own_verbs.end(), verb) != own_verbs.end())
    return absl::OkStatus();
  std::string name = "rivulet-" + verb;
  argv[1] = name.data();
  if (std::find(Programs().begin(), Programs().end(), verb) != Programs().end()) {
    ExecFrom(BesideUs(), name, argv + 1);
    return Refuse(absl::StatusCode::kNotFound, name + ": not installed");
  }
  if (verb.find('/') == std::string::npos) ExecFrom(OnPath(), name, argv + 1);
  std::vector<std::string> known = own_verbs;
  known.insert(known.end(), Programs().begin(), Programs().end());
  return WithExit(
      Refuse(absl::StatusCode::kNotFound,
             "unknown command '" + verb + "'" + DidYouMean(verb, known) + "\nSee rivulet --help."),
      ExitCode::kUsage);
}

}  // namespace rivulet

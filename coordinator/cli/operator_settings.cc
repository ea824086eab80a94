#include "coordinator/cli/operator_settings.h"

#include <cstdlib>

#include "common/rpc/credentials.h"

namespace rivulet {
namespace {

std::filesystem::path UserFolder() {
  if (const char* folder = std::getenv("XDG_CONFIG_HOME"); folder != nullptr && *folder != '\0') {
    return std::filesystem::path(folder) / "rivulet";
  }
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home == nullptr ? "/" : home) / ".config" / "rivulet";
}

}  // namespace

OperatorSettings::OperatorSettings() : tls_dir((UserFolder() / "pki").string()) {}

Settings OperatorSettings::Keys() {
  Settings keys;
  keys.Add("coordinator", &coordinator, "host:port of the coordinator's operator address");
  keys.Add("tls.dir", &tls_dir, "folder with key.pem, cert.pem and ca.pem");
  keys.Add("insecure", &insecure, "no TLS: for trials on this machine alone");
  keys.Add("format", &format, "text or json");
  keys.Add("no-progress", &no_progress, "plain lines instead of a progress bar");
  return keys;
}

absl::Status OperatorSettings::Validate() const {
  if (format != "text" && format != "json") {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "--format: got '" + format + "', want text or json"),
                    ExitCode::kUsage);
  }
  return insecure ? CheckInsecureAddress(coordinator) : absl::OkStatus();
}

std::string OperatorConfigPath(int argc, const char* const* argv) {
  if (std::string given = ConfigPathIn(argc, argv); !given.empty()) return given;
  const std::filesystem::path usual = UserFolder() / "config.toml";
  std::error_code error;
  return std::filesystem::exists(usual, error) ? usual.string() : "";
}

}  // namespace rivulet

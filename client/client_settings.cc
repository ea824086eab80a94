#include "client/client_settings.h"

#include "common/rpc/credentials.h"
#include "privacy/crypto/identity.h"

namespace rivulet {

Settings ClientSettings::Keys() {
  Settings keys;
  keys.Add("coordinator", &coordinator, "host:port of the coordinator");
  keys.Add("tls.dir", &tls_dir, "folder with key.pem, cert.pem and ca.pem");
  keys.Add("state.dir", &state_dir, "folder for tasks and updates in hand");
  keys.Add("policy", &policy, "what the owner of the data allows");
  keys.Add("log.level", &log_level, "error, warn, info, debug or trace");
  keys.Add("log.format", &log_format, "text, json or auto");
  keys.Add("drain-timeout", &drain_timeout_s, "seconds that work in hand may take after SIGTERM");
  keys.Add("insecure", &insecure, "no TLS: for trials on this machine alone");
  keys.Add("name", &name, "with --insecure: federation/organisation/name");
  return keys;
}

absl::Status ClientSettings::Validate() const {
  if (drain_timeout_s < 0) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "drain-timeout: got " + std::to_string(drain_timeout_s) + ", want >= 0"),
                    ExitCode::kConfig);
  }
  if (!insecure) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckInsecureAddress(coordinator));
  return WithExit(ParseIdentityUri("rivulet://" + name).status(), ExitCode::kConfig);
}

}  // namespace rivulet

#include "client/client_settings.h"

#include "common/rpc/credentials.h"
#include "privacy/crypto/identity.h"

namespace rivulet {

Settings ClientSettings::Keys() {
  Settings keys;
  keys.Add("coordinator", &coordinator, "host:port of the coordinator");
  keys.Add("policy", &policy, "what the owner of the data allows");
  daemon.AddTo(keys);
  keys.Add("drain-timeout", &drain_timeout_s, "seconds that work in hand may take after SIGTERM");
  keys.Add("name", &name,
           "with --insecure: insecure/organisation/name, as a certificate would say it");
  return keys;
}

absl::Status ClientSettings::Validate() const {
  if (drain_timeout_s < 0) {
    return BadSetting("drain-timeout: got " + std::to_string(drain_timeout_s) + ", want >= 0");
  }
  if (!daemon.insecure) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckInsecureAddress(coordinator));
  return WithExit(Annotate(ParseIdentityUri("rivulet://" + name).status(), "name"),
                  ExitCode::kConfig);
}

}  // namespace rivulet

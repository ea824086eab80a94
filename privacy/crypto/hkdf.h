#pragma once

#include <span>
#include <string_view>

#include "privacy/crypto/secret.h"

namespace rivulet {

// HKDF with SHA-256 (RFC 5869), extract then expand, 32 bytes out. Ends the process when OpenSSL
// fails: nothing a peer sends can cause that.
//   ikm   the secret, any length
//   salt  public; in a session of secure aggregation the session identifier
//   info  canonical bytes that say what the output is for
Secret32 HkdfSha256(std::span<const uint8_t> ikm, std::span<const uint8_t> salt,
                    std::string_view info);

}  // namespace rivulet

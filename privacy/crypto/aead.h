#pragma once

#include <array>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

using GcmIv = std::array<uint8_t, 12>;
inline constexpr size_t kGcmTagBytes = 16;

// AES-256-GCM: the cipher text, then the tag of 16 bytes. One (key, iv) never seals two texts.
std::string SealAes256Gcm(const Secret32& key, const GcmIv& iv, std::string_view aad,
                          std::string_view plain);

// The plain text. Errors: InvalidArgument when shorter than a tag or when the tag is wrong (key,
// iv, aad or text); nothing is returned then.
absl::StatusOr<std::string> OpenAes256Gcm(const Secret32& key, const GcmIv& iv,
                                          std::string_view aad, std::string_view cipher_and_tag);

}  // namespace rivulet

#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// What is handed to a site out of band: "rvt1.<token, hex>.<fingerprint of the root, hex>". With
// the fingerprint the site knows whom it talks to before it has any certificate.
struct TokenText {
  std::string token;        // 32 bytes
  std::string fingerprint;  // 64 hex digits
};
std::string TextOf(const TokenText& token);
absl::StatusOr<TokenText> ParseTokenText(std::string_view text);  // InvalidArgument (exit 3)

// Makes a key here, asks the enrolment process at `address` for its certificate, checks the answer
// against the token's fingerprint and writes key.pem, cert.pem and ca.pem into `directory`. The key
// never leaves this machine. Errors, exit 4: Unavailable (nobody answers within ten seconds),
// Unauthenticated (another root), PermissionDenied (token, name).
absl::Status RequestCertificate(const std::string& address, const TokenText& token,
                                const std::string& name, const std::filesystem::path& directory);

}  // namespace rivulet

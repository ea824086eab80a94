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

struct CertificateOrder {
  std::string address;  // host:port of the enrolment process
  std::string name;     // of this node
  std::filesystem::path directory;
  bool renew = false;  // replace the identity that is there
};

// Makes a key here, asks the enrolment process for its certificate, checks the answer against the
// token's fingerprint and writes key.pem, cert.pem and ca.pem into the folder. The key never leaves
// this machine. The token is spent only once the folder is known to be writable. Errors:
// AlreadyExists (exit 2) when the folder holds a key and `renew` is false; those of the folder
// (exit 3; full: 10); exit 4: Unavailable (nobody answers within ten seconds), Unauthenticated
// (another root), PermissionDenied (token, name).
absl::Status RequestCertificate(const CertificateOrder& order, const TokenText& token);

}  // namespace rivulet

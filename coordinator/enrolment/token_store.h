#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/crypto/identity.h"

namespace rivulet {

// What a token allows, once: a certificate of this organisation and role.
struct Grant {
  std::string organisation;
  Role role = Role::kAgent;
  int64_t expires_s = 0;  // Unix time
};

// One-time tokens and the names they were spent on, as small files of one folder:
//   tokens/<sha256 of the token>   open   used/<sha256>   spent   names/<name>   its organisation
// Shared by `node enroll` and `enroll serve`. Only hashes are stored. Processes may run at once.
class TokenStore {
 public:
  static absl::StatusOr<TokenStore> Open(const std::filesystem::path& directory);

  // A new token: 32 random bytes. Errors: InvalidArgument (organisation, ttl outside 1 min..30 d).
  absl::StatusOr<std::string> Create(const std::string& organisation, Role role,
                                     std::chrono::seconds ttl, int64_t now_s);

  // PermissionDenied, the same words for an unknown, a used and an expired token.
  absl::StatusOr<Grant> Find(std::string_view token, int64_t now_s) const;

  // Takes the token and the name for its organisation, durably. Errors: as Find; PermissionDenied
  // when another organisation has the name.
  absl::StatusOr<Grant> Spend(std::string_view token, const std::string& name, int64_t now_s);

 private:
  explicit TokenStore(std::filesystem::path directory) : directory_(std::move(directory)) {}
  absl::Status ClaimName(const std::string& name, const std::string& organisation);

  std::filesystem::path directory_;
};

}  // namespace rivulet

#include "coordinator/enrolment/token_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "common/io/file.h"
#include "privacy/crypto/random_bytes.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kTokenBytes = 32;
constexpr uint64_t kMaxFile = 4096;
constexpr std::chrono::minutes kMinTtl{1};
constexpr std::chrono::hours kMaxTtl{24 * 30};

absl::Status NoToken() {
  return Refuse(absl::StatusCode::kPermissionDenied, "the token is unknown, used or expired",
                Remedy::kLeaveRun);
}

std::string TextOf(const Grant& grant) {
  return json{{"organisation", grant.organisation},
              {"role", std::string(NameOf(grant.role))},
              {"expires_s", grant.expires_s}}
      .dump();
}

absl::StatusOr<Grant> ParseGrant(const std::string& text) {
  try {  // our own file
    const json row = json::parse(text);
    RV_ASSIGN_OR_RETURN(const Role role, RoleOf(row.at("role").get<std::string>()));
    return Grant{row.at("organisation").get<std::string>(), role,
                 row.at("expires_s").get<int64_t>()};
  } catch (const json::exception&) {
    return NoToken();
  }
}

}  // namespace

absl::StatusOr<TokenStore> TokenStore::Open(const fs::path& directory) {
  std::error_code error;
  for (const char* part : {"tokens", "used", "names"}) {
    fs::create_directories(directory / part, error);
    if (error) return FileError(directory / part, "create", error.value());
  }
  if (chmod(directory.c_str(), 0700) != 0) return FileError(directory, "chmod", errno);
  return TokenStore(directory);
}

absl::StatusOr<std::string> TokenStore::Create(const std::string& organisation, Role role,
                                               std::chrono::seconds ttl, int64_t now_s) {
  RV_RETURN_IF_ERROR(CheckName("organisation", organisation));
  if (ttl < kMinTtl || ttl > kMaxTtl) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "ttl: got " + std::to_string(ttl.count()) + " s, want 1 minute to 30 days");
  }
  const std::string token = SecretBytes(kTokenBytes);
  const Grant grant{organisation, role, now_s + ttl.count()};
  RV_RETURN_IF_ERROR(
      WriteFileAtomically(directory_ / "tokens" / Sha256Hex(token), TextOf(grant), 0600));
  return token;
}

absl::StatusOr<Grant> TokenStore::Find(std::string_view token, int64_t now_s) const {
  if (token.size() != kTokenBytes) return NoToken();
  const absl::StatusOr<std::string> text =
      ReadFile(directory_ / "tokens" / Sha256Hex(token), kMaxFile);
  if (!text.ok()) return NoToken();
  RV_ASSIGN_OR_RETURN(Grant grant, ParseGrant(*text));
  if (grant.expires_s < now_s) return NoToken();
  return grant;
}

absl::StatusOr<Grant> TokenStore::Spend(std::string_view token, const std::string& name,
                                        int64_t now_s) {
  RV_RETURN_IF_ERROR(CheckName("name", name));
  RV_ASSIGN_OR_RETURN(Grant grant, Find(token, now_s));
  RV_RETURN_IF_ERROR(ClaimName(name, grant.organisation));
  const std::string hash = Sha256Hex(token);
  // rename decides between two who hold the same token: the second finds nothing.
  if (rename((directory_ / "tokens" / hash).c_str(), (directory_ / "used" / hash).c_str()) != 0) {
    return NoToken();
  }
  RV_RETURN_IF_ERROR(SyncDirectory(directory_ / "used"));
  RV_RETURN_IF_ERROR(SyncDirectory(directory_ / "tokens"));
  return grant;
}

absl::Status TokenStore::ClaimName(const std::string& name, const std::string& organisation) {
  const fs::path path = directory_ / "names" / name;
  const fs::path mine = directory_ / "names" / ("." + HexOf(Sha256Of(SecretBytes(16))));
  RV_RETURN_IF_ERROR(WriteFileAtomically(mine, organisation, 0600));
  // link() fails when somebody has it, unlike rename().
  const int error = link(mine.c_str(), path.c_str()) == 0 ? 0 : errno;
  unlink(mine.c_str());
  if (error == 0) return SyncDirectory(directory_ / "names");
  if (error != EEXIST) return FileError(path, "link", error);
  RV_ASSIGN_OR_RETURN(const std::string owner, ReadFile(path, kMaxFile));
  if (owner == organisation) return absl::OkStatus();
  return Refuse(absl::StatusCode::kPermissionDenied,
                "name: '" + name + "' belongs to another organisation", Remedy::kLeaveRun);
}

}  // namespace rivulet

#include "privacy/crypto/identity.h"

#include <algorithm>
#include <vector>

#include "privacy/crypto/certificate.h"
#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {
namespace {

constexpr std::string_view kScheme = "rivulet://";
constexpr size_t kMaxName = 63;

struct RoleName {
  Role role;
  std::string_view name;
};
constexpr RoleName kRoles[] = {
    {Role::kAgent, "agent"}, {Role::kOperator, "operator"}, {Role::kAdmin, "admin"}};

absl::Status Unknown(std::string_view what) {
  return Refuse(absl::StatusCode::kUnauthenticated, "certificate: " + std::string(what),
                Remedy::kLeaveRun);
}

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (const char letter : text) {
    if (letter == '/') {
      parts.emplace_back();
    } else {
      parts.back() += letter;
    }
  }
  return parts;
}

bool IsForClients(X509& leaf) {
  const ExtendedKeyUsagePtr usage(static_cast<EXTENDED_KEY_USAGE*>(
      X509_get_ext_d2i(&leaf, NID_ext_key_usage, nullptr, nullptr)));
  if (usage == nullptr) return false;
  for (int row = 0; row < sk_ASN1_OBJECT_num(usage.get()); ++row) {
    if (OBJ_obj2nid(sk_ASN1_OBJECT_value(usage.get(), row)) == NID_client_auth) return true;
  }
  return false;
}

}  // namespace

std::string_view NameOf(Role role) {
  for (const RoleName& row : kRoles) {
    if (row.role == role) return row.name;
  }
  return "unknown";
}

absl::StatusOr<Role> RoleOf(std::string_view name) {
  for (const RoleName& row : kRoles) {
    if (row.name == name) return row.role;
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "role: got '" + std::string(name) + "', want agent, operator or admin");
}

std::string Identity::uri() const {
  std::string text = std::string(kScheme) + federation + "/" + organisation + "/" + name;
  if (role != Role::kAgent) text += "/" + std::string(NameOf(role));
  return text;
}

bool IsName(std::string_view text) {
  const auto fits = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-';
  };
  return !text.empty() && text.size() <= kMaxName && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), fits);
}

absl::Status CheckName(std::string_view what, std::string_view text) {
  if (IsName(text)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                std::string(what) + ": got '" + std::string(text.substr(0, 80)) +
                    "', want 1 to 63 of a-z, 0-9 and -, not starting with -");
}

absl::StatusOr<Identity> ParseIdentityUri(std::string_view uri) {
  const absl::Status bad =
      Refuse(absl::StatusCode::kInvalidArgument,
             "name: got '" + std::string(uri.substr(0, 300)) +
                 "', want rivulet://<federation>/<organisation>/<name>[/operator|/admin]");
  if (!uri.starts_with(kScheme)) return bad;
  const std::vector<std::string> parts = Split(uri.substr(kScheme.size()));
  if (parts.size() < 3 || parts.size() > 4) return bad;
  if (!std::all_of(parts.begin(), parts.end(), IsName)) return bad;
  Identity identity{parts[0], parts[1], parts[2]};
  if (parts.size() == 4) {
    const absl::StatusOr<Role> role = RoleOf(parts[3]);
    if (!role.ok() || *role == Role::kAgent) return bad;  // one spelling for each identity
    identity.role = *role;
  }
  return identity;
}

absl::StatusOr<Identity> IdentityOfLeaf(std::string_view pem) {
  absl::StatusOr<X509Ptr> leaf = ReadCertificate(pem);
  if (!leaf.ok()) return Unknown("not readable");
  if (X509_check_ca(leaf->get()) != 0) return Unknown("is one of an authority, want a leaf");
  if (!IsForClients(**leaf)) return Unknown("extended key usage lacks clientAuth");
  const std::vector<std::string> uris = UriNamesOf(**leaf);
  if (uris.size() != 1) {
    return Unknown("got " + std::to_string(uris.size()) + " URI names, want exactly 1");
  }
  absl::StatusOr<Identity> identity = ParseIdentityUri(uris[0]);
  if (!identity.ok()) return Unknown(std::string(identity.status().message()));
  identity->serial = SerialOf(**leaf);
  identity->not_after_s = NotAfterOf(**leaf);
  return identity;
}

}  // namespace rivulet

#pragma once

#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// Who a peer may be. The word is the last part of the certificate's name; agents have none.
enum class Role { kAgent, kOperator, kAdmin };
std::string_view NameOf(Role role);                  // "agent"
absl::StatusOr<Role> RoleOf(std::string_view name);  // InvalidArgument for an unknown one

// What a certificate says of its owner, and nothing a peer could say of itself. In the certificate
// it is the one URI among the subject's alternative names:
//   rivulet://<federation>/<organisation>/<name>            an agent
//   rivulet://<federation>/<organisation>/<name>/operator   an operator, an admin
struct Identity {
  std::string federation;
  std::string organisation;
  std::string name;
  Role role = Role::kAgent;
  std::string serial;       // hex; empty before it is issued
  int64_t not_after_s = 0;  // Unix time

  std::string uri() const;
};

// [a-z0-9][a-z0-9-]{0,62}: federations, organisations and names. No case folding, no escapes.
bool IsName(std::string_view text);
// InvalidArgument "what: got 'X', want ..." when it is not one.
absl::Status CheckName(std::string_view what, std::string_view text);

// Exactly the grammar above. InvalidArgument naming the URI.
absl::StatusOr<Identity> ParseIdentityUri(std::string_view uri);

// The identity of a verified leaf certificate (PEM, only the first block is read).
// Errors, all Unauthenticated: not a certificate; not exactly one URI name; outside the grammar; a
// certificate that is not for clients (extended key usage), or one of an authority.
absl::StatusOr<Identity> IdentityOfLeaf(std::string_view pem);

}  // namespace rivulet

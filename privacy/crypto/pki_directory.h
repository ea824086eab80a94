#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/identity.h"
#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {

// Files of one holder of a certificate: key.pem (0600), cert.pem (leaf, then issuing authority),
// ca.pem (the root: whom to trust).
struct Credentials {
  std::string key_pem;
  std::string chain_pem;
  std::string roots_pem;
};
// Errors: NotFound, PermissionDenied, all with exit 4 and the file's name.
absl::StatusOr<Credentials> ReadCredentials(const std::filesystem::path& directory);
// And the chain leads to the roots now, for client or server use. Errors also: Unauthenticated
// (exit 4) naming cert.pem and what is wrong with it.
absl::StatusOr<Credentials> ReadValidCredentials(const std::filesystem::path& directory,
                                                 bool client);
absl::Status WriteCredentials(const std::filesystem::path& directory, const Credentials& files);

// The online authority, held by the enrolment process alone.
struct IssuingAuthority {
  std::string federation;
  X509Ptr certificate;
  KeyPtr key;
  std::string chain_pem;  // its certificate
  std::string roots_pem;
};

struct PkiPlan {
  std::string federation;
  std::vector<std::string> hosts = {"localhost", "127.0.0.1"};  // of coordinator and enrolment
};

// Writes a new hierarchy into an empty or missing directory:
//   root/        the root's key and certificate: take it off line
//   issuing/     the issuing authority, for `rivulet enroll serve`
//   coordinator/ and enrolment/   credentials with a server certificate
//   operator/    credentials of the first admin
// Returns the root's fingerprint. Errors: AlreadyExists when the directory is not empty;
// InvalidArgument (names).
absl::StatusOr<std::string> InitPki(const PkiPlan& plan, const std::filesystem::path& directory);

// The federation a chain belongs to: the subject of its second certificate, the issuing authority.
absl::StatusOr<std::string> FederationOfChain(std::string_view chain_pem);

absl::StatusOr<IssuingAuthority> ReadIssuingAuthority(const std::filesystem::path& directory);

inline constexpr std::chrono::hours kLeafLife{24 * 7};

// A client certificate (leaf, then issuing) for the key of a request.
absl::StatusOr<std::string> IssueClient(const IssuingAuthority& authority, const Identity& who,
                                        std::string_view request_pem,
                                        std::chrono::seconds life = kLeafLife);

}  // namespace rivulet

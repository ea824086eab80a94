#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {

// Ed25519 key pairs: of authorities, servers, agents and operators.
absl::StatusOr<KeyPtr> NewSigningKey();

// PKCS #8, PEM, unencrypted: files 0600 of their own user.
absl::StatusOr<std::string> PrivatePem(EVP_PKEY& key);
absl::StatusOr<KeyPtr> ReadPrivateKey(std::string_view pem);
absl::Status WriteKeyFile(const std::filesystem::path& path, EVP_PKEY& key);

// A certificate request: proof that its sender holds the key. Carries no name that anybody reads.
absl::StatusOr<std::string> RequestPem(EVP_PKEY& key);
// The public key of a request whose signature is right. Errors: InvalidArgument (not one, a wrong
// signature, not Ed25519).
absl::StatusOr<KeyPtr> KeyOfRequest(std::string_view pem);

}  // namespace rivulet

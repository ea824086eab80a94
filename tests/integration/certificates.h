#pragma once

#include <chrono>
#include <filesystem>

#include "common/rpc/credentials.h"
#include "privacy/crypto/identity.h"

namespace rivulet {

// Credentials that no command would give, made with the issuing key of a `pki init` folder. `life`
// counts from now; negative: it ended that long ago. They go to `directory`, which is returned.
std::filesystem::path WriteClientCredentials(const std::filesystem::path& pki, const Identity& who,
                                             std::chrono::seconds life,
                                             const std::filesystem::path& directory);
std::filesystem::path WriteServerCredentials(const std::filesystem::path& pki,
                                             std::chrono::seconds life,
                                             const std::filesystem::path& directory);

// Key and chain of one holder with the roots of another.
std::filesystem::path MixCredentials(const std::filesystem::path& holder,
                                     const std::filesystem::path& roots,
                                     const std::filesystem::path& directory);

// As a gRPC channel takes them.
TlsFiles ReadTlsFiles(const std::filesystem::path& directory);

}  // namespace rivulet

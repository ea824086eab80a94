#pragma once

#include <grpcpp/server_context.h>

#include <mutex>
#include <set>
#include <string>

#include "common/status.h"
#include "privacy/crypto/identity.h"

namespace rivulet {

// Every rpc the coordinator answers. One without a row in the table of access.cc fails to build.
enum class Rpc {
  kConnect,
  kDownload,
  kUpload,
  kSubmit,
  kList,
  kShow,
  kStop,
  kWatch,
  kArtifacts,
  kFetch,
  kNodes,
  kLedger,
  kCount
};

// Metadata key that names the caller when there are no certificates (--insecure, loopback only).
inline constexpr char kInsecureNameKey[] = "rivulet-insecure-name";

// Who may call what: decided by the verified leaf certificate alone, asked at every call. Thread
// safe.
class Access {
 public:
  // `insecure`: there is no TLS; callers say who they are.
  Access(std::string federation, bool insecure);

  // Errors: Unauthenticated (no or wrong certificate, another federation, revoked);
  // PermissionDenied naming role and rpc; InvalidArgument for a call without a deadline, or with
  // one of more than ten minutes, where the rpc is not a stream.
  absl::StatusOr<Identity> Check(const grpc::ServerContextBase& context, Rpc rpc) const;

  // The same for a further message of a caller who was let in: revoked or expired since? Cheap.
  absl::Status CheckAgain(const Identity& caller) const;

  // The caller's verified certificate (PEM, the leaf); empty when there is no TLS.
  std::string LeafOf(const grpc::ServerContextBase& context) const;

  // From now on certificates with these serials are refused and no others, on open connections too.
  void SetRevoked(std::set<std::string> serials);
  const std::string& federation() const { return federation_; }

 private:
  absl::StatusOr<Identity> Identify(const grpc::ServerContextBase& context) const;

  const std::string federation_;
  const bool insecure_;
  mutable std::mutex mutex_;
  std::set<std::string> revoked_;
};

// Whether the role may call the rpc: the table itself, for its test.
bool MayCall(Role role, Rpc rpc);

}  // namespace rivulet

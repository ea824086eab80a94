#include "coordinator/rpc/access.h"

#include <grpc/grpc_security_constants.h>

#include <array>
#include <chrono>
#include <ctime>

namespace rivulet {
namespace {

constexpr unsigned kAgents = 1u << static_cast<int>(Role::kAgent);
constexpr unsigned kOperators =
    1u << static_cast<int>(Role::kOperator) | 1u << static_cast<int>(Role::kAdmin);

struct Row {
  Rpc rpc;
  std::string_view name;
  unsigned roles;
  bool stream = false;  // may take as long as it likes
};

// What is asked for ten minutes is asked a little earlier than it is looked at.
constexpr std::chrono::seconds kLongestDeadline{10 * 60 + 1};
constexpr auto kTable = std::to_array<Row>({
    {Rpc::kConnect, "Federation.Connect", kAgents, true},
    {Rpc::kDownload, "Federation.Download", kAgents, true},
    {Rpc::kUpload, "Federation.Upload", kAgents, true},
    {Rpc::kSubmit, "Operations.Submit", kOperators},
    {Rpc::kList, "Operations.List", kOperators},
    {Rpc::kShow, "Operations.Show", kOperators},
    {Rpc::kStop, "Operations.Stop", kOperators},
    {Rpc::kWatch, "Operations.Watch", kOperators, true},
    {Rpc::kArtifacts, "Operations.Artifacts", kOperators},
    {Rpc::kFetch, "Operations.Fetch", kOperators, true},
    {Rpc::kNodes, "Operations.Nodes", kOperators},
    {Rpc::kLedger, "Operations.Ledger", kOperators},
});
static_assert(kTable.size() == static_cast<size_t>(Rpc::kCount));
constexpr bool InOrder() {
  for (size_t row = 0; row < kTable.size(); ++row) {
    if (static_cast<size_t>(kTable[row].rpc) != row) return false;
  }
  return true;
}
static_assert(InOrder());

absl::Status Stranger(std::string_view what) {
  return Refuse(absl::StatusCode::kUnauthenticated, what, Remedy::kLeaveRun);
}

absl::Status CheckDeadline(const grpc::ServerContextBase& context, const Row& row) {
  if (row.stream) return absl::OkStatus();
  const auto now = std::chrono::system_clock::now();
  if (context.deadline() <= now + kLongestDeadline) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                std::string(row.name) + ": got no deadline or a late one, want at most 10 minutes");
}

absl::StatusOr<Identity> SaidIdentity(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto row = metadata.find(kInsecureNameKey);
  if (row == metadata.end()) return Stranger("no name was given");
  return ParseIdentityUri(std::string_view(row->second.data(), row->second.size()));
}

}  // namespace

Access::Access(std::string federation, bool insecure)
    : federation_(std::move(federation)), insecure_(insecure) {}

absl::StatusOr<Identity> Access::Identify(const grpc::ServerContextBase& context) const {
  if (insecure_) return SaidIdentity(context);
  const std::string leaf = LeafOf(context);
  if (leaf.empty()) return Stranger("no certificate");
  return IdentityOfLeaf(leaf);
}

std::string Access::LeafOf(const grpc::ServerContextBase& context) const {
  const auto peer = insecure_ ? nullptr : context.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return "";
  const auto leaves = peer->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  return leaves.size() == 1 ? std::string(leaves[0].data(), leaves[0].size()) : "";
}

absl::StatusOr<Identity> Access::Check(const grpc::ServerContextBase& context, Rpc rpc) const {
  RV_ASSIGN_OR_RETURN(Identity caller, Identify(context));
  if (caller.federation != federation_) {
    return Stranger("certificate: got federation '" + caller.federation + "', want '" +
                    federation_ + "'");
  }
  RV_RETURN_IF_ERROR(CheckAgain(caller));
  const Row& row = kTable[static_cast<size_t>(rpc)];
  if (!MayCall(caller.role, rpc)) {
    return Refuse(
        absl::StatusCode::kPermissionDenied,
        std::string(row.name) + ": role " + std::string(NameOf(caller.role)) + " lacks the right",
        Remedy::kLeaveRun);
  }
  RV_RETURN_IF_ERROR(CheckDeadline(context, row));
  return caller;
}

absl::Status Access::CheckAgain(const Identity& caller) const {
  if (caller.not_after_s != 0 && caller.not_after_s < std::time(nullptr)) {
    return Stranger("certificate: has expired");
  }
  const std::lock_guard lock(mutex_);
  if (revoked_.contains(caller.serial)) return Stranger("certificate: revoked");
  return absl::OkStatus();
}

void Access::SetRevoked(std::set<std::string> serials) {
  const std::lock_guard lock(mutex_);
  revoked_ = std::move(serials);
}

bool MayCall(Role role, Rpc rpc) {
  return (kTable[static_cast<size_t>(rpc)].roles >> static_cast<int>(role) & 1u) != 0;
}

}  // namespace rivulet

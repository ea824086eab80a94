#include "client/agent/peer_certificates.h"

#include <spdlog/spdlog.h>

#include <ctime>

#include "privacy/crypto/certificate.h"

namespace rivulet {
namespace {

// A chain without its leaf.
std::string AboveLeaf(const std::string& chain) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
  const size_t second = chain.find(kBegin, chain.find(kBegin) + 1);
  return second == std::string::npos ? "" : chain.substr(second);
}

absl::Status NotTrusted(const std::string& why) {
  return Refuse(absl::StatusCode::kUnauthenticated, "certificate: " + why);
}

}  // namespace

PeerCertificates::PeerCertificates(const Credentials& own, std::set<std::string> denied)
    : federation_(IdentityOfLeaf(own.chain_pem).value_or(Identity()).federation),
      above_(AboveLeaf(own.chain_pem)),
      roots_(own.roots_pem),
      denied_(std::move(denied)) {}

absl::StatusOr<std::unique_ptr<PeerCertificates>> PeerCertificates::Make(
    const Credentials& own, std::set<std::string> denied) {
  RV_RETURN_IF_ERROR(IdentityOfLeaf(own.chain_pem).status());
  std::unique_ptr<PeerCertificates> made(new PeerCertificates(own, std::move(denied)));
  const std::string leaf = own.chain_pem.substr(0, own.chain_pem.size() - made->above_.size());
  RV_ASSIGN_OR_RETURN(const Known self, made->Check(leaf));
  made->self_ = self.certificate;
  made->known_[self.certificate.fingerprint] = self;
  return made;
}

absl::StatusOr<PeerCertificates::Known> PeerCertificates::Check(const std::string& leaf) const {
  RV_ASSIGN_OR_RETURN(const Identity identity, IdentityOfLeaf(leaf));
  if (identity.role != Role::kAgent) return NotTrusted("is not an agent's");
  if (identity.federation != federation_) return NotTrusted("is of another federation");
  if (denied_.contains(identity.serial)) return NotTrusted("is on the denylist");
  RV_ASSIGN_OR_RETURN(const LeafKey key, KeyOfLeaf(leaf));
  RV_RETURN_IF_ERROR(VerifyChain(leaf + above_, roots_, true));
  return Known{{identity.uri(), identity.organisation, key.fingerprint, key.public_key},
               identity.not_after_s};
}

void PeerCertificates::Offer(const std::vector<std::string>& certificates) {
  for (const std::string& leaf : certificates) {
    const absl::StatusOr<LeafKey> key = KeyOfLeaf(leaf);
    {
      const std::lock_guard lock(mutex_);
      if (known_.size() >= secagg::kMaxMembers) return;
      if (key.ok() && known_.contains(key->fingerprint)) continue;
    }
    const absl::StatusOr<Known> checked = Check(leaf);
    if (!checked.ok()) {
      spdlog::warn("a member's certificate is not trusted: {}",
                   std::string(checked.status().message()));
      continue;
    }
    const std::lock_guard lock(mutex_);
    known_[checked->certificate.fingerprint] = *checked;
  }
}

absl::StatusOr<secagg::MemberCertificate> PeerCertificates::Find(const Bytes32& fingerprint) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(fingerprint);
  if (found == known_.end()) {
    return Refuse(absl::StatusCode::kNotFound, "certificate: not there, or not trusted");
  }
  if (found->second.not_after_s < std::time(nullptr)) return NotTrusted("has expired");
  return found->second.certificate;
}

}  // namespace rivulet

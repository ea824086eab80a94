#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "privacy/crypto/pki_directory.h"
#include "privacy/secagg/client/client_session.h"

namespace rivulet {

// The certificates of the members of a session that this agent itself vouches for: leaves of agents
// of its own federation, valid now under its own root through its own issuing authority, and not on
// its owner's denylist. The coordinator offers them; what does not hold is forgotten. Thread safe.
class PeerCertificates : public secagg::CertificateDirectory {
 public:
  // `own`: of this agent, which is among the members. `denied`: serials as ParseSerials gives them.
  // Errors: those of IdentityOfLeaf and KeyOfLeaf for the own certificate.
  static absl::StatusOr<std::unique_ptr<PeerCertificates>> Make(const Credentials& own,
                                                                std::set<std::string> denied);

  const secagg::MemberCertificate& self() const { return self_; }
  // PEM, one leaf each; of more than the protocol's largest session the rest is dropped.
  void Offer(const std::vector<std::string>& certificates);
  // Errors: NotFound; Unauthenticated for one that has expired since.
  absl::StatusOr<secagg::MemberCertificate> Find(const Bytes32& fingerprint) override;

 private:
  struct Known {
    secagg::MemberCertificate certificate;
    int64_t not_after_s = 0;
  };
  PeerCertificates(const Credentials& own, std::set<std::string> denied);
  absl::StatusOr<Known> Check(const std::string& leaf) const;

  const std::string federation_;
  const std::string above_;  // PEM: the authorities between a leaf and the roots
  const std::string roots_;
  const std::set<std::string> denied_;
  secagg::MemberCertificate self_;
  std::mutex mutex_;  // of known_
  std::map<Bytes32, Known> known_;
};

}  // namespace rivulet

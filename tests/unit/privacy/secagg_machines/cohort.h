#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "privacy/secagg/client/client_session.h"
#include "privacy/secagg/server/server_session.h"
#include "privacy/secagg/shared/ring.h"
#include "tests/unit/privacy/seeded_entropy.h"

// Clients of one session and what they know, for tests of client and server together.
namespace rivulet::secagg {

// Signatures for large cohorts: a hash under the public key. Checks what is signed, not by whom.
class StubSigner : public Signer {
 public:
  explicit StubSigner(const Bytes32& public_key) : public_key_(public_key) {}
  Signature Sign(std::string_view message) override;

 private:
  Bytes32 public_key_;
};
class StubVerifier : public Verifier {
 public:
  bool Verify(const Bytes32& public_key, std::string_view message,
              const Signature& signature) const override;
};

// d = 8, d_aux = 5, p = 16, b = 24, one update weighs 1; gamma .1, n_min 3.
Params SmallParams(Mode mode = Mode::kMalicious);
// For rings: n_max 128, a ring above 32 members, gamma = delta = .05.
Params RingParams(Mode mode = Mode::kMalicious);
// An owner who allows SmallParams and RingParams of either mode.
ClientPolicy LenientPolicy();

// One enrolled client: identity, durable ledger, entropy; and its session of the moment.
struct TestClient {
  MemberCertificate certificate;
  KeyPtr key;
  std::unique_ptr<Signer> signer;
  std::unique_ptr<Entropy> entropy;
  MemoryLedger ledger;
  std::unique_ptr<ClientSession> session;
};

class Cohort : public CertificateDirectory {
 public:
  // Members in the order of their fingerprints: while all of them advertise, client u has index u.
  Cohort(uint32_t n, Params params, bool real_signatures = true);

  absl::StatusOr<MemberCertificate> Find(const Bytes32& fingerprint) override;

  uint32_t n() const { return static_cast<uint32_t>(clients_.size()); }
  TestClient& client(uint32_t u) { return *clients_[u]; }
  ClientSession& session(uint32_t u) { return *client(u).session; }
  MemberCertificate& certificate(uint32_t u) { return client(u).certificate; }
  const Bytes32& fingerprint(uint32_t u) { return certificate(u).fingerprint; }
  const Verifier& verifier() const { return *verifier_; }
  const Params& params() const { return params_; }
  LocalRound LocalOf(const Params& params) const;
  ClientContext ContextOf(uint32_t u, RoundLedger& ledger);

  // A new session of client u on its own ledger, as after a new assignment or a restart.
  void Renew(uint32_t u);
  // Policy of every session made from now on.
  ClientPolicy policy = LenientPolicy();
  // Certificates that the trust store no longer vouches for.
  std::set<Bytes32> distrusted;

  ServerSession NewServer() const;
  // Vector of client u: small signed numbers, weight 1, checksums left at zero.
  RingVector InputOf(uint32_t u) const;
  // Plain sum of the inputs of those clients, data and auxiliary without checksums.
  std::vector<int64_t> PlainSum(const std::vector<uint32_t>& clients) const;

 private:
  Params params_;
  std::vector<std::unique_ptr<TestClient>> clients_;
  std::map<Bytes32, uint32_t> by_fingerprint_;
  std::unique_ptr<Verifier> verifier_;
};

// Signed values of a sum without its checksums.
std::vector<int64_t> ValuesOf(const RingVector& sum);

// The steps of an honest run, each over the clients named; every one expects success.
class HonestRun {
 public:
  explicit HonestRun(Cohort& cohort);

  // All of them, through the whole protocol: the sum.
  absl::StatusOr<RingVector> Finish();

  void AdvertiseAll();
  void RosterAll();  // and, on a ring, nonces: up to the shares
  void ForwardAll();
  void MaskAll();  // the cohort's inputs: Deliver for everybody, then Freeze
  void Deliver(uint32_t u, const MaskedUpload& upload);
  void Freeze();
  void SurvivorsAll();  // mode 1: up to the endorsements
  void UnmaskAll();

  Roster roster() const { return Decode<Roster>(roster_).value(); }
  Nonces nonces() const { return Decode<Nonces>(nonces_).value(); }
  Forward forward(uint32_t u) const;
  SurvivorSet survivors() const { return Decode<SurvivorSet>(survivors_).value(); }
  UnmaskRequest request() const { return Decode<UnmaskRequest>(survivors_).value(); }
  Endorsements endorsements() const { return Decode<Endorsements>(endorsements_).value(); }

  ServerSession server;
  RingVector sum;
  std::set<uint32_t> gone;  // take no further part

 private:
  std::vector<uint32_t> Present() const;

  Cohort& cohort_;
  std::string roster_, nonces_, survivors_, endorsements_;
};

// Points of an attempt at which a client can vanish, and the messages between.
enum class Leg {
  kAdvertisement,
  kRoster,
  kReveal,
  kNonces,
  kShares,
  kForward,
  kPacked,
  kTrailer,
  kSurvivors,
  kEndorsement,
  kRequest,
  kUnmask
};
inline constexpr int kStays = 5;

// A run in which clients vanish and messages change on their way. A client that refuses is gone; a
// message that the server refuses was never sent.
class TolerantRun {
 public:
  using Wire = std::function<std::string(Leg, uint32_t client, std::string bytes)>;
  explicit TolerantRun(Cohort& cohort, Wire wire = {});

  // Until advertising, sharing, uploading, endorsing, unmasking: 0..4, or kStays.
  std::vector<int> drop_at;
  // From the advertisements to the sum.
  absl::StatusOr<RingVector> Run();
  // The same in parts. Collect: everything after the shares but the sum itself.
  absl::Status Advertise();
  absl::Status Share();
  absl::Status Collect();
  absl::StatusOr<RingVector> Finish();
  // The clients that count, by number.
  std::vector<uint32_t> Survivors() const;

  ServerSession server;
  RingVector sum;

 private:
  bool Here(uint32_t u, int point) const { return drop_at[u] > point && !refused_.contains(u); }
  std::string Send(Leg leg, uint32_t u, std::string bytes) const;
  // A message to all who are here at `point`; the answers go to the server.
  void Exchange(Leg out, Leg back, int point, const std::function<std::string(uint32_t)>& message);
  absl::Status Upload();

  Cohort& cohort_;
  Wire wire_;
  std::set<uint32_t> refused_;
};

// Server and every client of the cohort as they stand, to go on from more than once.
class Snapshot {
 public:
  Snapshot(Cohort& cohort, const ServerSession& server);
  void Restore(ServerSession& server) const;

 private:
  Cohort& cohort_;
  std::string server_;
  std::vector<std::string> states_;
  std::vector<MemoryLedger> ledgers_;
};

}  // namespace rivulet::secagg

#include <algorithm>

#include "privacy/secagg/client/client_draw.h"
#include "privacy/secagg/server/server_draw.h"
#include "tests/fuzz/require.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

using namespace rivulet;
using namespace rivulet::secagg;

namespace {

constexpr uint32_t kMembers = 5, kGroups = 1, kFewest = 4;

// A draw of five, client 0 at each of its phases: what comes from the wire or the disk is refused,
// or leaves a draw in which client 0 has its own group.
class DrawScene {
 public:
  DrawScene() : cohort_(kMembers, ParamsOf(), /*real_signatures=*/false) {
    Pool pool{.pool = PoolId(cohort_.params())};
    for (uint32_t u = 0; u < kMembers; ++u) {
      MemoryLedger ledger;
      ClientDraw draw(cohort_.ContextOf(u, ledger));
      const auto said = draw.Commit(cohort_.params(), kFewest, NonceOf(u));
      Require(said.ok());
      pool.entries.push_back(Decode<Commitment>(*said)->entry);
      if (u == 0) states_.push_back(draw.Serialise());
    }
    MemoryLedger ledger;
    ClientDraw draw(cohort_.ContextOf(0, ledger));
    Require(draw.Restore(states_[0]).ok() && draw.OnPool(pool).ok());
    states_.push_back(draw.Serialise());
    Nonces nonces{.sid = draw.draw()};
    for (uint32_t u = 0; u < kMembers; ++u) nonces.nonces.push_back(NonceOf(u));
    Require(draw.OnNonces(nonces, kGroups).ok());
    states_.push_back(draw.Serialise());
  }

  void Say(size_t phase, std::string_view bytes) {
    MemoryLedger ledger;
    ClientDraw draw(cohort_.ContextOf(0, ledger));
    Require(draw.Restore(states_[phase % states_.size()]).ok());
    Take(draw, bytes);
  }
  void Restore(std::string_view bytes) {
    MemoryLedger ledger;
    ClientDraw draw(cohort_.ContextOf(0, ledger));
    if (!draw.Restore(bytes).ok()) return;
    ClientDraw again(cohort_.ContextOf(0, ledger));
    Require(again.Restore(draw.Serialise()).ok() && again.Serialise() == draw.Serialise());
    (void)draw.AbortMessage();
    CheckGroup(draw);
  }
  void Serve(std::string_view bytes) {
    std::set<std::string> allowed;
    for (uint32_t u = 0; u < kMembers; ++u) allowed.insert(cohort_.certificate(u).client_id);
    auto server = ServerDraw::Start(cohort_.params(), kFewest, allowed, cohort_.verifier());
    Require(server.ok());
    const auto message = Decode<Commitment>(bytes);
    const auto reveal = Decode<Reveal>(bytes);
    for (uint32_t u = 0; u < kMembers; ++u) {
      if (message.ok()) (void)server->OnCommitment(cohort_.certificate(u), *message);
      if (reveal.ok()) Require(!server->OnReveal(cohort_.fingerprint(u), *reveal).ok());
    }
    Require(!server->ClosePool().ok());
  }

 private:
  static Params ParamsOf() {
    Params params = SmallParams();
    params.n_max = kMembers;
    return params;
  }
  static Bytes32 NonceOf(uint32_t u) { return {static_cast<uint8_t>(u + 1)}; }
  void Take(ClientDraw& draw, std::string_view bytes) {
    const auto message = DecodeMessage(bytes);
    if (!message.ok()) return;
    if (const auto* pool = std::get_if<Pool>(&*message)) (void)draw.OnPool(*pool);
    if (const auto* nonces = std::get_if<Nonces>(&*message)) (void)draw.OnNonces(*nonces, kGroups);
    if (const auto* abort = std::get_if<Abort>(&*message)) (void)draw.OnAbort(*abort);
    CheckGroup(draw);
  }
  void CheckGroup(const ClientDraw& draw) {
    if (draw.phase() != ClientDraw::Phase::kDrawn) return;
    const auto& members = draw.group().members;
    Require(std::binary_search(members.begin(), members.end(), cohort_.fingerprint(0)));
  }

  Cohort cohort_;
  std::vector<std::string> states_;
};

}  // namespace

// The first byte: 0 to 2 a message to a client that has committed, revealed or drawn, 3 one to the
// server, else a state of a client.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static DrawScene scene;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] < 3) scene.Say(data[0], bytes);
  if (data[0] == 3) scene.Serve(bytes);
  if (data[0] > 3) scene.Restore(bytes);
  return 0;
}

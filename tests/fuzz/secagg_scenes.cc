#include "tests/fuzz/secagg_scenes.h"

#include "tests/fuzz/require.h"

namespace rivulet::secagg {
namespace {

constexpr uint32_t kRingMembers = 40;

bool NamesSid0(char kind) {
  return kind == static_cast<char>(MessageKind::kAdvertisement) ||
         kind == static_cast<char>(MessageKind::kRoster);
}

}  // namespace

// A message to everybody; the answers to the server, client 0's last.
template <typename MessageFor, typename Answer>
void Attempt::Exchange(ServerSession& session, const MessageFor& message_for,
                       const Answer& answer_of) {
  const bool is_new = cohort.session(0).phase() == ClientSession::Phase::kNew;
  client.push_back({.state = is_new ? "" : cohort.session(0).Serialise(),
                    .ledger = cohort.client(0).ledger,
                    .message = message_for(0)});
  const std::string first = answer_of(0, client.back().message);
  const auto deliver = [&](uint32_t u, const std::string& answer) {
    const auto advertisement = Decode<Advertisement>(answer);
    Require(advertisement.ok() ? session.OnAdvertisement(cohort.certificate(u), *advertisement).ok()
                               : session.Handle(cohort.fingerprint(u), answer).ok());
  };
  for (uint32_t u = 1; u < cohort.n(); ++u) deliver(u, answer_of(u, message_for(u)));
  server.push_back({.state = session.Serialise(), .message = first});
  deliver(0, first);
}

Attempt::Attempt(uint32_t n, const Params& params) : cohort(n, params, /*real_signatures=*/false) {
  ServerSession session = cohort.NewServer();
  const auto same = [](std::string message) { return [message](uint32_t) { return message; }; };
  const auto handled = [&](uint32_t u, const std::string& message) {
    return cohort.session(u).Handle(message).value();
  };
  Exchange(session, same(session.ParametersMessage()), [&](uint32_t u, const std::string&) {
    return cohort.session(u).Advertise(params, cohort.LocalOf(params)).value();
  });
  Exchange(session, same(session.CloseAdvertise().value()), handled);
  if (session.rule().kind == kRingGraph) {
    Exchange(session, same(session.CloseReveal().value()), handled);
  }
  Require(session.CloseShares().ok());
  masked_sum.emplace(params.b, params.length());
  const auto forward_for = [&](uint32_t u) {
    return session.ForwardFor(cohort.fingerprint(u)).value();
  };
  Exchange(session, forward_for, [&](uint32_t u, const std::string& message) {
    Require(cohort.session(u).Handle(message).ok());
    const MaskedUpload upload = cohort.session(u).Mask(cohort.InputOf(u)).value();
    Require(masked_sum->AddPacked(upload.packed).ok());
    return upload.trailer;
  });
  Exchange(session, same(session.FreezeSurvivors().value()), handled);
  if (params.mode == Mode::kMalicious) {
    Exchange(session, same(session.CloseEndorsements().value()), handled);
  }
  sum = ValuesOf(session.Finish(*masked_sum).value());
}

ClientSession Attempt::SessionAt(const ClientScene& scene, MemoryLedger& ledger) {
  ClientSession session(cohort.ContextOf(0, ledger));
  if (!scene.state.empty()) Require(session.Restore(scene.state).ok());
  return session;
}

ServerSession Attempt::SessionAt(const ServerScene& scene) const {
  return ServerSession::Restore(scene.state, cohort.verifier()).value();
}

Attempt& AttemptOf(uint8_t number) {
  static Attempt malicious(4, SmallParams(Mode::kMalicious));
  static Attempt semi_honest(4, SmallParams(Mode::kSemiHonest));
  if (number % 3 != 2) return number % 3 == 0 ? malicious : semi_honest;
  static Attempt ring(kRingMembers, RingParams(Mode::kMalicious));
  Require(ring.client.size() == malicious.client.size() + 1);  // the nonces
  return ring;
}

std::string WithId(std::string_view message, const Bytes32& sid0, const Bytes32& sid) {
  std::string out(message);
  if (out.size() < 33 || out[0] == static_cast<char>(MessageKind::kParameters)) return out;
  const Bytes32& id = NamesSid0(out[0]) ? sid0 : sid;
  std::copy(id.begin(), id.end(), out.begin() + 1);
  return out;
}

}  // namespace rivulet::secagg

#include "coordinator/rpc/agent_message.h"
#include "privacy/secagg/shared/messages.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

void CheckMasks(const v1::Masking& wire) {
  const auto message = MaskingMessageOf(wire);
  if (!message.ok()) return;
  Require(!message->bytes.empty() && message->bytes.size() <= 1 << 20);
  Require(message->certificates.empty() && message->job_id.size() <= 64);
  const auto decoded = secagg::DecodeMessage(message->bytes);
  if (decoded.ok()) Require(secagg::Encode(*decoded) == message->bytes);
}

void CheckFacts(const v1::Hello& hello) {
  if (!CheckHello(hello).ok()) return;
  const ClientFacts facts = FactsOf({"demo", "lab", "ann"}, hello, hello.software());
  Require(facts.version.size() <= 128 && facts.datasets.size() <= 256);
  Require(facts.certificate.empty() == facts.signing_key.empty());
}

}  // namespace

// What an agent sends: it is refused, or is of bounded size; what the protocol of secure
// aggregation takes it writes again as it was.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  v1::AgentMessage message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  if (message.has_masking()) CheckMasks(message.masking());
  if (message.has_hello()) CheckFacts(message.hello());
  if (message.has_failure()) {
    const auto failure = FailureOf("ann", message.failure());
    if (failure.ok()) Require(failure->code.size() <= 64 && failure->text.size() <= 1024);
  }
  if (message.has_evaluation()) {
    const auto evaluation = EvaluationOf("ann", message.evaluation());
    if (evaluation.ok()) Require(evaluation->job.size() <= 64);
  }
  return 0;
}

#include "coordinator/rpc/agent_message.h"

#include <algorithm>

#include "common/rpc/chunk.h"
#include "common/utf8.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/ed25519.h"

namespace rivulet {
namespace {

constexpr int kMaxNames = 256;
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxCodeBytes = 64;
constexpr size_t kMaxJobIdBytes = 64;
constexpr size_t kMaxTextBytes = 1024;
constexpr size_t kMaxMaskingBytes = 1 << 20;

absl::Status BadMessage(std::string_view what) {
  return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
}

template <typename Names>
absl::Status CheckNames(std::string_view what, const Names& names) {
  if (names.size() > kMaxNames) {
    return BadMessage(std::string(what) + ": got " + std::to_string(names.size()) +
                      " names, want at most 256");
  }
  for (const std::string& name : names) {
    if (name.empty() || name.size() > kMaxNameBytes) {
      return BadMessage(std::string(what) + ": got a name of " + std::to_string(name.size()) +
                        " bytes, want 1..128");
    }
  }
  return absl::OkStatus();
}

// Job ids come back in answers: none of them may be long.
absl::Status CheckJobId(const v1::TaskKey& key) {
  if (key.job().size() <= kMaxJobIdBytes) return absl::OkStatus();
  return BadMessage("key.job: got " + std::to_string(key.job().size()) + " bytes, want at most 64");
}

std::string RawOf(const Bytes32& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

absl::Status CheckHello(const v1::Hello& hello) {
  if (hello.protocol_min() > kProtocolMax || hello.protocol_max() < kProtocolMin) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "protocol: the agent speaks " + std::to_string(hello.protocol_min()) + ".." +
                      std::to_string(hello.protocol_max()) + ", the coordinator " +
                      std::to_string(kProtocolMin) + ".." + std::to_string(kProtocolMax),
                  Remedy::kLeaveRun);
  }
  RV_RETURN_IF_ERROR(CheckNames("datasets", hello.datasets()));
  return CheckNames("base_models", hello.base_models());
}

absl::StatusOr<FailureRecord> FailureOf(const std::string& client, const v1::Failure& failure) {
  if (failure.code().empty() || failure.code().size() > kMaxCodeBytes ||
      failure.text().size() > kMaxTextBytes) {
    return BadMessage("failure: want a code of 1..64 bytes and a text of at most 1024");
  }
  RV_RETURN_IF_ERROR(CheckJobId(failure.key()));
  const v1::TaskKey& key = failure.key();
  return FailureRecord{key.job(), key.round(),    key.attempt(),
                       client,    failure.code(), failure.text()};
}

absl::StatusOr<EvaluationReportRecord> EvaluationOf(const std::string& client,
                                                    const v1::Evaluation& evaluation) {
  RV_RETURN_IF_ERROR(CheckJobId(evaluation.key()));
  const v1::TaskKey& key = evaluation.key();
  return EvaluationReportRecord{
      key.job(),           key.round(), client, evaluation.loss_fixed(), evaluation.counted(),
      evaluation.correct()};
}

absl::StatusOr<MaskingMessage> MaskingMessageOf(const v1::Masking& masking) {
  RV_RETURN_IF_ERROR(CheckJobId(masking.key()));
  const size_t bytes = masking.message().size();
  if (bytes == 0 || bytes > kMaxMaskingBytes || masking.certificates_size() > 0) {
    return BadMessage("masking: got " + std::to_string(bytes) + " bytes and " +
                      std::to_string(masking.certificates_size()) +
                      " certificates, want 1 byte to 1 MiB and none");
  }
  const v1::TaskKey& key = masking.key();
  return MaskingMessage{key.job(), key.round(), key.attempt(), masking.message(), {}};
}

ClientFacts FactsOf(const Identity& caller, const v1::Hello& hello, std::string_view leaf) {
  ClientFacts facts;
  facts.name = caller.name;
  facts.datasets = {hello.datasets().begin(), hello.datasets().end()};
  facts.base_models = {hello.base_models().begin(), hello.base_models().end()};
  facts.memory_bytes = hello.memory_bytes();
  facts.cores = static_cast<int>(std::min<uint32_t>(hello.cores(), 4096));
  facts.version = Tidy(hello.software(), kMaxNameBytes);
  if (leaf.empty()) return facts;
  const absl::StatusOr<LeafKey> key = KeyOfLeaf(leaf);
  if (!key.ok()) return facts;
  facts.certificate = leaf;
  facts.fingerprint = RawOf(key->fingerprint);
  facts.signing_key = RawOf(key->public_key);
  facts.organisation = caller.organisation;
  return facts;
}

}  // namespace rivulet

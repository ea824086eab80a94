#pragma once

#include <string>
#include <string_view>

#include "common/status.h"
#include "coordinator/rounds/client_gateway.h"
#include "coordinator/storage/state_store.h"
#include "privacy/crypto/identity.h"
#include "rivulet/v1/federation.pb.h"

namespace rivulet {

// What an agent says on its stream, held against the limits of federation.proto. Errors, all with
// kLeaveRun: InvalidArgument beyond a limit; FailedPrecondition for a Hello that shares no version
// of the protocol.
absl::Status CheckHello(const v1::Hello& hello);
absl::StatusOr<FailureRecord> FailureOf(const std::string& client, const v1::Failure& failure);
absl::StatusOr<EvaluationReportRecord> EvaluationOf(const std::string& client,
                                                    const v1::Evaluation& evaluation);
absl::StatusOr<MaskingMessage> MaskingMessageOf(const v1::Masking& masking);

// Who connected and what it offers. `leaf`: its verified certificate (PEM), or empty; one without
// an Ed25519 key counts as none, and its holder takes part in no masked round.
ClientFacts FactsOf(const Identity& caller, const v1::Hello& hello, std::string_view leaf);

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "aggregation/codec/codec.h"
#include "common/job/job_spec.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

// The form of a job's unmasked uploads, as both ends derive it from the signed job and from what is
// public. Nothing of it travels with an upload (docs/private_upload.md).

namespace rivulet {

// Whether updates go up as payloads of a codec. Otherwise, and where they are not masked, they are
// safetensors of F32.
bool IsCoded(const JobSpec& spec);

// `manifest` is that of the update: a sketch has a share of its numbers.
CodecSettings CodecSettingsOf(const JobSpec& spec, const Manifest& manifest);

// Of a coded job. Errors: those of MakeCodec, with exit code 3.
absl::StatusOr<std::unique_ptr<Codec>> JobCodec(const JobSpec& spec, const Manifest& manifest);

// Whether its codec chooses what to send by what moved: it needs two states in every round but the
// first.
bool ChoosesByMovement(const JobSpec& spec);

// `state` - `initial`, both of one manifest of F32. What is not finite counts as not moved.
ParameterSet MovementOf(const ParameterSet& state, const ParameterSet& initial);

// FedOBD's blocks of a round: positions of tensors, ascending, that hold at most `keep` of all
// numbers together. A tenth of that, at least one tensor, is drawn by `root` and `round` so that no
// tensor is left behind for ever; the others are those that moved most for their size
// (ChooseBlocks). All are drawn when nothing has moved yet (`movement` null). A single tensor, the
// smallest, where none is small enough.
std::vector<uint32_t> PublicBlocks(const Manifest& manifest, const ParameterSet* movement,
                                   double keep, uint64_t root, uint64_t round);

// What encoding and decoding the uploads of one round have in common.
//
// "The last aggregate" of public-top-k and fed-obd is the way from the job's first state to the
// state of the round: every task names the latter by its hash, and the former follows from the job
// document and the base model. So a client that was away, or is new, picks the same places as all
// others, and nothing more has to be sent or kept. In round 1 nothing has moved: the places are
// drawn.
class PublicContext {
 public:
  // `initial` and `state`: where ChoosesByMovement, and then not null in any round but the first.
  PublicContext(const JobSpec& spec, const Manifest& manifest, uint64_t round,
                const ParameterSet* initial, const ParameterSet* state);

  // Refers to this object. Without the client's own parts: rounding, residual.
  CodecContext context() const;

 private:
  uint64_t root_;
  uint64_t round_;
  std::optional<ParameterSet> movement_;
  std::vector<uint32_t> blocks_;
};

}  // namespace rivulet

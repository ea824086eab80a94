#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aggregation/codec/rounding.h"
#include "client/upload/residual_store.h"
#include "common/job/job_spec.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// The words with which one upload is rounded. `seed` is the job's.
using RoundingMaker =
    std::function<std::unique_ptr<RoundingSource>(const UploadKey& upload, uint64_t seed)>;

// The global state that an upload is made from.
struct GivenState {
  const ParameterSet& values;
  std::string sha256;  // of its file, as the task has it
};

// Makes the bytes of a plain upload out of an update: the client's side of compression. Thread
// safe.
class UpdateEncoder {
 public:
  // `residuals` null: kept in memory. `rounding` empty: NewSecretRounding for every upload.
  // Simulations and tests draw the words by seed, so that a run can be repeated.
  explicit UpdateEncoder(std::shared_ptr<ResidualStore> residuals = nullptr,
                         RoundingMaker rounding = {});

  // `initial`: the state of round 0, asked for where the codec needs it. The result is a
  // safetensors file of F32 where the job has no codec. Errors: those of the codec, with exit code
  // 3 for its settings, and of `initial`.
  absl::StatusOr<std::string> Encode(
      const JobSpec& spec, const UploadKey& upload, const GivenState& state,
      const ParameterSet& update,
      const std::function<absl::StatusOr<std::shared_ptr<const ParameterSet>>()>& initial) const;

  // What a masked vector is made from beside the update: its own step goes to the same residuals.
  struct MaskedExtras {
    std::optional<ParameterSet> residual;  // with error feedback; zero at first
    std::string moves;                     // as Propose wants it
    std::optional<ParameterSet> movement;  // of the global state since the job began, from round 2
    std::shared_ptr<const std::vector<float>> first_pass;  // in a second pass: the first's mean
  };
  absl::StatusOr<MaskedExtras> ForMasking(
      const UploadKey& upload, const GivenState& state, bool feedback, bool movement,
      const std::function<absl::StatusOr<std::shared_ptr<const ParameterSet>>()>& initial) const;
  // In a second pass: the update that the first began with. Errors: FailedPrecondition when it is
  // not here any more.
  absl::StatusOr<ParameterSet> Kept(const UploadKey& upload, const Manifest& manifest) const;
  // What it could not carry, once it was made; `moves` as in ResidualStore.
  void Propose(const UploadKey& upload, const std::string& moves, const ParameterSet& rest) const;

  // The coordinator has acknowledged it: what it could not carry goes into the next one, if its
  // round moves the state.
  void Accepted(const UploadKey& upload) const;

 private:
  std::shared_ptr<ResidualStore> residuals_;
  RoundingMaker rounding_;
};

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aggregation/codec/rounding.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// Which codec, and its numbers. Zero or empty stands for the codec's own default, which
// docs/formats/codecs.md lists. Both ends read the same settings from the signed job: nothing here
// travels with a payload.
struct CodecSettings {
  std::string name = "none";
  uint32_t block = 0;       // values that share a scale: int8 256, int4 and int2 64, sign 4096
  double fraction = 0.01;   // kept by top-k, random-k and public-top-k, in (0, 1]
  std::string values;       // how kept numbers travel: f32 | bf16 | fp16 | int8
  uint32_t rank = 4;        // low-rank, 1 .. 256
  uint32_t rows = 5;        // count-sketch, odd, 1 .. 15
  uint32_t columns = 0;     // count-sketch; 0: a tenth of the numbers over all rows
  uint32_t bits = 0;        // rotate-lattice 8 (2 .. 16), eden 2 (1 .. 4)
  uint32_t block_log2 = 0;  // rotation blocks of 2^this numbers: 16 (3 .. 20)
  double bound = 0;         // rotate-lattice: public bound of a rotated coordinate; 0: a scale of
                            // one's own for each block, which clamps nothing
  double size_weight = 0.001;  // fed-obd: what a bit costs against relative squared error
  bool zstd = false;           // a last, lossless step
  bool error_feedback = true;  // use the residual where the codec knows what to do with it
};

// What one encoding or decoding needs beside the numbers. Everything is borrowed for the call.
struct CodecContext {
  // Public randomness: root of the round (or job), the same at every client and the server, and
  // the round as index of its streams. Fixed before any data is touched.
  uint64_t root = 0;
  uint64_t round = 0;
  // The last aggregate, public, with the manifest of the update: public-top-k picks its support
  // from it. Null in the first round.
  const ParameterSet* previous = nullptr;
  // Tensors that the server named for this round, by position in the manifest, strictly ascending:
  // fed-obd sends these and no other.
  std::span<const uint32_t> blocks;

  // Encoding only. The client's own random words; codecs whose traits say `stochastic` refuse to
  // work without.
  RoundingSource* rounding = nullptr;
  // Encoding only. What earlier rounds could not send, with the manifest of the update: added
  // before encoding, and holds afterwards what this payload does not carry. Null, or a codec whose
  // traits say no `feedback`: no error feedback. When encoding fails after it was touched it holds
  // update + residual, so that nothing is lost.
  ParameterSet* residual = nullptr;
  // L2 bound to which the residual is scaled before it is added; 0: none. Without it a clipped
  // update plus the residual is no longer within the clip.
  double residual_clip = 0;
};

struct CodecTraits {
  bool maskable = false;  // its reduction is linear with shared randomness: linear.h has the stage
  bool unbiased = false;  // the expectation of the decoded update is the update
  bool stochastic = false;  // encoding draws from CodecContext::rounding
  bool feedback = false;  // uses CodecContext::residual; without it the error does not average out
  std::string_view error_bound;  // how far a decoded number may be from the encoded one
};

// Turns an update into the bytes of a plain upload and back. The update is the concatenation of its
// tensors in manifest order, all F32, fewer than 2^32 numbers, none above 2^40 in magnitude.
// Payloads: docs/formats/codecs.md. Stateless: const methods are safe from many threads.
class Codec {
 public:
  virtual ~Codec() = default;

  virtual std::string_view name() const = 0;  // a codec that changes its bytes changes its name
  virtual CodecTraits traits() const = 0;

  // Errors: InvalidArgument naming the first tensor that is not F32 and the first value that is NaN
  // or infinite; OutOfRange naming a value that the format cannot hold; InvalidArgument for a
  // context that lacks what the codec needs, or whose sets have another manifest.
  virtual absl::StatusOr<std::string> Encode(const ParameterSet& delta,
                                             const CodecContext& context) const = 0;

  // The same into a string whose memory is used again: a large payload in fresh memory costs as
  // much for its pages as for its numbers. After an error `payload` is unspecified.
  virtual absl::Status EncodeTo(const ParameterSet& delta, const CodecContext& context,
                                std::string& payload) const;

  // `out` has the job's manifest and is overwritten; after an error its values are unspecified.
  // Takes bytes from strangers: whatever is not the work of Encode with the same settings, manifest
  // and public context is refused, or decodes to finite numbers.
  // Errors: InvalidArgument naming what was seen and what is wanted.
  virtual absl::Status Decode(std::string_view payload, const CodecContext& context,
                              ParameterSet& out) const = 0;

  // No payload for this manifest is longer.
  virtual uint64_t MaxEncodedBytes(const Manifest& manifest) const = 0;
};

// Errors: NotFound listing the names; InvalidArgument naming the first setting out of range.
absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(const CodecSettings& settings);

std::vector<std::string_view> CodecNames();

// FedOBD's choice of what clients send in the next round: positions, ascending, of tensors in
// descending order of ||aggregate||_2 / numbers until `keep` of all numbers are named; a tensor
// that does not fit is skipped. A function of the released aggregate alone, hence public. Source:
// Chen et al. 2022 (arXiv 2208.05174), applied to the previous aggregate.
std::vector<uint32_t> ChooseBlocks(const ParameterSet& aggregate, double keep);

}  // namespace rivulet

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// How a round's updates become one when some of them may be lies. The rules see single updates, or
// the means of groups when the uploads are masked.
//
// Norms and distances are those of the flat vector of all tensors; every tensor of it can be
// divided by its running RMS first (`normalise`), because the factors A and B of LoRA have
// different scales; or they are those of the products B A (`product_space`).
struct RobustSettings {
  std::string rule = "mean";
  uint32_t f = 0;  // bad updates to withstand
  uint32_t m = 0;  // multi-krum: updates kept, 1 .. n-f-2; 0 = n-f-2

  // Every update x is first scaled by min(1, clip / |x|), whatever the rule. 0 = not at all.
  // `clip_a` and `clip_b` bound all "...lora_A.weight" and all "...lora_B.weight" of an update
  // each; then the rest of it, and only that, is bounded by `clip`.
  double clip = 0;
  double clip_a = 0;
  double clip_b = 0;

  double tau = 0;      // centred-clipping: radius, > 0
  int iterations = 3;  // centred-clipping, geometric-median: 1 .. 1000
  double nu = 1e-6;    // geometric-median: smallest distance, > 0

  bool normalise = false;      // needs RobustContext::tensor_rms
  bool product_space = false;  // krum, multi-krum, bulyan alone; needs RobustContext::global
};

// What a rule needs beside the updates. All of it must outlive the call.
struct RobustContext {
  // Of the result and, row by row, of the updates. F32; F64 gives the result unrounded.
  const Manifest* manifest = nullptr;
  std::span<const int64_t> weights;        // mean, norm-bound, geometric-median; empty = all 1
  const ParameterSet* previous = nullptr;  // centred-clipping starts here; nullptr = zero. F32
  const UpdateView* root = nullptr;        // fltrust: the update from trusted data
  std::span<const double> tensor_rms;      // normalise: for each row, > 0 (tensor_rms.h)
  const ParameterSet* global = nullptr;    // product_space: the model the updates start from
  int threads = 0;                         // at most; 0 = one a core
};

// What became of one update.
struct UpdateVerdict {
  bool kept = true;   // false: it has no part in the result
  double weight = 0;  // its share of the result; 1/n for median and trimmed-mean, 1/theta
                      // for bulyan, which decide by coordinate
  // By rule, in the metric of the settings. krum, multi-krum, bulyan: sum of squared distances to
  // its neighbours (bulyan: when it was selected, or in the last step); geometric-median,
  // centred-clipping: distance to the last centre; fltrust: cosine to the root update; else 0.
  double score = 0;
  double factor = 1;  // the smallest of what `clip`, `clip_a` and `clip_b` scaled it by
};

struct RobustResult {
  ParameterSet mean;
  std::vector<UpdateVerdict> verdicts;  // one for each update
  std::vector<uint32_t> order;          // krum, multi-krum, bulyan: the selected, best first
};

// Pure functions of their arguments and safe from many threads. Arithmetic is binary64 in a fixed
// order, so the bits are the same for any number of threads and with or without vector
// instructions; updates count in the order given and ties go to the lower index. (median,
// trimmed-mean: a clipped value is first rounded to binary32; the values kept are summed from the
// smallest to the largest.)
class RobustRule {
 public:
  virtual ~RobustRule() = default;

  virtual std::string_view name() const = 0;

  // Whether `n` updates are enough for the f of the settings.
  // Errors: FailedPrecondition naming n seen and wanted. No rule ever falls back to another one.
  virtual absl::Status Check(size_t n) const = 0;

  // Errors: as Check; InvalidArgument naming update, tensor, index and value of the first that is
  // NaN or infinite, the tensor that does not fit the manifest, or what the context lacks;
  // Aborted when fltrust trusts nobody: the round is to be skipped.
  virtual absl::StatusOr<RobustResult> Aggregate(const std::vector<UpdateView>& updates,
                                                 const RobustContext& context) const = 0;
};

// By `settings.rule`:
//   mean              weighted mean; f must be 0
//   norm-bound        the same after `clip`, which must be set: stops boosting, not drift
//   median            of each coordinate; the mean of the two middle values when n is even.
//                     n >= 2f+1
//   trimmed-mean      of each coordinate without its f lowest and f highest values. n >= 2f+1
//   krum              the update with the smallest sum of squared distances to its n-f-2 nearest.
//                     n >= 2f+3. Blanchard et al. 2017 (arXiv 1703.02757)
//   multi-krum        the mean of the m best. n >= 2f+3
//   bulyan            Krum picks theta = n-2f of them one after the other; then for each coordinate
//                     the mean of the theta-2f values nearest their median. n >= 4f+3. El Mhamdi
//                     et al. 2018 (arXiv 1802.07927)
//   geometric-median  smoothed Weiszfeld from the weighted mean. n >= 2f+1. Pillutla et al. 2019
//                     (arXiv 1912.13445)
//   centred-clipping  z += mean((x - z) min(1, tau/|x - z|)). n >= 2f+1. Karimireddy et al. 2021
//                     (arXiv 2012.10333)
//   fltrust           updates scaled to the norm of the root update, weighted by max(0, cosine to
//                     it). Cao et al. 2021 (arXiv 2012.13995)
// Errors: NotFound listing the names; InvalidArgument naming the first setting out of range.
absl::StatusOr<std::unique_ptr<RobustRule>> MakeRobustRule(const RobustSettings& settings);

std::vector<std::string_view> RobustRuleNames();

}  // namespace rivulet

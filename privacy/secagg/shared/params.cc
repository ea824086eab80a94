#include "privacy/secagg/shared/params.h"

#include <bit>

#include "common/io/sha256.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/reason.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {
namespace {

constexpr char kParamsDomain[] = "rvl1/params";
constexpr size_t kParamsBytes = 150;

absl::Status BadParam(std::string_view name, uint64_t got, const std::string& want) {
  return RefuseFor(Reason::kParams,
                   std::string(name) + ": got " + std::to_string(got) + ", want " + want);
}

absl::Status InRange(std::string_view name, uint64_t got, uint64_t low, uint64_t high) {
  if (got >= low && got <= high) return absl::OkStatus();
  return BadParam(name, got, std::to_string(low) + ".." + std::to_string(high));
}

absl::Status CheckWidth(const Params& params) {
  if (params.distributed_noise()) {
    RV_RETURN_IF_ERROR(InRange("W with distributed noise", params.W, 1, 1));
    // The scale is real only if 2^(2 b_acc) >= n kappa^2, kappa = 4.
    RV_RETURN_IF_ERROR(InRange("p", params.p, 6, kMaxBits - 2));
    if (params.p < 32 && (uint64_t{1} << (2 * params.p)) < uint64_t{params.n_max} * 16)
      return BadParam("p", params.p, "enough bits for the noise of n_max clients");
  } else {
    RV_RETURN_IF_ERROR(InRange("p", params.p, 2, kMaxBits - 2));
    RV_RETURN_IF_ERROR(InRange("W", params.W, 1, UINT32_MAX));
  }
  if (params.b != RingBits(params))
    return BadParam("b", params.b, std::to_string(RingBits(params)));
  return InRange("b", params.b, kMinBits, kMaxBits);
}

absl::Status CheckGraph(const Params& params) {
  RV_RETURN_IF_ERROR(InRange("gamma_ppm", params.gamma_ppm, 1, 500'000));
  RV_RETURN_IF_ERROR(InRange("delta_ppm", params.delta_ppm, 0, 999'999));
  if (params.n_max < params.roster_min())
    return BadParam("n_max", params.n_max, ">= " + std::to_string(params.roster_min()));
  if (const auto rule = params.RuleOf(params.n_max); !rule.ok())
    return RefuseFor(Reason::kParams, "gamma, delta: " + std::string(rule.status().message()));
  return absl::OkStatus();
}

}  // namespace

uint32_t Params::roster_min() const {
  return std::max<uint32_t>(n_min, mode == Mode::kMalicious ? 4 : 3);
}

absl::StatusOr<GraphRule> Params::RuleOf(uint32_t n) const {
  auto rule = RuleFor(n, static_cast<uint8_t>(mode), gamma_ppm, delta_ppm,
                      static_cast<uint8_t>(graph_policy), complete_max);
  if (!rule.ok()) return RefuseFor(Reason::kGraph, std::string(rule.status().message()));
  return rule;
}

std::string CanonicalBytes(const Params& params) {
  return ByteWriter(kParamsBytes)
      .Lp(kParamsDomain)
      .U16(params.version)
      .Raw(params.job_id)
      .U64(params.round)
      .U32(params.attempt)
      .Raw(params.model_sha256)
      .Raw(params.config_sha256)
      .U64(params.d)
      .U32(params.d_aux)
      .U8(params.b)
      .U8(params.p)
      .U32(params.W)
      .U8(static_cast<uint8_t>(params.mode))
      .U8(static_cast<uint8_t>(params.dp))
      .U32(params.gamma_ppm)
      .U32(params.delta_ppm)
      .U32(params.n_min)
      .U32(params.n_max)
      .U8(static_cast<uint8_t>(params.graph_policy))
      .U32(params.complete_max)
      .Take();
}

absl::StatusOr<Params> ParseParams(std::string_view bytes) {
  ByteReader in(bytes);
  Params out;
  const std::string_view domain = in.Lp();
  out.version = in.U16();
  out.job_id = in.Array<16>();
  out.round = in.U64();
  out.attempt = in.U32();
  out.model_sha256 = in.Array<32>();
  out.config_sha256 = in.Array<32>();
  out.d = in.U64();
  out.d_aux = in.U32();
  out.b = in.U8();
  out.p = in.U8();
  out.W = in.U32();
  const uint8_t mode = in.U8(), dp = in.U8();
  out.gamma_ppm = in.U32();
  out.delta_ppm = in.U32();
  out.n_min = in.U32();
  out.n_max = in.U32();
  const uint8_t graph_policy = in.U8();
  out.complete_max = in.U32();
  if (!in.Done() || domain != kParamsDomain || out.version != 1 || mode > 1 || dp > 3 ||
      graph_policy > 1) {
    return Refuse(absl::StatusCode::kInvalidArgument, "parameters: not the 150 bytes of version 1");
  }
  out.mode = static_cast<Mode>(mode);
  out.dp = static_cast<Noise>(dp);
  out.graph_policy = static_cast<GraphPolicy>(graph_policy);
  return out;
}

Bytes32 Sid0(const Params& params) { return Sha256Of(CanonicalBytes(params)); }

uint32_t RingBits(const Params& params) {
  if (params.distributed_noise()) return params.p + 2u;
  const uint64_t most = std::max<uint64_t>(1, uint64_t{params.n_max} * params.W);
  return std::max<uint32_t>(kMinBits,
                            params.p + static_cast<uint32_t>(std::bit_width(most - 1)) + 2);
}

absl::Status Check(const Params& params) {
  RV_RETURN_IF_ERROR(InRange("version", params.version, 1, 1));
  RV_RETURN_IF_ERROR(InRange("attempt", params.attempt, 0, kMaxAttempts - 1));
  RV_RETURN_IF_ERROR(InRange("d", params.d, 1, kMaxData));
  RV_RETURN_IF_ERROR(InRange("d_aux", params.d_aux, kMinAuxiliary, kMaxAuxiliary));
  RV_RETURN_IF_ERROR(InRange("mode", static_cast<uint8_t>(params.mode), 0, 1));
  RV_RETURN_IF_ERROR(InRange("dp", static_cast<uint8_t>(params.dp), 0, 3));
  RV_RETURN_IF_ERROR(InRange("graph_policy", static_cast<uint8_t>(params.graph_policy), 0, 1));
  RV_RETURN_IF_ERROR(InRange("n_min", params.n_min, 3, kMaxMembers));
  RV_RETURN_IF_ERROR(InRange("n_max", params.n_max, params.n_min, kMaxMembers));
  RV_RETURN_IF_ERROR(CheckWidth(params));
  return CheckGraph(params);
}

uint64_t LargestSum(const Params& params, uint32_t survivors) {
  if (params.distributed_noise()) return (uint64_t{1} << (params.b - 2)) - 1;
  return uint64_t{survivors} * params.W * ((uint64_t{1} << (params.p - 1)) - 1);
}

}  // namespace rivulet::secagg

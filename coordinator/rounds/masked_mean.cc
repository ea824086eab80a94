#include "coordinator/rounds/masked_mean.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>
#include <utility>

#include "common/job/validate_private.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/masked_upload.h"
#include "privacy/dp/noise_seed.h"
#include "privacy/masking/masked_vector.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {
namespace {

// What an attempt's sums are read by.
struct Reading {
  const JobPlan& plan;
  const MaskedForm form;  // of the round
  const RoundTerms& terms;
  std::string_view noise_seed;
  std::span<const float> previous;
};

// Central noise; nothing under other mechanisms.
absl::StatusOr<CentralAddition> CentralAdditionOf(const Reading& by, uint64_t round) {
  CentralAddition central;
  if (!by.form.central()) return central;
  RV_ASSIGN_OR_RETURN(const CentralRun noise, CentralRunOf(by.plan, by.terms));
  RV_ASSIGN_OR_RETURN(const double divisor, DenominatorOf(by.plan.spec, by.terms.invited));
  central.divisor = std::llround(divisor);
  central.add = [noise, noise_seed = by.noise_seed,
                 round = static_cast<int64_t>(round)](std::span<int64_t> integers) -> absl::Status {
    RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(noise_seed));
    return noise.AddTo(seed, round, integers);
  };
  return central;
}

// The sum of one group, opened and decoded.
absl::StatusOr<DecodedSum> OpenGroup(const BlobStore& blobs, const Reading& by,
                                     std::span<const UpdateRecord> updates, MaskedGroup& group) {
  const secagg::Params& params = group.params();
  secagg::RingVector sum(params.b, params.length());
  for (const UpdateRecord& update : updates) {
    RV_RETURN_IF_ERROR(
        Annotate(AddMaskedUpload(blobs, update.sha256, params, sum), "update of " + update.client));
  }
  RV_ASSIGN_OR_RETURN(const secagg::RingVector opened,
                      group.Open(std::move(sum), std::thread::hardware_concurrency()));
  RV_ASSIGN_OR_RETURN(
      const MaskedForm::Maps maps,
      by.form.MapsOf(params.round, group.session().sid0(), group.session().sid(), by.previous));
  RV_ASSIGN_OR_RETURN(const CentralAddition central, CentralAdditionOf(by, params.round));
  RV_ASSIGN_OR_RETURN(
      DecodedSum decoded,
      DecodeSum(by.form, maps, params, opened, static_cast<uint32_t>(updates.size()), central));
  if (by.form.adaptive() && by.form.central()) {
    RV_ASSIGN_OR_RETURN(const NoiseSeed seed, NoiseSeed::FromStored(by.noise_seed));
    RV_RETURN_IF_ERROR(AddClipBitNoise(by.plan, by.terms, seed, decoded.clip_bits));
  }
  return decoded;
}

// Its own members are to blame, not the disk.
bool IsSpoiled(const absl::Status& status) {
  return secagg::ReasonOf(status).has_value() ||
         status.code() == absl::StatusCode::kInvalidArgument;
}

std::vector<UpdateRecord> UpdatesOf(const MaskedGroup& group,
                                    const std::vector<UpdateRecord>& updates) {
  const std::vector<std::string>& cohort = group.cohort();
  std::vector<UpdateRecord> own;
  std::copy_if(updates.begin(), updates.end(), std::back_inserter(own), [&](const auto& update) {
    return std::find(cohort.begin(), cohort.end(), update.client) != cohort.end();
  });
  return own;
}

}  // namespace

std::string FirstPassBytes(std::span<const float> mean) {
  return {reinterpret_cast<const char*>(mean.data()), mean.size_bytes()};
}

absl::StatusOr<std::vector<float>> ReadFirstPass(const BlobStore& blobs,
                                                 const ModelRecord& parent) {
  RV_ASSIGN_OR_RETURN(const std::string bytes, blobs.Get(parent.log_sha256, parent.log_bytes));
  std::vector<float> mean(bytes.size() / sizeof(float));
  if (mean.size() * sizeof(float) != bytes.size()) {
    return Refuse(absl::StatusCode::kDataLoss, "mean of the first pass: got " +
                                                   std::to_string(bytes.size()) +
                                                   " bytes, want whole numbers");
  }
  std::memcpy(mean.data(), bytes.data(), bytes.size());
  return mean;
}

std::string FirstPassOf(const JobPlan& plan, const ModelRecord& parent) {
  return IsSecondPass(plan.spec, parent.round + 1) ? parent.log_sha256 : "";
}

absl::StatusOr<MaskedMean> OpenMaskedMean(const BlobStore& blobs, const JobPlan& plan,
                                          const std::vector<UpdateRecord>& updates,
                                          const MaskedReading& reading, std::string_view noise_seed,
                                          const RoundTerms& terms, MaskedRound& round) {
  const Reading by{plan, plan.masked->OfRound(terms.clip_norm).OfSecondPass(reading.first_sha256),
                   terms, noise_seed, reading.previous};
  MaskedMean result;
  RoundFigures& figures = result.figures;
  std::vector<ParameterSet> means;
  std::vector<float> reduced;  // of the last
  std::vector<int64_t> weights;
  std::vector<size_t> summed;  // the groups of these
  size_t clients = 0;
  figures.protocol_bytes_up += static_cast<int64_t>(round.draw_bytes());
  for (size_t at = 0; at < round.size(); ++at) {
    const auto leave_out = [&](const std::string& why) {
      figures.left_out.push_back(round.NameOf(at) + ": " + why);
    };
    figures.protocol_bytes_up += static_cast<int64_t>(round.group(at).protocol_bytes());
    const std::vector<UpdateRecord> own = UpdatesOf(round.group(at), updates);
    for (const UpdateRecord& update : own) figures.bytes_up += static_cast<int64_t>(update.bytes);
    if (!round.left_out(at).empty()) {
      leave_out(round.left_out(at));
      continue;
    }
    absl::StatusOr<DecodedSum> sum = OpenGroup(blobs, by, own, round.group(at));
    if (!sum.ok()) {
      if (round.size() == 1 || !IsSpoiled(sum.status())) return sum.status();
      leave_out(std::string(sum.status().message()));
      continue;
    }
    figures.loss += sum->figures.loss;
    figures.examples += sum->figures.examples;
    figures.tokens += sum->figures.tokens;
    result.clip_bits += sum->clip_bits;
    clients += own.size();
    means.push_back(std::move(sum->mean));
    reduced = std::move(sum->reduced);
    weights.push_back(sum->weight);
    summed.push_back(at);
  }
  if (means.size() < round.needed()) return round.TooFew(means.size(), figures.left_out);
  figures.loss /= static_cast<double>(clients);
  if (plan.spec.robust.groups == 0) {
    result.mean = std::move(means[0]);
    result.reduced = std::move(reduced);
    return result;
  }
  RV_ASSIGN_OR_RETURN(RuledMean ruled, RobustMean(plan, means, weights));
  result.mean = std::move(ruled.mean);
  result.scaled = ruled.scaled;
  for (size_t each = 0; each < summed.size(); ++each) {
    if (ruled.kept[each]) continue;
    figures.left_out.push_back(round.NameOf(summed[each]) + ": the rule gave it no part");
  }
  return result;
}

}  // namespace rivulet

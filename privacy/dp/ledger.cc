#include "privacy/dp/ledger.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/formats/json.h"
#include "common/formats/json_fields.h"
#include "privacy/dp/distributed.h"

namespace rivulet {
namespace {

constexpr size_t kMostBytes = 4096;
constexpr size_t kMostName = 256;
constexpr int64_t kMostCount = int64_t{1} << 40;
constexpr std::array<std::string_view, 5> kMechanisms = {"central-gaussian", "distributed-gaussian",
                                                         "distributed-skellam", "tree", "banded"};

absl::Status BadRow(std::string_view field, const std::string& got, std::string_view want) {
  return Refuse(absl::StatusCode::kInvalidArgument, "ledger row: " + std::string(field) + ": got " +
                                                        got + ", want " + std::string(want));
}

bool IsHexDigest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Appends "key":value, in order.
class RowWriter {
 public:
  void Text(std::string_view key, std::string_view value) { Raw(key, QuoteJson(value)); }
  void Integer(std::string_view key, int64_t value) { Raw(key, std::to_string(value)); }
  void Boolean(std::string_view key, bool value) { Raw(key, value ? "true" : "false"); }
  void Number(std::string_view key, double value) {
    char text[40];
    const auto [end, error] = std::to_chars(text, text + sizeof text, value);
    Raw(key, {text, static_cast<size_t>(end - text)});
  }
  std::string Finish() { return text_ + "}"; }

 private:
  void Raw(std::string_view key, std::string_view value) {
    text_ += text_.empty() ? "{\"" : ",\"";
    text_ += key;
    text_ += "\":";
    text_ += value;
  }
  std::string text_;
};

struct Number {
  const char* name;
  double LedgerRow::*field;
  double least, most;
};
constexpr double kLargest = 1e300;
constexpr std::array<Number, 10> kNumbers = {{
    {"q", &LedgerRow::q, 0, 1},
    {"z", &LedgerRow::z, 0, kLargest},
    {"z_delta", &LedgerRow::z_delta, 0, kLargest},
    {"clip_norm", &LedgerRow::clip_norm, 0, kLargest},
    {"sigma_int", &LedgerRow::sigma_int, 0, kLargest},
    {"scale", &LedgerRow::scale, 0, kLargest},
    {"norm_bound", &LedgerRow::norm_bound, 0, kLargest},
    {"delta", &LedgerRow::delta, 0, 1},
    {"eps_pld", &LedgerRow::eps_pld, 0, kLargest},
    {"eps_rdp", &LedgerRow::eps_rdp, 0, kLargest},
}};
struct Count {
  const char* name;
  int64_t LedgerRow::*field;
};
constexpr std::array<Count, 9> kCounts = {{
    {"round", &LedgerRow::round},
    {"survivors", &LedgerRow::survivors},
    {"n_eff", &LedgerRow::n_eff},
    {"n_max", &LedgerRow::n_max},
    {"values", &LedgerRow::values},
    {"accumulator_bits", &LedgerRow::accumulator_bits},
    {"steps", &LedgerRow::steps},
    {"max_participation", &LedgerRow::max_participation},
    {"min_separation", &LedgerRow::min_separation},
}};

absl::StatusOr<PrivacyEvent> DistributedOf(const LedgerRow& row) {
  // The session that guarantees exactly these shares, as its own check computed them.
  const SessionShape session{
      .threat = SessionShape::Threat::kSemiHonest, .least = row.n_eff, .most = row.n_max};
  RV_ASSIGN_OR_RETURN(const NoiseShares shares, session.Shares());
  const auto noise = row.mechanism == DpMechanism::kDistributedSkellam
                         ? DistributedEvent::Noise::kSkellam
                         : DistributedEvent::Noise::kDiscreteGaussian;
  const double variance = row.sigma_int * row.sigma_int;
  if (!(row.z > 0 && row.z <= row.z_delta)) {
    return BadRow("z", std::to_string(row.z), "above 0 and at most z_delta");
  }
  const double bound = NormBoundWithBit(row.norm_bound, static_cast<double>(row.n_eff) * variance,
                                        row.z, row.z_delta);
  if (row.relation == RelationName::kZeroOut) {
    return DistributedEvent(ZeroOut{}, noise, bound, variance, row.values, shares, 1);
  }
  return DistributedEvent(AddRemoveOne{}, noise, bound, variance, row.values, shares, 1);
}

template <typename Relation>
PrivacyEvent WholeRunUnder(const LedgerRow& row) {
  const NoiseMultiplier<Relation> z{row.z};
  if (row.mechanism == DpMechanism::kBanded) return BandedEvent(z);
  return TreeEvent(z, row.steps, row.max_participation, row.min_separation);
}

absl::StatusOr<PrivacyEvent> WholeRunOf(const LedgerRow& row) {
  switch (row.relation) {
    case RelationName::kAddRemoveOne:
      return WholeRunUnder<AddRemoveOne>(row);
    case RelationName::kZeroOut:
      return WholeRunUnder<ZeroOut>(row);
    case RelationName::kReplaceOne:
      break;
  }
  return BadRow("relation", "replace-one", "add-remove-one or zero-out for noise over rounds");
}

absl::StatusOr<PrivacyEvent> CentralOf(const LedgerRow& row) {
  switch (row.relation) {
    case RelationName::kAddRemoveOne:
      return PoissonGaussianEvent(row.q, {row.z}, 1);
    case RelationName::kZeroOut:
      return GaussianEvent(NoiseMultiplier<ZeroOut>{row.z}, 1);
    case RelationName::kReplaceOne:
      return GaussianEvent(NoiseMultiplier<ReplaceOne>{row.z}, 1);
  }
  return BadRow("relation", "another value", "a relation");
}

}  // namespace

std::string_view NameOf(DpMechanism mechanism) {
  return kMechanisms.at(static_cast<size_t>(mechanism));
}

absl::StatusOr<DpMechanism> DpMechanismFrom(std::string_view name) {
  for (size_t at = 0; at < kMechanisms.size(); ++at) {
    if (kMechanisms[at] == name) return static_cast<DpMechanism>(at);
  }
  return BadRow("mechanism", "another word", "one of the five");
}

absl::Status LedgerRow::Validate() const {
  for (const auto& [name, text] :
       {std::pair("job", &job), {"data_set", &data_set}, {"code_version", &code_version}}) {
    if (text->empty() || text->size() > kMostName || !IsUtf8(*text)) {
      return BadRow(name, std::to_string(text->size()) + " bytes", "1..256 of UTF-8");
    }
  }
  if (!IsHexDigest(seed_commitment))
    return BadRow("seed_commitment", "other text", "64 hex digits");
  if (!IsHexDigest(vectors_sha256)) return BadRow("vectors_sha256", "other text", "64 hex digits");
  for (const Number& number : kNumbers) {
    const double value = this->*number.field;
    if (value >= number.least && value <= number.most) continue;
    return BadRow(number.name, std::to_string(value), "a finite number in range");
  }
  for (const Count& count : kCounts) {
    const int64_t value = this->*count.field;
    if (value < 0 || value > kMostCount)
      return BadRow(count.name, std::to_string(value), "0..2^40");
  }
  if (steps < 1) return BadRow("steps", std::to_string(steps), "1 or more");
  if (!(delta > 0 && delta < 1)) return BadRow("delta", std::to_string(delta), "between 0 and 1");
  const bool sampled = q != 1;
  if (sampled &&
      (mechanism != DpMechanism::kCentralGaussian || relation != RelationName::kAddRemoveOne)) {
    return BadRow("q", std::to_string(q),
                  "1: sampling counts only for a Poisson cohort, add-remove-one, central noise");
  }
  return Event().status();
}

absl::StatusOr<PrivacyEvent> LedgerRow::Event() const {
  absl::StatusOr<PrivacyEvent> event = CentralOf(*this);
  switch (mechanism) {
    case DpMechanism::kCentralGaussian:
      break;
    case DpMechanism::kDistributedGaussian:
    case DpMechanism::kDistributedSkellam:
      event = relation == RelationName::kReplaceOne
                  ? BadRow("relation", "replace-one", "add-remove-one or zero-out for shares")
                  : DistributedOf(*this);
      break;
    case DpMechanism::kTree:
    case DpMechanism::kBanded:
      event = WholeRunOf(*this);
      break;
  }
  RV_RETURN_IF_ERROR(event.status());
  RV_RETURN_IF_ERROR(CheckEvent(*event));
  return event;
}

std::string ToJson(const LedgerRow& row) {
  RowWriter writer;
  writer.Text("job", row.job);
  writer.Text("data_set", row.data_set);
  writer.Boolean("tuning", row.tuning);
  writer.Text("mechanism", NameOf(row.mechanism));
  writer.Text("unit", NameOf(row.unit));
  writer.Text("relation", NameOf(row.relation));
  for (const Count& count : kCounts) writer.Integer(count.name, row.*count.field);
  for (const Number& number : kNumbers) writer.Number(number.name, row.*number.field);
  writer.Text("seed_commitment", row.seed_commitment);
  writer.Text("code_version", row.code_version);
  writer.Text("vectors_sha256", row.vectors_sha256);
  return writer.Finish();
}

absl::StatusOr<LedgerRow> LedgerRowFrom(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const nlohmann::json json,
                      ParseJson(text, {.bytes = kMostBytes, .depth = 1, .values = 64}));
  if (!json.is_object()) return BadRow("text", "no object", "one object");
  JsonFields fields(json, "ledger row: ");
  LedgerRow row;
  row.job = fields.RequiredText("job", kMostName);
  row.data_set = fields.RequiredText("data_set", kMostName);
  row.tuning = fields.Boolean("tuning", false);
  const std::string mechanism = fields.RequiredText("mechanism"),
                    unit = fields.RequiredText("unit"), relation = fields.RequiredText("relation");
  for (const Count& count : kCounts) {
    row.*count.field = fields.RequiredInteger(count.name, 0, kMostCount);
  }
  for (const Number& number : kNumbers) {
    row.*number.field = fields.RequiredNumber(number.name, number.least, number.most);
  }
  row.seed_commitment = fields.RequiredText("seed_commitment");
  row.code_version = fields.RequiredText("code_version", kMostName);
  row.vectors_sha256 = fields.RequiredText("vectors_sha256");
  RV_RETURN_IF_ERROR(fields.status());
  RV_ASSIGN_OR_RETURN(row.mechanism, DpMechanismFrom(mechanism));
  RV_ASSIGN_OR_RETURN(row.unit, PrivacyUnitFrom(unit));
  RV_ASSIGN_OR_RETURN(row.relation, RelationFrom(relation));
  RV_RETURN_IF_ERROR(row.Validate());
  if (ToJson(row) != text) {
    return BadRow("text", "another writing of the same row", "the canonical one");
  }
  return row;
}

}  // namespace rivulet

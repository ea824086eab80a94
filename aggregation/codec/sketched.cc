#include <algorithm>

#include "aggregation/codec/bodies.h"
#include "aggregation/codec/count_sketch.h"
#include "aggregation/codec/kernels.h"
#include "aggregation/codec/low_rank_parts.h"
#include "aggregation/codec/value_coder.h"

namespace rivulet {
namespace {

// residual -= what these bytes decode to.
absl::Status TakeOut(const CodecBody& codec, std::string_view body, const EncodeJob& job) {
  if (job.residual.empty()) return absl::OkStatus();
  std::vector<float> decoded(job.residual.size());
  RV_RETURN_IF_ERROR(codec.Decode(body, {job.manifest, true, job.previous, job.context}, decoded));
  codec_kernels::Subtract(job.residual.data(), decoded.data(), decoded.size());
  return absl::OkStatus();
}

// The table of NewCountSketch.
class CountSketchBody : public CodecBody {
 public:
  CountSketchBody(uint32_t rows, uint32_t columns, ValueKind kind)
      : rows_(rows), columns_(columns), kind_(kind) {}
  std::string_view name() const override { return "count-sketch"; }
  uint8_t id() const override { return 14; }
  CodecTraits traits() const override {
    return {.maskable = true,
            .unbiased = rows_ == 1,
            .stochastic = kind_ == ValueKind::kInt8,
            .error_bound = "sqrt(3 / columns) ||x|| for most numbers, more rows for more of them"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    return BytesFor(FlatNumbers(manifest));
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    RoundingSource* rounding = nullptr;
    if (kind_ == ValueKind::kInt8) {
      RV_ASSIGN_OR_RETURN(rounding, RoundingOf(name(), job.context));
    }
    const std::unique_ptr<LinearStage> sketch = SketchFor(job.values.size(), job.context);
    std::vector<float> table(sketch->OutputSize(job.values.size()));
    sketch->Project(job.values, table);
    return AppendValues(kind_, table, rounding, body);
  }

  absl::Status Decode(std::string_view body, const DecodeJob& job,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), BytesFor(out.size())));
    const std::unique_ptr<LinearStage> sketch = SketchFor(out.size(), job.context);
    std::vector<float> table(sketch->OutputSize(out.size()));
    RV_RETURN_IF_ERROR(DecodeValues(kind_, body, table));
    sketch->Expand(table, out);
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<LinearStage> SketchFor(size_t d, const CodecContext& context) const {
    return NewCountSketch(rows_, SketchColumnsFor(d, rows_, columns_), context.root, context.round);
  }
  uint64_t BytesFor(size_t d) const {
    return BytesOfValues(kind_, uint64_t{rows_} * SketchColumnsFor(d, rows_, columns_));
  }

  uint32_t rows_, columns_;
  ValueKind kind_;
};

// One pass of PowerSGD from a public start: P = orthonormalise(M Q), R = M^T P, decoded P R^T. Not
// linear in M; the stages of linear.h do it over two sums.
class LowRankBody : public CodecBody {
 public:
  LowRankBody(uint32_t rank, ValueKind kind, bool feedback)
      : rank_(rank), kind_(kind), feedback_(feedback) {}
  std::string_view name() const override { return "low-rank"; }
  uint8_t id() const override { return 13; }
  CodecTraits traits() const override {
    return {.maskable = true,
            .feedback = feedback_,
            .error_bound =
                "what a random start finds beyond the leading singular vectors, and the "
                "rounding of the factors"};
  }
  uint64_t MaxBytes(const Manifest& manifest) const override {
    uint64_t bytes = 0;
    for (const LowRankPart& part : LowRankPartsOf(manifest, rank_)) bytes += BytesFor(part);
    return bytes;
  }

  absl::Status Encode(const EncodeJob& job, std::string& body) const override {
    const size_t start = body.size();
    const std::span<const float> values = TakeIn(job);
    const std::vector<LowRankPart> parts = LowRankPartsOf(job.manifest, rank_);
    for (size_t position = 0; position < parts.size(); ++position) {
      const LowRankPart& part = parts[position];
      const std::span<const float> matrix = values.subspan(part.offset, part.size());
      if (part.rank == 0) {
        RV_RETURN_IF_ERROR(AppendValues(kind_, matrix, nullptr, body));
        continue;
      }
      std::vector<float> left(part.rank * part.rows), right(part.rank * part.columns);
      MultiplyLeft(part, matrix.data(),
                   PublicFactor(part, position, job.context.root, job.context.round), left);
      Orthonormalise(part.rank, left);
      RV_RETURN_IF_ERROR(AppendValues(kind_, left, nullptr, body));
      MultiplyRight(part, matrix.data(), left, right);
      RV_RETURN_IF_ERROR(AppendValues(kind_, right, nullptr, body));
    }
    return TakeOut(*this, std::string_view(body).substr(start), job);
  }

  absl::Status Decode(std::string_view body, const DecodeJob& job,
                      std::span<float> out) const override {
    RV_RETURN_IF_ERROR(CheckBytes(name(), body.size(), MaxBytes(job.manifest)));
    for (const LowRankPart& part : LowRankPartsOf(job.manifest, rank_)) {
      RV_RETURN_IF_ERROR(DecodePart(part, body, out.subspan(part.offset, part.size())));
    }
    return absl::OkStatus();
  }

 private:
  uint64_t BytesFor(const LowRankPart& part) const {
    if (part.rank == 0) return BytesOfValues(kind_, part.size());
    return BytesOfValues(kind_, part.rank * part.rows) +
           BytesOfValues(kind_, part.rank * part.columns);
  }

  absl::Status DecodePart(const LowRankPart& part, std::string_view& body,
                          std::span<float> out) const {
    const auto take = [&](std::span<float> values) {
      const uint64_t bytes = BytesOfValues(kind_, values.size());
      const std::string_view some = body.substr(0, bytes);
      body.remove_prefix(bytes);
      return DecodeValues(kind_, some, values);
    };
    if (part.rank == 0) return take(out);
    std::vector<float> left(part.rank * part.rows), right(part.rank * part.columns);
    RV_RETURN_IF_ERROR(take(left));
    RV_RETURN_IF_ERROR(take(right));
    const float largest = codec_kernels::LargestMagnitude(left.data(), left.size());
    if (largest > 2) {  // of an orthonormal factor; a product of larger ones may overflow
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "low-rank: left factor: got " + std::to_string(largest) + ", want at most 2");
    }
    MultiplyOut(part, left, right, out.data());
    return absl::OkStatus();
  }

  uint32_t rank_;
  ValueKind kind_;
  bool feedback_;
};

}  // namespace

BodyOr NewCountSketchBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const ValueKind kind, ValueKindOf(settings.values, ValueKind::kF32));
  if (settings.rows % 2 == 0 || settings.rows > 15) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "compression.rows: got " + std::to_string(settings.rows) + ", want an odd number, 1..15");
  }
  if (settings.columns > 1u << 26) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "compression.columns: got " + std::to_string(settings.columns) + ", want at most 2^26");
  }
  return std::make_unique<CountSketchBody>(settings.rows, settings.columns, kind);
}

BodyOr NewLowRankBody(const CodecSettings& settings) {
  RV_ASSIGN_OR_RETURN(const ValueKind kind, ValueKindOf(settings.values, ValueKind::kBF16));
  if (settings.rank < 1 || settings.rank > 256) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "compression.rank: got " + std::to_string(settings.rank) + ", want 1..256");
  }
  return std::make_unique<LowRankBody>(settings.rank, kind, settings.error_feedback);
}

}  // namespace rivulet

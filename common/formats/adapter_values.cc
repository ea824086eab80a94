#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/formats/adapter_manifest.h"
#include "common/formats/float_cast.h"
#include "common/random.h"

// What the tensors of a plan start from, and what an export makes of the trained ones.

namespace rivulet {
namespace {

constexpr float kNormalDeviation = 0.02f;

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

void Draw(const RandomStream& stream, uint32_t position, const TrainedTensor& tensor,
          std::span<float> out) {
  if (tensor.role == TensorRole::kLoraA) {
    stream.FillUniform(position, out);
    const float bound =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(tensor.spec.shape[1])));
    for (float& value : out) value *= bound;
  } else if (tensor.role == TensorRole::kAdapterDownWeight ||
             tensor.role == TensorRole::kHeadWeight || tensor.role == TensorRole::kPrompt) {
    stream.FillGauss(position, out);
    for (float& value : out) value *= kNormalDeviation;
  } else {
    std::fill(out.begin(), out.end(), 0.0f);
  }
}

// The first values of a tensor that starts from the base model.
absl::Status CopyFromBase(const TrainedTensor& tensor, const ModelFiles& base,
                          std::span<float> out) {
  const TensorView* view = base.Find(tensor.starts_from);
  const std::vector<int64_t>& shape = tensor.spec.shape;
  const auto fits = [&](const TensorSpec& spec) {
    if (!IsFloat(spec.dtype)) return false;
    if (tensor.rows.empty()) return spec.shape == shape;
    const int64_t last = *std::max_element(tensor.rows.begin(), tensor.rows.end());
    return spec.shape.size() == 2 && spec.shape[1] == shape[1] && spec.shape[0] > last;
  };
  if (view == nullptr || !fits(view->spec)) {
    return Refuse(
        absl::StatusCode::kFailedPrecondition,
        tensor.spec.name + ": starts from '" + tensor.starts_from + "' of the base model: got " +
            (view == nullptr ? "nothing" : Describe(view->spec)) + ", want " +
            (tensor.rows.empty() ? "" : "rows for ") + Describe(tensor.spec) + ", or BF16 or F16");
  }
  if (tensor.rows.empty()) {
    CopyAsFloats(*view, out);
    return absl::OkStatus();
  }
  const auto width = static_cast<size_t>(shape[1]);
  const size_t bytes = width * BitsOf(view->spec.dtype) / 8;
  for (size_t row = 0; row < tensor.rows.size(); ++row) {
    const TensorView one = {{view->spec.name, view->spec.dtype, {shape[1]}},
                            view->bytes.subspan(bytes * tensor.rows[row], bytes)};
    CopyAsFloats(one, out.subspan(row * width, width));
  }
  return absl::OkStatus();
}

absl::Status NotAtHand(const std::string& tensor) {
  return Refuse(absl::StatusCode::kFailedPrecondition,
                tensor +
                    ": starts from the base model's values, which are not at hand; want the folder "
                    "of the base model");
}

}  // namespace

void CopyAsFloats(const TensorView& tensor, std::span<float> out) {
  const DType dtype = tensor.spec.dtype;
  if (tensor.bytes.size() != out.size() * BitsOf(dtype) / 8) std::abort();
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
    return;
  }
  if (dtype != DType::kBF16 && dtype != DType::kF16) std::abort();
  for (size_t row = 0; row < out.size(); ++row) {
    uint16_t bits;
    std::memcpy(&bits, tensor.bytes.data() + 2 * row, 2);
    out[row] = dtype == DType::kBF16 ? FloatOfBF16(bits) : FloatOfF16(bits);
  }
}

absl::StatusOr<ParameterSet> BaseTensors(const AdapterPlan& plan, const ModelFiles& base) {
  ParameterSet values(plan.from_base());
  size_t row = 0;
  for (const TrainedTensor& tensor : plan.tensors) {
    if (!plan.IsSent(tensor) || tensor.starts_from.empty()) continue;
    RV_RETURN_IF_ERROR(CopyFromBase(tensor, base, values.floats(row++)));
  }
  RV_RETURN_IF_ERROR(Annotate(CheckFinite(values), "base model"));
  return values;
}

absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ModelFiles* base) {
  ParameterSet from_base;
  if (base != nullptr) {
    RV_ASSIGN_OR_RETURN(from_base, BaseTensors(plan, *base));
  } else if (const Manifest wanted = plan.from_base(); !wanted.empty()) {
    return NotAtHand(wanted[0].name);
  }
  return InitialState(plan, seed, from_base);
}

absl::StatusOr<ParameterSet> InitialState(const AdapterPlan& plan, uint64_t seed,
                                          const ParameterSet& from_base) {
  RV_RETURN_IF_ERROR(SameManifest(from_base.manifest(), plan.from_base()));
  const RandomStream stream(seed, Purpose::kInitialValues, 0);
  ParameterSet state(plan.wire());
  size_t row = 0, given = 0;
  for (size_t position = 0; position < plan.tensors.size(); ++position) {
    const TrainedTensor& tensor = plan.tensors[position];
    if (!plan.IsSent(tensor)) continue;
    const std::span<float> out = state.floats(row++);
    if (tensor.starts_from.empty()) {
      Draw(stream, static_cast<uint32_t>(position), tensor, out);
    } else {
      const std::span<const float> values = from_base.floats(given++);
      std::copy(values.begin(), values.end(), out.begin());
    }
  }
  return state;
}

absl::StatusOr<ParameterSet> CompleteState(const AdapterPlan& plan, uint64_t seed,
                                           const ParameterSet& wire, const ModelFiles* base) {
  RV_RETURN_IF_ERROR(SameManifest(wire.manifest(), plan.wire()));
  const RandomStream stream(seed, Purpose::kInitialValues, 0);
  ParameterSet state(plan.full());
  size_t sent = 0, row = 0;
  for (size_t position = 0; position < plan.tensors.size(); ++position) {
    const TrainedTensor& tensor = plan.tensors[position];
    if (tensor.role == TensorRole::kPromptSubspace) {
      ++sent;
      continue;
    }
    const std::span<float> out = state.floats(row++);
    if (plan.IsSent(tensor)) {
      const std::span<const float> values = wire.floats(sent++);
      std::copy(values.begin(), values.end(), out.begin());
    } else if (tensor.starts_from.empty()) {
      Draw(stream, static_cast<uint32_t>(position), tensor, out);
    } else {
      if (base == nullptr) return NotAtHand(tensor.spec.name);
      RV_RETURN_IF_ERROR(CopyFromBase(tensor, *base, out));
    }
  }
  if (plan.prompt && plan.prompt->subspace > 0) {
    MoveInSubspace(seed, wire.floats(static_cast<size_t>(wire.IndexOf(kSubspaceKey))),
                   state.floats(static_cast<size_t>(state.IndexOf(kPromptKey))));
  }
  return state;
}

}  // namespace rivulet

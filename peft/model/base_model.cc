#include "peft/model/base_model.h"

#include <ATen/ATen.h>

#include <bit>
#include <cstring>
#include <vector>

namespace rivulet {
namespace {

void WidenBf16(const std::byte* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = std::bit_cast<float>(uint32_t{half} << 16);
  }
}

bool IsAligned(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.bytes.data()) % alignof(float) == 0;
}

// F32 values of a tensor: the mapped bytes themselves where that is possible.
absl::StatusOr<at::Tensor> Widen(const TensorView& view) {
  std::byte* bytes = const_cast<std::byte*>(view.bytes.data());  // never written: frozen
  if (view.spec.dtype == DType::kF32 && IsAligned(view)) {
    return at::from_blob(bytes, view.spec.shape, at::kFloat);
  }
  at::Tensor tensor = at::empty(view.spec.shape, at::kFloat);
  float* to = tensor.data_ptr<float>();
  switch (view.spec.dtype) {
    case DType::kF32:
      std::memcpy(to, bytes, view.bytes.size());
      return tensor;
    case DType::kBF16:
      WidenBf16(bytes, to, tensor.numel());
      return tensor;
    case DType::kF16: {
      at::Tensor half = at::empty(view.spec.shape, at::kHalf);
      std::memcpy(half.data_ptr(), bytes, view.bytes.size());
      return half.to(at::kFloat);
    }
    default:
      return Refuse(absl::StatusCode::kInvalidArgument,
                    Describe(view.spec) + ": got this dtype, want F32, BF16 or F16");
  }
}

// What stays bf16 in bf16 arithmetic: matrices of the layers, embeddings, lm_head. Norms, biases
// and small heads are fp32.
bool IsLarge(const std::string& name, const TensorView& view) {
  const bool head = name.starts_with("classifier") || name.starts_with("score") ||
                    name.find("pooler") != std::string::npos;
  return view.spec.shape.size() == 2 && !head;
}

// BF16 values: the mapped bytes themselves where the file has them.
absl::StatusOr<at::Tensor> Narrow(const TensorView& view) {
  std::byte* bytes = const_cast<std::byte*>(view.bytes.data());  // never written: frozen
  if (view.spec.dtype == DType::kBF16 && reinterpret_cast<uintptr_t>(bytes) % 4 == 0) {
    return at::from_blob(bytes, view.spec.shape, at::kBFloat16);
  }
  RV_ASSIGN_OR_RETURN(const at::Tensor wide, Widen(view));
  return wide.to(at::kBFloat16);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const BaseModel>> BaseModel::Load(
    const std::filesystem::path& directory, const BaseModelOptions& options) {
  std::shared_ptr<BaseModel> model(new BaseModel());
  model->compute_ = options.compute;
  RV_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
  RV_ASSIGN_OR_RETURN(model->config_, ForTask(std::move(config), options.task, options.labels));
  RV_ASSIGN_OR_RETURN(model->files_, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(model->match_, MatchTensors(model->config_, model->files_.specs()));
  std::map<std::string, at::Tensor> by_file_name;  // tied names share one tensor
  for (const auto& [name, file_name] : model->match_.file_name_of) {
    at::Tensor& tensor = by_file_name[file_name];
    if (!tensor.defined()) {
      const TensorView& view = *model->files_.Find(file_name);
      const bool narrow = options.compute == Compute::kBFloat16 && IsLarge(name, view);
      RV_ASSIGN_OR_RETURN(tensor, narrow ? Narrow(view) : Widen(view));
    }
    model->tensors_.emplace(name, tensor);
  }
  return model;
}

at::Tensor BaseModel::Find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? at::Tensor() : it->second;
}

}  // namespace rivulet

#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "common/status.h"

namespace rivulet {

inline absl::Status CudaStatus(cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal, std::string("CUDA: ") + cudaGetErrorString(error));
}

}  // namespace rivulet

#include "common/direction/cuda/rank_one_replay_cuda.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/direction/cuda/cuda_status.h"
#include "common/direction/cuda/rank_one_kernels.h"

namespace rivulet {
namespace {

using direction_cuda::kLimbs;
using direction_cuda::StreamKey;
using direction_cuda::Term;

constexpr int64_t kSumBytes = int64_t{256} << 20;

int64_t RoundUp(int64_t n) { return (n + 15) / 16 * 16; }  // what products of bytes want

absl::Status StatusOfCublas(cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInternal,
                std::string("cuBLAS: ") + cublasGetStatusString(status));
}
StreamKey KeyOfFactor(const DirectionAddress& z, Purpose purpose) {
  const RandomStream stream(z.root, purpose, z.index);
  return {{stream.key().word[0], stream.key().word[1]}, stream.lane(), 0};
}

std::vector<Term> TermsOf(DirectionAddress z, std::span<const int32_t> values) {
  std::vector<Term> terms;
  for (int32_t value : values) {
    terms.push_back(
        {KeyOfFactor(z, Purpose::kLeftFactor), KeyOfFactor(z, Purpose::kRightFactor), value, 0});
    ++z.index;
  }
  terms.resize(static_cast<size_t>(RoundUp(static_cast<int64_t>(terms.size()))));
  return terms;
}

// Device memory from the stream's pool, given back in the stream's order at the end of scope.
class Workspace {
 public:
  explicit Workspace(cudaStream_t stream) : stream_(stream) {}
  ~Workspace() {
    for (void* block : blocks_) cudaFreeAsync(block, stream_);
  }
  template <typename T>
  absl::Status Take(T*& out, int64_t count) {
    void* block = nullptr;
    RV_RETURN_IF_ERROR(
        CudaStatus(cudaMallocAsync(&block, static_cast<size_t>(count) * sizeof(T), stream_)));
    blocks_.push_back(block);
    out = static_cast<T*>(block);
    return absl::OkStatus();
  }

 private:
  cudaStream_t stream_;
  std::vector<void*> blocks_;
};

}  // namespace

struct RankOneReplayCuda::Device {
  cublasHandle_t handle = nullptr;
  ~Device() {
    if (handle != nullptr) cublasDestroy(handle);
  }
};

RankOneReplayCuda::RankOneReplayCuda(std::unique_ptr<Device> device) : device_(std::move(device)) {}
RankOneReplayCuda::~RankOneReplayCuda() = default;

absl::StatusOr<std::unique_ptr<RankOneReplayCuda>> RankOneReplayCuda::Make() {
  RV_RETURN_IF_ERROR(CheckCuda());
  auto device = std::make_unique<Device>();
  RV_RETURN_IF_ERROR(StatusOfCublas(cublasCreate(&device->handle)));
  return std::unique_ptr<RankOneReplayCuda>(new RankOneReplayCuda(std::move(device)));
}

absl::Status RankOneReplayCuda::Add(const DirectionAddress& first, const FixedPoint& coefficients,
                                    const TensorPart& matrix, float* w, void* stream) {
  if (first.settings.kind != DirectionKind::kLowRank || first.settings.rank != 1) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "direction: got another kind or rank, want low-rank of rank 1");
  }
  RV_RETURN_IF_ERROR(CheckRankOne(coefficients.values, matrix));
  if (coefficients.values.empty() || matrix.elements() == 0) return absl::OkStatus();
  const auto to = static_cast<cudaStream_t>(stream);
  RV_RETURN_IF_ERROR(StatusOfCublas(cublasSetStream(device_->handle, to)));

  // In cuBLAS's order, columns first: sums [pitch, 3 rows] = right [K, pitch]^T left [K, 3 rows].
  const std::vector<Term> host_terms = TermsOf(first, coefficients.values);
  const int64_t terms = static_cast<int64_t>(host_terms.size());
  const int64_t pitch = RoundUp(matrix.columns);
  const int64_t most_rows = std::max<int64_t>(16, kSumBytes / (kLimbs * 4 * pitch) / 16 * 16);
  const int64_t rows = std::min(most_rows, RoundUp(matrix.rows));
  Workspace workspace(to);
  Term* device_terms = nullptr;
  int8_t *left = nullptr, *right = nullptr;
  int32_t* sums = nullptr;
  RV_RETURN_IF_ERROR(workspace.Take(device_terms, terms));
  RV_RETURN_IF_ERROR(workspace.Take(left, kLimbs * rows * terms));
  RV_RETURN_IF_ERROR(workspace.Take(right, pitch * terms));
  RV_RETURN_IF_ERROR(workspace.Take(sums, kLimbs * rows * pitch));
  RV_RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(device_terms, host_terms.data(), host_terms.size() * sizeof(Term),
                                 cudaMemcpyHostToDevice, to)));
  const int count = static_cast<int>(terms);
  RV_RETURN_IF_ERROR(CudaStatus(
      direction_cuda::LaunchRightBytes(device_terms, count, matrix.tensor, pitch, right, to)));
  const int32_t one = 1, zero = 0;
  for (int64_t row = 0; row < matrix.rows; row += rows) {
    RV_RETURN_IF_ERROR(CudaStatus(
        direction_cuda::LaunchLeftBytes(device_terms, count, matrix.tensor, row, rows, left, to)));
    RV_RETURN_IF_ERROR(StatusOfCublas(
        cublasGemmEx(device_->handle, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(pitch),
                     static_cast<int>(kLimbs * rows), count, &one, right, CUDA_R_8I, count, left,
                     CUDA_R_8I, count, &zero, sums, CUDA_R_32I, static_cast<int>(pitch),
                     CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT)));
    const direction_cuda::LimbSums from{sums, std::min(rows, matrix.rows - row), matrix.columns,
                                        pitch, rows * pitch};
    RV_RETURN_IF_ERROR(CudaStatus(
        direction_cuda::LaunchAddLimbs(from, coefficients.exponent, w + row * matrix.columns, to)));
  }
  return absl::OkStatus();
}

}  // namespace rivulet

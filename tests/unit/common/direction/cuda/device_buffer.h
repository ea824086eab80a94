#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <vector>

namespace rivulet::testing {

// Numbers in device memory, copied there and back.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(const std::vector<T>& values) : size_(values.size()) {
    Must(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(T) + 16));
    Must(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* get() { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    Must(cudaDeviceSynchronize());
    Must(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  static void Must(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
  }

  T* data_ = nullptr;
  size_t size_;
};

}  // namespace rivulet::testing

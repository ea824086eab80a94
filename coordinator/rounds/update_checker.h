#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "aggregation/values_digest.h"
#include "common/tensor/parameter_set.h"
#include "coordinator/rounds/update_layout.h"
#include "coordinator/rounds/upload_check.h"

namespace rivulet {

struct UpdateLimits {
  bool votes = false;
  double norm = 0;  // the bound of CheckNorm; 0: none
};

// Checks an upload of foreign bytes as they come: upload profile, exactly `manifest` (F32), every
// value finite and |value| < 128, of votes -1, 0 or 1, then the norm. Memory: the header and a few
// KiB. Not thread safe.
class UpdateChecker final : public UploadCheck {
 public:
  // `manifest` must outlive it. `file_bytes`: of the whole file.
  UpdateChecker(const Manifest& manifest, uint64_t file_bytes, UpdateLimits limits = {});

  void Feed(std::span<const std::byte> bytes) override;
  // A wrong value is named with its tensor and index.
  absl::Status Finish() override;
  ValuesDigest digest() const override { return digest_; }
  bool zero() const override { return largest_bits_ == 0; }

 private:
  absl::Status CheckWhole() const;
  std::span<const std::byte> TakeHeader(std::span<const std::byte> bytes);
  void TakeValues(std::span<const std::byte> bytes);
  void CheckValues(std::span<const float> values);
  bool Takes(float value) const;
  absl::Status RefuseFirstBad(std::span<const float> values) const;

  const Manifest& manifest_;
  const uint64_t file_bytes_;
  const UpdateLimits limits_;
  absl::Status status_;          // the first thing that is wrong
  std::string header_;           // with its length field
  bool placed_ = false;          // the header is whole and right
  UpdateLayout layout_;          // then
  uint64_t values_ = 0;          // checked so far
  std::vector<std::byte> rest_;  // of a value that is cut in two
  ValuesDigest digest_;
  uint32_t largest_bits_ = 0;  // of a magnitude
  double squares_ = 0;         // their sum, where there is a norm limit
};

}  // namespace rivulet

#include "coordinator/rounds/update_checker.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/robust/kernels.h"
#include "aggregation/robust/update_bounds.h"
#include "common/formats/safetensors_header.h"
#include "common/scalars/vote.h"

namespace rivulet {
namespace {

constexpr size_t kCopied = 2048;  // values at a time where they do not lie on their boundaries
constexpr uint32_t kLimitBits = std::bit_cast<uint32_t>(FixedPointSum::kValueLimit);

absl::Status RefuseValue(const TensorSpec& spec, uint64_t index, float value, bool votes) {
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      spec.name + "[" + std::to_string(index) + "]: got " + std::to_string(value) +
          (votes ? ", want a vote: -1, 0 or 1" : ", want a finite value below 128 in magnitude"),
      Remedy::kLeaveRun);
}

}  // namespace

UpdateChecker::UpdateChecker(const Manifest& manifest, uint64_t file_bytes, UpdateLimits limits)
    : manifest_(manifest), file_bytes_(file_bytes), limits_(limits) {
  if (file_bytes < sizeof(uint64_t)) {
    status_ = RefuseSafetensors(SafetensorsError::kHeaderTooSmall, "header too small");
  }
}

void UpdateChecker::Feed(std::span<const std::byte> bytes) {
  if (status_.ok() && !placed_) bytes = TakeHeader(bytes);
  if (status_.ok() && placed_) TakeValues(bytes);
}

absl::Status UpdateChecker::Finish() {
  if (status_.ok()) return CheckWhole();
  if (status_.code() != absl::StatusCode::kInvalidArgument) return status_;
  return Refuse(status_.code(), "update: " + std::string(status_.message()), Remedy::kLeaveRun);
}

absl::Status UpdateChecker::CheckWhole() const {
  const uint64_t checked =
      placed_ ? layout_.data_begin + values_ * sizeof(float) + rest_.size() : header_.size();
  if (placed_ && rest_.empty() && checked == file_bytes_) return CheckNorm(squares_, limits_.norm);
  return Refuse(absl::StatusCode::kDataLoss,
                "update: got " + std::to_string(checked) + " bytes to check, want " +
                    std::to_string(file_bytes_),
                Remedy::kResync);
}

// Takes what belongs to the header; returns what follows it.
std::span<const std::byte> UpdateChecker::TakeHeader(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  const auto take_up_to = [&](uint64_t size) {
    const size_t count = std::min<uint64_t>(size - header_.size(), bytes.size());
    header_.append(reinterpret_cast<const char*>(bytes.data()), count);
    bytes = bytes.subspan(count);
    return header_.size() == size;
  };
  if (header_.size() < sizeof length && !take_up_to(sizeof length)) return {};
  std::memcpy(&length, header_.data(), sizeof length);
  status_ = CheckHeaderLength(length, file_bytes_, SafetensorsProfile::kUpload);
  if (!status_.ok() || !take_up_to(sizeof length + length)) return {};
  auto layout = LayoutOf(std::string_view(header_).substr(sizeof length), file_bytes_, manifest_,
                         SafetensorsProfile::kUpload);
  status_ = layout.status();
  placed_ = layout.ok();
  if (placed_) layout_ = *std::move(layout);
  std::string().swap(header_);  // up to 1 MiB, not wanted any more
  return bytes;
}

void UpdateChecker::TakeValues(std::span<const std::byte> bytes) {
  std::array<float, kCopied> copy;
  if (!rest_.empty()) {
    const size_t missing = std::min(sizeof(float) - rest_.size(), bytes.size());
    rest_.insert(rest_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(missing));
    bytes = bytes.subspan(missing);
    if (rest_.size() < sizeof(float)) return;
    std::memcpy(copy.data(), rest_.data(), sizeof(float));
    rest_.clear();
    CheckValues(std::span(copy).first(1));
  }
  const size_t whole = bytes.size() / sizeof(float);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(float) == 0) {
    CheckValues({reinterpret_cast<const float*>(bytes.data()), whole});
  } else {
    for (size_t done = 0; done < whole; done += copy.size()) {
      const size_t count = std::min(copy.size(), whole - done);
      std::memcpy(copy.data(), bytes.data() + done * sizeof(float), count * sizeof(float));
      CheckValues(std::span(copy).first(count));
    }
  }
  const std::span<const std::byte> tail = bytes.subspan(whole * sizeof(float));
  rest_.assign(tail.begin(), tail.end());
}

void UpdateChecker::CheckValues(std::span<const float> values) {
  if (!status_.ok()) return;
  const uint32_t largest = digest_.Add(values_, values);
  const bool beyond = largest >= kLimitBits;
  if (beyond || (limits_.votes && !std::ranges::all_of(values, IsVote))) {
    status_ = RefuseFirstBad(values);
  }
  largest_bits_ = std::max(largest_bits_, largest);
  if (limits_.norm > 0) squares_ += SquaredNorm(values);
  values_ += values.size();
}

bool UpdateChecker::Takes(float value) const {
  return limits_.votes ? IsVote(value)
                       : std::fabs(value) < FixedPointSum::kValueLimit;  // NaN is not
}

absl::Status UpdateChecker::RefuseFirstBad(std::span<const float> values) const {
  const auto bad = std::ranges::find_if_not(values, [this](float value) { return Takes(value); });
  const uint64_t position =
      layout_.data_begin + (values_ + static_cast<uint64_t>(bad - values.begin())) * sizeof(float);
  // The last tensor that begins there or before; empty ones begin where the next one does.
  const auto after =
      std::upper_bound(layout_.order.begin(), layout_.order.end(), position,
                       [](uint64_t at, const PlacedTensor& tensor) { return at < tensor.begin; });
  const PlacedTensor& tensor = *std::prev(after);
  return RefuseValue(manifest_[tensor.row], (position - tensor.begin) / sizeof(float), *bad,
                     limits_.votes);
}

}  // namespace rivulet

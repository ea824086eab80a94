#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>

#include "aggregation/codec/kernels.h"
#include "aggregation/codec/linear.h"

namespace rivulet {
namespace {

constexpr uint32_t kMagnitude = 0x7FFFFFFFu;

uint32_t MagnitudeOf(float value) { return std::bit_cast<uint32_t>(value) & kMagnitude; }

// Draws one word after the other.
class WordCursor {
 public:
  explicit WordCursor(const PublicWords& words) : words_(words) {}
  // Uniform in 0 .. n - 1 (multiply-shift with rejection, Lemire 2019), as RandomCursor::Bounded.
  uint32_t Bounded(uint32_t n) {
    const auto threshold = static_cast<uint32_t>((uint64_t{1} << 32) % n);
    while (true) {
      const uint64_t product = uint64_t{Next()} * n;
      if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
    }
  }

 private:
  uint32_t Next() {
    if (position_ % buffer_.size() == 0) words_.Fill(position_, buffer_);
    return buffer_[position_++ % buffer_.size()];
  }

  const PublicWords& words_;
  std::array<uint32_t, 256> buffer_;
  uint64_t position_ = 0;
};

// The k-th largest magnitude, by counting the leading 11, then 11, then 10 bits: three passes, no
// memory. 1 <= k <= size.
uint32_t KthMagnitude(std::span<const float> values, size_t k) {
  uint32_t prefix = 0, known = 0;  // bits decided so far
  for (const int shift : {20, 9, 0}) {
    std::vector<size_t> counts(shift == 0 ? 512 : 2048);
    for (const float value : values) {
      const uint32_t bits = MagnitudeOf(value);
      if ((bits & known) == prefix) ++counts[(bits >> shift) & (counts.size() - 1)];
    }
    size_t digit = counts.size() - 1;
    while (counts[digit] < k) k -= counts[digit--];
    prefix |= static_cast<uint32_t>(digit) << shift;
    known |= static_cast<uint32_t>(counts.size() - 1) << shift;
  }
  return prefix;
}

// A magnitude that, as a sample says, somewhat more than k values reach; 0: no idea.
uint32_t GuessThreshold(std::span<const float> values, size_t k) {
  constexpr size_t kSample = 16384;
  if (values.size() < 4 * kSample) return 0;
  std::vector<uint32_t> sample(kSample);
  const size_t stride = values.size() / kSample;
  for (size_t draw = 0; draw < kSample; ++draw) {
    const size_t within = (draw * 0x9E3779B1u) % stride;  // not the same column of every row
    sample[draw] = MagnitudeOf(values[draw * stride + within]);
  }
  const double wanted =
      static_cast<double>(k) / static_cast<double>(values.size()) * static_cast<double>(kSample);
  const auto rank = static_cast<size_t>(wanted + 4 * std::sqrt(wanted) + 8);
  if (rank >= kSample / 2) return 0;
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<>());
  return sample[rank];
}

// Keeps of `candidates` the k of largest magnitude, of equal ones the first.
void KeepLargest(std::span<const float> values, size_t k, std::vector<uint32_t>& candidates) {
  std::vector<uint32_t> magnitudes;
  magnitudes.reserve(candidates.size());
  for (const uint32_t index : candidates) magnitudes.push_back(MagnitudeOf(values[index]));
  std::nth_element(magnitudes.begin(), magnitudes.begin() + (k - 1), magnitudes.end(),
                   std::greater<>());
  const uint32_t last = magnitudes[k - 1];
  const auto above = static_cast<size_t>(std::count_if(
      magnitudes.begin(), magnitudes.end(), [last](uint32_t bits) { return bits > last; }));
  size_t ties = k - above;
  std::erase_if(candidates, [&](uint32_t index) {
    const uint32_t bits = MagnitudeOf(values[index]);
    if (bits != last) return bits < last;
    return ties == 0 || (--ties, false);
  });
}

std::vector<uint32_t> LargestByCounting(std::span<const float> values, size_t k) {
  const uint32_t last = KthMagnitude(values, k);
  const auto above = static_cast<size_t>(std::count_if(
      values.begin(), values.end(), [last](float value) { return MagnitudeOf(value) > last; }));
  size_t ties = k - above;
  std::vector<uint32_t> indices;
  indices.reserve(k);
  for (size_t index = 0; index < values.size() && indices.size() < k; ++index) {
    const uint32_t bits = MagnitudeOf(values[index]);
    if (bits < last || (bits == last && ties == 0)) continue;
    if (bits == last) --ties;
    indices.push_back(static_cast<uint32_t>(index));
  }
  return indices;
}

class Subset : public LinearStage {
 public:
  Subset(std::string_view name, size_t d, std::vector<uint32_t> support, std::vector<float> factors)
      : name_(name), d_(d), support_(std::move(support)), factors_(std::move(factors)) {
    if (!support_.empty() && support_.back() >= d) std::abort();
    if (!factors_.empty() && factors_.size() != support_.size()) std::abort();
  }

  std::string_view name() const override { return name_; }
  size_t OutputSize(size_t) const override { return support_.size(); }
  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != d_ || out.size() != support_.size()) std::abort();
    for (size_t at = 0; at < out.size(); ++at) out[at] = flat[support_[at]];
  }
  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != d_ || mean.size() != support_.size()) std::abort();
    std::fill(flat.begin(), flat.end(), 0.0f);
    for (size_t at = 0; at < mean.size(); ++at) {
      flat[support_[at]] = factors_.empty() ? mean[at] : mean[at] * factors_[at];
    }
  }

 private:
  std::string_view name_;
  size_t d_;
  std::vector<uint32_t> support_;
  std::vector<float> factors_;
};

}  // namespace

std::vector<uint32_t> StratifiedIndices(const PublicWords& words, size_t d, size_t k) {
  WordCursor cursor(words);
  std::vector<uint32_t> indices(k);
  for (size_t stratum = 0; stratum < k; ++stratum) {
    const auto begin = static_cast<uint32_t>(stratum * (d / k));
    indices[stratum] = begin + cursor.Bounded(static_cast<uint32_t>(StratumSize(d, k, stratum)));
  }
  return indices;
}

size_t StratumSize(size_t d, size_t k, size_t stratum) {
  return stratum + 1 < k ? d / k : d - (k - 1) * (d / k);
}

size_t StrataFor(size_t d, double fraction) {
  if (d == 0) return 0;
  const double group = std::clamp(std::round(1 / fraction), 1.0, static_cast<double>(d));
  return d / static_cast<size_t>(group);
}

std::vector<uint32_t> LargestIndices(std::span<const float> values, size_t k) {
  if (k > values.size()) std::abort();
  if (k == 0) return {};
  if (const uint32_t guess = GuessThreshold(values, k); guess != 0) {
    std::vector<uint32_t> candidates(2 * k + 4096);
    const size_t found = codec_kernels::IndicesAtLeast(values.data(), values.size(), guess, 0,
                                                       candidates.data(), candidates.size());
    if (found >= k && found <= candidates.size()) {
      candidates.resize(found);
      KeepLargest(values, k, candidates);
      return candidates;
    }
  }
  return LargestByCounting(values, k);
}

std::vector<uint32_t> PublicSupport(std::span<const float> previous, size_t d, size_t k,
                                    const PublicWords& words) {
  if (k > d || (!previous.empty() && previous.size() != d)) std::abort();
  const size_t largest = previous.empty() ? 0 : k - (k + 9) / 10;
  const std::vector<uint32_t> top = LargestIndices(previous, largest);
  // Ranks among the coordinates that are not in `top`, made into coordinates while merging.
  std::vector<uint32_t> rest = StratifiedIndices(words, d - largest, k - largest);
  size_t passed = 0;
  for (uint32_t& index : rest) {
    while (passed < top.size() && top[passed] <= index + passed) ++passed;
    index += static_cast<uint32_t>(passed);
  }
  std::vector<uint32_t> support(k);
  std::merge(top.begin(), top.end(), rest.begin(), rest.end(), support.begin());
  return support;
}

std::unique_ptr<LinearStage> NewSubset(size_t d, std::vector<uint32_t> support,
                                       std::vector<float> factors) {
  return std::make_unique<Subset>("subset", d, std::move(support), std::move(factors));
}

std::unique_ptr<LinearStage> NewRandomK(size_t d, size_t k, const PublicWords& words, bool scaled) {
  std::vector<float> factors;
  for (size_t stratum = 0; scaled && stratum < k; ++stratum) {
    factors.push_back(static_cast<float>(StratumSize(d, k, stratum)));
  }
  return std::make_unique<Subset>("random-k", d, StratifiedIndices(words, d, k),
                                  std::move(factors));
}

std::unique_ptr<LinearStage> NewPublicTopK(size_t d, size_t k, std::span<const float> previous,
                                           const PublicWords& words) {
  return std::make_unique<Subset>("public-top-k", d, PublicSupport(previous, d, k, words),
                                  std::vector<float>());
}

}  // namespace rivulet

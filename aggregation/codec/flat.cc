#include <algorithm>
#include <cstdlib>
#include <string>

#include "aggregation/codec/linear.h"

namespace rivulet {
namespace {

// All numbers of `set` as one span when its tensors touch each other, else an empty one.
std::span<const float> AsOne(const ParameterSet& set) {
  if (set.empty()) return {};
  const float* const begin = set.floats(0).data();
  size_t size = 0;
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    const std::span<const float> values = set.floats(tensor);
    if (!values.empty() && values.data() != begin + size) return {};
    size += values.size();
  }
  return {begin, size};
}

class Identity : public LinearStage {
 public:
  std::string_view name() const override { return "identity"; }
  size_t OutputSize(size_t d) const override { return d; }
  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != out.size()) std::abort();
    std::copy(flat.begin(), flat.end(), out.begin());
  }
  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    Project(mean, flat);
  }
};

}  // namespace

absl::Status CheckF32(const Manifest& manifest) {
  for (const TensorSpec& spec : manifest) {
    if (spec.dtype == DType::kF32) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  spec.name + ": got dtype " + std::string(NameOf(spec.dtype)) + ", want F32");
  }
  return absl::OkStatus();
}

size_t FlatNumbers(const Manifest& manifest) {
  size_t numbers = 0;
  for (const TensorSpec& spec : manifest) numbers += static_cast<size_t>(spec.elements());
  return numbers;
}

std::span<const float> Flatten(const ParameterSet& set, std::vector<float>& storage) {
  const std::span<const float> whole = AsOne(set);
  if (whole.size() == FlatNumbers(set.manifest())) return whole;
  storage.resize(FlatNumbers(set.manifest()));
  float* to = storage.data();
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    const std::span<const float> values = set.floats(tensor);
    to = std::copy(values.begin(), values.end(), to);
  }
  return storage;
}

void Unflatten(std::span<const float> flat, ParameterSet& set) {
  if (flat.size() != FlatNumbers(set.manifest())) std::abort();
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    const std::span<float> values = set.floats(tensor);
    if (values.data() == flat.data()) return;  // `flat` is the set itself
    std::copy_n(flat.begin(), values.size(), values.begin());
    flat = flat.subspan(values.size());
  }
}

void PhiloxWords::Fill(uint64_t first, std::span<uint32_t> words) const {
  PhiloxBlock block = stream_.Block(first / 4, tensor_);
  for (size_t at = 0; at < words.size(); ++at) {
    const uint64_t position = first + at;
    if (position % 4 == 0) block = stream_.Block(position / 4, tensor_);
    words[at] = block.word[position % 4];
  }
}

std::unique_ptr<LinearStage> NewIdentity() { return std::make_unique<Identity>(); }

}  // namespace rivulet

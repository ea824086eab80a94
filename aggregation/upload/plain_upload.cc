#include "aggregation/upload/plain_upload.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "aggregation/codec/linear.h"
#include "common/random.h"

namespace rivulet {
namespace {

constexpr std::string_view kFedObd = "fed-obd";
constexpr uint64_t kDrawnShare = 10;  // of what is kept, one part in so many is drawn

// A tenth would be the codec's own choice; the job's fraction is the share of all numbers.
uint32_t ColumnsFor(double fraction, uint32_t rows, size_t numbers) {
  const double columns = std::ceil(fraction * static_cast<double>(numbers) / rows);
  return static_cast<uint32_t>(std::clamp(columns, 1.0, 0x1p31));
}

uint32_t SmallestTensor(const Manifest& manifest) {
  const auto smallest = std::min_element(
      manifest.begin(), manifest.end(),
      [](const TensorSpec& a, const TensorSpec& b) { return a.elements() < b.elements(); });
  return static_cast<uint32_t>(smallest - manifest.begin());
}

void Zero(ParameterSet& set, std::span<const uint32_t> rows) {
  for (const uint32_t row : rows) std::ranges::fill(set.floats(row), 0.0f);
}

uint64_t NumbersOf(const Manifest& manifest, std::span<const uint32_t> rows) {
  return std::accumulate(rows.begin(), rows.end(), uint64_t{0},
                         [&manifest](uint64_t sum, uint32_t row) {
                           return sum + static_cast<uint64_t>(manifest[row].elements());
                         });
}

// Tensors in a random order: the first that fits into `budget`, and then those that fit into
// `share` with the ones before.
std::vector<uint32_t> DrawBlocks(const Manifest& manifest, uint64_t budget, uint64_t share,
                                 RandomCursor cursor) {
  std::vector<uint32_t> drawn;
  uint64_t used = 0;
  for (const uint32_t row : Permutation(cursor, static_cast<uint32_t>(manifest.size()))) {
    const auto numbers = static_cast<uint64_t>(manifest[row].elements());
    if (used + numbers > (drawn.empty() ? budget : share)) continue;
    drawn.push_back(row);
    used += numbers;
  }
  return drawn;
}

}  // namespace

bool IsCoded(const JobSpec& spec) {
  const CompressionSection& compression = spec.compression;
  return !spec.secure_aggregation.enabled && (compression.codec != "none" || compression.zstd);
}

CodecSettings CodecSettingsOf(const JobSpec& spec, const Manifest& manifest) {
  const CompressionSection& compression = spec.compression;
  CodecSettings settings;
  settings.name = compression.codec;
  settings.fraction = compression.fraction;
  settings.rank = static_cast<uint32_t>(compression.rank);
  settings.bits = static_cast<uint32_t>(compression.bits);
  settings.zstd = compression.zstd;
  // What noise hid must not come back with the next update.
  settings.error_feedback = compression.error_feedback && spec.privacy.mechanism == "none";
  settings.columns = ColumnsFor(compression.fraction, settings.rows, FlatNumbers(manifest));
  return settings;
}

absl::StatusOr<std::unique_ptr<Codec>> JobCodec(const JobSpec& spec, const Manifest& manifest) {
  auto codec = MakeCodec(CodecSettingsOf(spec, manifest));
  if (codec.ok()) return codec;
  return WithExit(codec.status(), ExitCode::kConfig);
}

bool ChoosesByMovement(const JobSpec& spec) {
  if (spec.secure_aggregation.enabled) return spec.compression.codec == "public-top-k";
  return IsCoded(spec) &&
         (spec.compression.codec == "public-top-k" || spec.compression.codec == kFedObd);
}

ParameterSet MovementOf(const ParameterSet& state, const ParameterSet& initial) {
  ParameterSet movement(state.manifest());
  for (size_t row = 0; row < movement.size(); ++row) {
    const std::span<const float> now = state.floats(row), first = initial.floats(row);
    std::transform(now.begin(), now.end(), first.begin(), movement.floats(row).begin(),
                   [](float a, float b) { return std::isfinite(a - b) ? a - b : 0.0f; });
  }
  return movement;
}

std::vector<uint32_t> PublicBlocks(const Manifest& manifest, const ParameterSet* movement,
                                   double keep, uint64_t root, uint64_t round) {
  if (manifest.empty()) return {};
  const uint64_t all = FlatNumbers(manifest);
  const auto budget = static_cast<uint64_t>(keep * static_cast<double>(all));
  const uint64_t share = movement == nullptr ? budget : budget / kDrawnShare;
  std::vector<uint32_t> blocks = DrawBlocks(
      manifest, budget, share, RandomCursor(RandomStream(root, Purpose::kPublicSubset, round)));
  if (blocks.empty()) return {SmallestTensor(manifest)};
  if (movement != nullptr) {
    ParameterSet others = *movement;
    Zero(others, blocks);  // they are in already
    const uint64_t left = budget - std::min(budget, NumbersOf(manifest, blocks));
    const std::vector<uint32_t> moved =
        ChooseBlocks(others, static_cast<double>(left) / static_cast<double>(all));
    blocks.insert(blocks.end(), moved.begin(), moved.end());
  }
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  return blocks;
}

PublicContext::PublicContext(const JobSpec& spec, const Manifest& manifest, uint64_t round,
                             const ParameterSet* initial, const ParameterSet* state)
    : root_(RootOf(spec.job.seed, round, "")), round_(round) {
  const bool moved = ChoosesByMovement(spec) && round > 1;
  if (moved && (initial == nullptr || state == nullptr)) std::abort();
  if (moved) movement_ = MovementOf(*state, *initial);
  if (spec.compression.codec != kFedObd) return;
  blocks_ = PublicBlocks(manifest, moved ? &*movement_ : nullptr, spec.compression.fraction, root_,
                         round);
  movement_.reset();  // the blocks are all that this codec wants to know
}

CodecContext PublicContext::context() const {
  CodecContext context;
  context.root = root_;
  context.round = round_;
  context.previous = movement_ ? &*movement_ : nullptr;
  context.blocks = blocks_;
  return context;
}

}  // namespace rivulet

#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "tests/bench/cuda_llama.h"

// Weights that are moved where they lie, group by group, while forward passes read other groups.

namespace rivulet::bench {

// A stream whose blocks wait as long as a more urgent stream has any to place.
class PriorityStream {
 public:
  // `steps` above the least urgent there is, or the most urgent if that is fewer.
  explicit PriorityStream(int steps) {
    int least = 0, greatest = 0;  // the lower, the more urgent
    Must(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    Must(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                      std::max(least - steps, greatest)));
  }
  ~PriorityStream() { cudaStreamDestroy(stream_); }
  PriorityStream(const PriorityStream&) = delete;
  PriorityStream& operator=(const PriorityStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// How moving goes beside the forward passes, which are enqueued on the current stream.
struct Overlap {
  cudaStream_t ahead, behind;  // of what a forward pass waits for, and of what waits for it
  int64_t layer_units = 4;     // a layer is a group, or, with 1, each of its units
  size_t lead = 2;             // so many groups are enqueued ahead of the one that is read
};

class Overlapped : public Source {
 public:
  // Enqueues a move of these parts of the buffer.
  using Move = std::function<void(std::span<const DevicePart>, cudaStream_t)>;

  Overlapped(const Layout& layout, const at::Tensor& flat, const Overlap& overlap)
      : overlap_(overlap), stored_(layout, flat), norms_(layout.units[0].parts) {
    Add(layout, 1, kChunks);
    const size_t layers_end = 1 + kChunks + 4 * layout.layers;
    for (size_t unit = 1 + kChunks; unit < layers_end; unit += overlap.layer_units) {
      Add(layout, unit, overlap.layer_units);
    }
    Add(layout, layers_end, kChunks);
  }
  ~Overlapped() override {
    for (const Group& group : groups_) cudaEventDestroy(group.moved), cudaEventDestroy(group.read);
  }
  Overlapped(const Overlapped&) = delete;
  Overlapped& operator=(const Overlapped&) = delete;

  // Before a forward pass: `ahead` moves each group before the pass reads it, `behind` afterwards;
  // the next pass waits for it. The norms, which are read all along, move before and after.
  void Start(Move ahead, Move behind) {
    ahead_ = std::move(ahead), behind_ = std::move(behind), unit_ = 0, entered_ = 0;
    if (ahead_) ahead_(norms_, Main());
    for (size_t group = 0; group < overlap_.lead; ++group) MoveAhead(group);
  }
  void End() {
    Leave(groups_.size() - 1);
    if (behind_) behind_(norms_, Main());
  }

  at::Tensor Next() override {
    Enter(1);
    return stored_.Next();
  }
  at::Tensor NextTable() override {
    Enter(kChunks);
    return stored_.NextTable();
  }

 private:
  struct Group {
    size_t first_unit;
    std::vector<DevicePart> parts;  // offsets within the buffer
    cudaEvent_t moved, read;
  };

  static cudaStream_t Main() { return static_cast<cudaStream_t>(Stream()); }
  void Add(const Layout& layout, size_t first, size_t count) {
    Group group{first, {}, nullptr, nullptr};
    for (size_t unit = first; unit < first + count; ++unit) {
      for (DevicePart part : layout.units[unit].parts) {
        part.offset += layout.units[unit].offset;
        group.parts.push_back(part);
      }
    }
    Must(cudaEventCreateWithFlags(&group.moved, cudaEventDisableTiming));
    Must(cudaEventCreateWithFlags(&group.read, cudaEventDisableTiming));
    groups_.push_back(std::move(group));
  }
  // The forward pass is about to read `count` units: where a group begins, what reads the one
  // before it is enqueued.
  void Enter(size_t count) {
    const size_t unit = std::exchange(unit_, unit_ + count);
    if (entered_ == groups_.size() || unit != groups_[entered_].first_unit) return;
    if (entered_ > 0) Leave(entered_ - 1);
    MoveAhead(entered_ + overlap_.lead);
    Must(cudaStreamWaitEvent(Main(), groups_[entered_].moved));
    ++entered_;
  }
  void Leave(size_t index) {
    Must(cudaEventRecord(groups_[index].read, Main()));
    if (behind_) Enqueue(behind_, index, overlap_.behind);
  }
  void MoveAhead(size_t index) {
    if (ahead_ && index < groups_.size()) Enqueue(ahead_, index, overlap_.ahead);
  }
  void Enqueue(const Move& move, size_t index, cudaStream_t stream) {
    Must(cudaStreamWaitEvent(stream, groups_[index].read));
    move(groups_[index].parts, stream);
    Must(cudaEventRecord(groups_[index].moved, stream));
  }

  const Overlap overlap_;
  Stored stored_;
  const std::vector<DevicePart> norms_;
  std::vector<Group> groups_;
  Move ahead_, behind_;
  size_t unit_ = 0, entered_ = 0;
};

}  // namespace rivulet::bench

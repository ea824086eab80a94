#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "peft/kernels/team.h"

namespace rivulet::kernels {

// Scratch memory that grows and is kept: one per thread of computation, reused by every step, so
// that no step touches fresh pages. Contents are undefined after Resize.
class Scratch {
 public:
  // [floats] values, 64-byte aligned, valid until the next call.
  float* Resize(size_t floats) {
    if (floats > capacity_) {
      const size_t bytes = (floats * sizeof(float) + 4095) / 4096 * 4096;
      data_.reset(static_cast<float*>(std::aligned_alloc(4096, bytes)));
      capacity_ = bytes / sizeof(float);
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  size_t capacity_ = 0;
};

// What the kernels of one client's step need beside their operands: memory, and the threads among
// which they divide their work. Not thread safe: one per step that runs.
struct Workspace {
  Scratch packed;     // right-hand panels of a product
  Scratch rows;       // left-hand rows of a product, when they are repacked
  Scratch tiles;      // left-hand rows that several products share
  Scratch scores;     // attention: probabilities of a block of queries
  Scratch gradients;  // attention: their gradients
  Scratch turned;     // attention: transposed keys and values
  // A row of a product never depends on how many rows the call has: short ones are not computed as
  // dot products, whose sums have another order.
  bool steady = false;
  std::unique_ptr<Team> team;                        // null: the calling thread alone
  std::vector<std::unique_ptr<Workspace>> of_parts;  // one for each further part of the team

  Workspace() = default;
  explicit Workspace(int threads) {
    if (threads <= 1) return;
    team = std::make_unique<Team>(threads);
    for (int part = 0; part < threads; ++part) of_parts.push_back(std::make_unique<Workspace>());
  }
};

// Calls body(begin, end, workspace) for pieces that cover 0 .. n, each a multiple of `grain` long
// but the last, side by side where the workspace has a team.
template <typename Body>
void Divide(Workspace& workspace, int64_t n, int64_t grain, Body body) {
  const int64_t grains = (n + grain - 1) / grain;
  if (!workspace.team || grains < 2) {
    body(int64_t{0}, n, workspace);
    return;
  }
  const int64_t parts = workspace.team->size();
  workspace.team->Run([&](int part) {
    const int64_t begin = std::min(n, grains * part / parts * grain);
    const int64_t end = std::min(n, grains * (part + 1) / parts * grain);
    if (begin < end) body(begin, end, *workspace.of_parts[part]);
  });
}

}  // namespace rivulet::kernels

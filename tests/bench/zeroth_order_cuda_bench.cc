// A step without backpropagation beside its own two forward passes, on a GPU: a llama of 1.1 B
// random bfloat16 weights, all of them tuned (MeZO, two-point differences). Both sides in turns
// A B B A, medians. Prints JSON lines. Not a test.
//   zeroth_order_cuda_bench [repeats=5] [layers=22]
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/GradMode.h>
#include <c10/cuda/CUDAGuard.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/cuda_llama.h"
#include "tests/bench/cuda_overlap.h"
#include "tests/bench/cuda_turns.h"

namespace rivulet::bench {
namespace {

constexpr float kEpsilon = 1e-3f;
constexpr double kRate = 1e-7;
constexpr float kWide = 0x1p-8f;  // far enough for a difference that bfloat16 resolves

// Everything that is timed at one number of tokens.
class Bench {
 public:
  Bench(const Layout& layout, int64_t batch, int64_t length, int repeats)
      : layout_(layout), model_(layout, batch, length), repeats_(repeats) {
    tokens_ = std::to_string(batch) + "x" + std::to_string(length);
    const auto bf16 = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);
    flat_ = at::empty({layout.size}, bf16).normal_(0, 0.02);
    flat_.narrow(0, 0, layout.units[0].size).fill_(1);
  }

  void InPlace(const DirectionSettings& kind, const char* name) {
    Stored stored(layout_, flat_);
    Report(
        std::string("in place, ") + name, [&] { return model_.Loss(stored); },
        [&] {
          const DirectionAddress z = Address(kind, step_++);
          Add(z, kEpsilon);
          const at::Tensor plus = model_.Loss(stored);
          Add(z, -2 * kEpsilon);
          const at::Tensor minus = model_.Loss(stored);
          Add(z, kEpsilon + Move(plus, minus));  // restores and updates
        });
  }

  // Restoring, updating and the next step's + eps are one pass.
  void InPlaceMerged(const DirectionSettings& kind, const char* name) {
    Stored stored(layout_, flat_);
    Add(Address(kind, step_), kEpsilon);
    Report(
        std::string("in place, two passes, ") + name, [&] { return model_.Loss(stored); },
        [&] {
          const DirectionAddress z = Address(kind, step_++);
          const at::Tensor plus = model_.Loss(stored);
          Add(z, -2 * kEpsilon);
          const at::Tensor minus = model_.Loss(stored);
          Must(MoveAndPerturbCuda({z, kEpsilon + Move(plus, minus), Address(kind, step_), kEpsilon},
                                  layout_.all, Cells(flat_), Cells(flat_), Stream()));
        });
  }

  // The same two passes beside the forward passes: - 2 eps behind the first, the rest ahead of the
  // next step's first.
  struct OverlapRow {
    const char* name;
    cudaStream_t main;
    Overlap overlap;
  };
  void InPlaceOverlapped(const OverlapRow& row) {
    const auto main = c10::cuda::getStreamFromExternal(row.main, 0);
    const c10::cuda::CUDAStreamGuard guard(main);
    const DirectionSettings kind{DirectionKind::kRademacher};
    Must(cudaDeviceSynchronize());  // other streams' work on the weights
    Stored stored(layout_, flat_);
    Overlapped weights(layout_, flat_, row.overlap);
    Add(Address(kind, step_), kEpsilon);
    MoveAndPerturb update;
    bool pending = false;
    Report(
        std::string("in place, overlapped, ") + row.name, [&] { return model_.Loss(stored); },
        [&] {
          const DirectionAddress z = Address(kind, step_++);
          const auto [plus, minus] = Losses(weights, z, pending ? &update : nullptr);
          update = {z, kEpsilon + Move(plus, minus), Address(kind, step_), kEpsilon};
          pending = true;
        });
  }

  // Three steps in place, pass by pass and overlapped, must measure the same losses and end with
  // the same bits.
  void CheckOverlapped(const OverlapRow& row) {
    const auto main = c10::cuda::getStreamFromExternal(row.main, 0);
    const c10::cuda::CUDAStreamGuard guard(main);
    const DirectionSettings kind{DirectionKind::kRademacher};
    Must(cudaDeviceSynchronize());
    const at::Tensor start = flat_.clone();
    // Far enough for weights in bfloat16 to follow.
    const auto update = [&](uint64_t step, const at::Tensor& plus, const at::Tensor& minus) {
      return MoveAndPerturb{Address(kind, step), kEpsilon + 0x1p12f * Move(plus, minus),
                            Address(kind, step + 1), kEpsilon};
    };
    const auto moved = [&](const MoveAndPerturb& step) {
      Must(MoveAndPerturbCuda(step, layout_.all, Cells(flat_), Cells(flat_), Stream()));
    };
    Stored stored(layout_, flat_);
    std::vector<at::Tensor> losses;
    Add(Address(kind, 0), kEpsilon);
    for (uint64_t step = 0; step < 3; ++step) {
      losses.push_back(model_.Loss(stored));
      Add(Address(kind, step), -2 * kEpsilon);
      losses.push_back(model_.Loss(stored));
      moved(update(step, losses[2 * step], losses[2 * step + 1]));
    }
    const at::Tensor by_passes = flat_.clone();
    flat_.copy_(start);
    Overlapped weights(layout_, flat_, row.overlap);
    MoveAndPerturb next;
    bool same_losses = true;
    Add(Address(kind, 0), kEpsilon);
    for (uint64_t step = 0; step < 3; ++step) {
      const auto [plus, minus] = Losses(weights, Address(kind, step), step > 0 ? &next : nullptr);
      same_losses = same_losses && at::equal(plus, losses[2 * step]) &&
                    at::equal(minus, losses[2 * step + 1]);
      next = update(step, plus, minus);
    }
    moved(next);
    std::printf(
        "{\"check\":\"%s: in place, overlapped, %s\",\"losses_equal\":%s,"
        "\"update\":%.3g,\"update_equals\":%s}\n",
        tokens_.c_str(), row.name, same_losses ? "true" : "false", next.move - kEpsilon,
        at::equal(flat_, by_passes) && !at::equal(flat_, start) ? "true" : "false");
    std::fflush(stdout);
    flat_.copy_(start);
    Must(cudaDeviceSynchronize());
  }

  void Copy(const DirectionSettings& kind, const char* name) {
    Stored stored(layout_, flat_);
    at::Tensor point;  // lives in the step alone, so that the forwards' peak is without it
    std::unique_ptr<Stored> moved;
    const Work forwards = Twice([&] { return model_.Loss(stored); });
    const Work step = [&] {
      if (!point.defined()) {
        point = at::empty_like(flat_);
        moved = std::make_unique<Stored>(layout_, point);
      }
      const DirectionAddress z = Address(kind, step_++);
      Perturb(z, kEpsilon, point);
      const at::Tensor plus = model_.Loss(*moved);
      Perturb(z, -kEpsilon, point);
      const at::Tensor minus = model_.Loss(*moved);
      Add(z, Move(plus, minus));
    };
    Print(std::string("from a copy, ") + name, InTurns(repeats_, forwards, step));
  }

  void OnTheWay(const DirectionSettings& kind, const char* name, bool ahead) {
    Stored stored(layout_, flat_);
    std::unique_ptr<Scratch> scratch;
    MoveAndPerturb moving;
    bool pending = false;
    const Work forwards = Twice([&] { return model_.Loss(stored); });
    const Work step = [&] {
      if (scratch == nullptr) scratch = std::make_unique<Scratch>(layout_, flat_, ahead);
      const DirectionAddress z = Address(kind, step_++);
      moving.next = z, moving.scale = kEpsilon;
      scratch->Start(z, kEpsilon, pending ? &moving : nullptr);
      const at::Tensor plus = model_.Loss(*scratch);
      scratch->Start(z, -kEpsilon, nullptr);
      const at::Tensor minus = model_.Loss(*scratch);
      moving.z = z, moving.move = Move(plus, minus);
      pending = true;
    };
    Print(std::string(ahead ? "on the way, a unit ahead, " : "on the way, ") + name,
          InTurns(repeats_, forwards, step));
  }

  // Directions of rank one beside the weights, which are read where they lie, and one pass over
  // them to update: both signs one after the other, or as two lanes of one pass.
  void InsideProducts(bool together) {
    Stored stored(layout_, flat_);
    const Model lanes = model_.InLanes(2);
    std::unique_ptr<RankOneFactors> z;
    const Work forwards = Twice([&] { return model_.Loss(stored); });
    const Work step = [&] {
      if (z == nullptr) {
        z = std::make_unique<RankOneFactors>(layout_);
        z->Draw(RankOne(step_));
      }
      z->Upload();
      at::Tensor plus, minus;
      if (together) {
        const at::Tensor both = lanes.LossBeside(stored, *z, {kEpsilon, -kEpsilon});
        plus = both[0], minus = both[1];
      } else {
        plus = model_.LossBeside(stored, *z, {kEpsilon});
        minus = model_.LossBeside(stored, *z, {-kEpsilon});
      }
      z->Draw(RankOne(++step_));  // the next one, while the device computes
      z->Move(flat_, Move(plus, minus));
    };
    Print(together ? "rank 1 inside the product, both signs in one pass"
                   : "rank 1 inside the product",
          InTurns(repeats_, forwards, step));
  }

  // The slope that factors beside the weights measure, beside that of moved copies, and whether the
  // update has the bits of AddDirectionCuda.
  void CheckInside() {
    Stored stored(layout_, flat_);
    RankOneFactors z(layout_);
    z.Draw(RankOne(7));
    z.Upload();
    const at::Tensor both = model_.InLanes(2).LossBeside(stored, z, {kWide, -kWide});
    const double alone =
        Difference(model_.LossBeside(stored, z, {kWide}), model_.LossBeside(stored, z, {-kWide}));
    const at::Tensor point = at::empty_like(flat_);
    Stored moved(layout_, point);
    Perturb(RankOne(7), kWide, point);
    const at::Tensor plus = model_.Loss(moved);
    Perturb(RankOne(7), -kWide, point);
    const double copied = Difference(plus, model_.Loss(moved));
    Perturb(RankOne(7), 0x1p-12f, point);
    const at::Tensor start = flat_.clone();
    z.Move(flat_, 0x1p-12f);
    std::printf(
        "{\"check\":\"%s: inside the product\",\"difference_of_copies\":%.6g,"
        "\"inside\":%.6g,\"in_one_pass\":%.6g,\"update_equals\":%s}\n",
        tokens_.c_str(), copied, alone, Difference(both[0], both[1]),
        at::equal(flat_, point) && !at::equal(flat_, start) ? "true" : "false");
    flat_.copy_(start);
  }

  // Only adapters of rank 16 move, into a copy of them.
  void Adapters() {
    const std::vector<DevicePart> parts = Model::AdapterParts(layout_.layers);
    const int64_t size = parts.back().offset + parts.back().count;
    const at::Tensor values = at::empty({size}, flat_.options()).normal_(0, 0.02);
    const at::Tensor point = values.clone();
    Stored stored(layout_, flat_);
    const auto to = [&](const DirectionAddress& z, float scale, const at::Tensor& out) {
      Must(AddDirectionCuda(z, parts, scale, Cells(values), Cells(out), Stream()));
    };
    Report(
        "adapters of rank 16", [&] { return model_.Loss(stored, values); },
        [&] {
          const DirectionAddress z = Address({DirectionKind::kRademacher}, step_++);
          to(z, kEpsilon, point);
          const at::Tensor plus = model_.Loss(stored, point);
          to(z, -kEpsilon, point);
          const at::Tensor minus = model_.Loss(stored, point);
          to(z, Move(plus, minus), values);
        },
        1.02);
  }

  // The forward pass as one CUDA graph: no time goes to launching its kernels.
  void InPlaceWithGraph() {
    const DirectionSettings kind{DirectionKind::kRademacher};
    Stored stored(layout_, flat_);
    model_.Loss(stored);
    Must(cudaDeviceSynchronize());
    at::cuda::CUDAGraph graph;
    at::Tensor loss;
    {
      const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
      graph.capture_begin();
      loss = model_.Loss(stored);
      graph.capture_end();
    }
    const auto run = [&] {
      graph.replay();
      return loss.clone();
    };
    Add(Address(kind, step_), kEpsilon);
    Report("in place, two passes, rademacher, forward as a graph", run, [&] {
      const DirectionAddress z = Address(kind, step_++);
      const at::Tensor plus = run();
      Add(z, -2 * kEpsilon);
      const at::Tensor minus = run();
      Must(MoveAndPerturbCuda({z, kEpsilon + Move(plus, minus), Address(kind, step_), kEpsilon},
                              layout_.all, Cells(flat_), Cells(flat_), Stream()));
    });
  }

  // Two steps from the same weights, from a copy and on the way, must end with the same bits; and
  // what + eps, - 2 eps, + eps in place leaves of bfloat16 weights after ten steps.
  void Check() {
    const at::Tensor start = flat_.clone(), by_copy = flat_.clone();
    const DirectionSettings kind{DirectionKind::kRademacher};
    {
      const at::Tensor point = at::empty_like(flat_);
      Stored moved(layout_, point);
      for (uint64_t step = 0; step < 2; ++step) {
        const DirectionAddress z = Address(kind, step);
        Must(AddDirectionCuda(z, layout_.all, kEpsilon, Cells(by_copy), Cells(point), Stream()));
        const at::Tensor plus = model_.Loss(moved);
        Must(AddDirectionCuda(z, layout_.all, -kEpsilon, Cells(by_copy), Cells(point), Stream()));
        const float move = Move(plus, model_.Loss(moved));
        Must(AddDirectionCuda(z, layout_.all, move, Cells(by_copy), Cells(by_copy), Stream()));
      }
    }
    bool equal = true;
    for (const bool ahead : {false, true}) {
      flat_.copy_(start);
      Scratch scratch(layout_, flat_, ahead);
      MoveAndPerturb moving;
      for (uint64_t step = 0; step < 2; ++step) {
        const DirectionAddress z = Address(kind, step);
        moving.next = z, moving.scale = kEpsilon;
        scratch.Start(z, kEpsilon, step > 0 ? &moving : nullptr);
        const at::Tensor plus = model_.Loss(scratch);
        scratch.Start(z, -kEpsilon, nullptr);
        const at::Tensor minus = model_.Loss(scratch);
        moving.z = z, moving.move = Move(plus, minus);
      }
      Add(moving.z, moving.move);
      equal = equal && at::equal(flat_, by_copy) && !at::equal(flat_, start);
    }
    flat_.copy_(start);
    for (uint64_t step = 0; step < 10; ++step) {
      for (const float scale : {kEpsilon, -2 * kEpsilon, kEpsilon}) Add(Address(kind, step), scale);
    }
    const at::Tensor drift = flat_.to(at::kFloat).sub_(start);
    std::printf(
        "{\"check\":\"%s\",\"on_the_way_equals_copy\":%s,\"drifted_share\":%.4f,"
        "\"drift_rms\":%.3g,\"drift_largest\":%.3g,\"epsilon\":%g}\n",
        tokens_.c_str(), equal ? "true" : "false",
        (drift != 0).to(at::kFloat).mean().item<double>(),
        drift.square().mean().sqrt().item<double>(), drift.abs().max().item<double>(), kEpsilon);
    flat_.copy_(start);
  }

 private:
  static DirectionAddress Address(const DirectionSettings& kind, uint64_t step) {
    return {kind, 0x0123456789ABCDEF, step};
  }
  static DirectionAddress RankOne(uint64_t step) {
    return Address({DirectionKind::kLowRank, 1}, step);
  }
  static double Difference(const at::Tensor& plus, const at::Tensor& minus) {
    return (plus - minus).item<double>();
  }
  // Both losses of a step in place at z, which begins with what `update`, if any, has left to do.
  std::pair<at::Tensor, at::Tensor> Losses(Overlapped& weights, const DirectionAddress& z,
                                           const MoveAndPerturb* update) {
    uint16_t* const cells = Cells(flat_);
    Overlapped::Move ahead;
    if (update != nullptr) {
      ahead = [=](std::span<const DevicePart> parts, cudaStream_t stream) {
        Must(MoveAndPerturbCuda(*update, parts, cells, cells, stream));
      };
    }
    weights.Start(ahead, [=](std::span<const DevicePart> parts, cudaStream_t stream) {
      Must(AddDirectionCuda(z, parts, -2 * kEpsilon, cells, cells, stream));
    });
    const at::Tensor plus = model_.Loss(weights);
    weights.End();
    weights.Start({}, {});
    const at::Tensor minus = model_.Loss(weights);
    weights.End();
    return {plus, minus};
  }
  void Add(const DirectionAddress& z, float scale) { Perturb(z, scale, flat_); }
  void Perturb(const DirectionAddress& z, float scale, const at::Tensor& out) {
    Must(AddDirectionCuda(z, layout_.all, scale, Cells(flat_), Cells(out), Stream()));
  }
  static float Move(const at::Tensor& plus, const at::Tensor& minus) {
    const double slope = (plus - minus).item<double>() / (2 * kEpsilon);
    return static_cast<float>(-kRate * slope);
  }
  // Two passes and, as in a step, their losses' way to the host.
  static Work Twice(const std::function<at::Tensor()>& forward) {
    return [forward] {
      const at::Tensor first = forward();
      (void)Move(first, forward());
    };
  }
  void Report(const std::string& name, const std::function<at::Tensor()>& forward, const Work& step,
              double aim = 1.05) {
    Print(name, InTurns(repeats_, Twice(forward), step), aim);
  }
  void Print(const std::string& name, const Turns& turns, double aim = 1.05) {
    std::printf(
        "{\"bench\":\"%s: %s\",\"two_forwards_ms\":%.3f,\"step_ms\":%.3f,\"ratio\":%.3f,"
        "\"aim\":%.2f,\"forward_tflops\":%.0f,\"weights_gib\":%.3f,\"peak_gib\":%.3f,"
        "\"peak_ratio\":%.3f}\n",
        tokens_.c_str(), name.c_str(), 1e3 * turns.forwards, 1e3 * turns.step,
        turns.step / turns.forwards, aim, 2 * model_.Flops() / turns.forwards / 1e12,
        static_cast<double>(flat_.nbytes()) / 0x1p30, turns.step_peak / 0x1p30,
        turns.step_peak / turns.forwards_peak);
    std::fflush(stdout);
  }

  const Layout& layout_;
  Model model_;
  const int repeats_;
  std::string tokens_;
  at::Tensor flat_;
  uint64_t step_ = 0;
};

void Run(int repeats, int64_t layers) {
  const c10::NoGradGuard no_gradients;
  const Layout layout(layers);
  cudaDeviceProp device;
  Must(cudaGetDeviceProperties(&device, 0));
  std::printf("{\"device\":\"%s\",\"weights\":%lld}\n", device.name,
              static_cast<long long>(layout.size));
  const DirectionSettings signs{DirectionKind::kRademacher}, gauss{DirectionKind::kGauss};
  const PriorityStream urgent(5), low(1), lowest(0), side(0), other_side(0);
  const std::vector<Bench::OverlapRow> overlaps = {
      {"less urgent, by layer", urgent.get(), {low.get(), lowest.get(), 4, 2}},
      {"less urgent, by matrix", urgent.get(), {low.get(), lowest.get(), 1, 4}},
      {"as urgent, by layer", lowest.get(), {side.get(), other_side.get(), 4, 2}},
      {"one stream, by layer", urgent.get(), {urgent.get(), urgent.get(), 4, 0}}};
  for (const auto& [batch, length] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 64}, {1, 512}, {4, 512}, {8, 2048}}) {
    Bench bench(layout, batch, length, repeats);
    bench.InPlace(signs, "rademacher");
    bench.InPlaceMerged(signs, "rademacher");
    for (const Bench::OverlapRow& row : overlaps) {
      bench.InPlaceOverlapped(row);
      if (batch == 4) bench.CheckOverlapped(row);
    }
    bench.Copy(signs, "rademacher");
    bench.OnTheWay(signs, "rademacher", false);
    bench.OnTheWay(signs, "rademacher", true);
    bench.OnTheWay(gauss, "gauss", false);
    bench.InsideProducts(false);
    bench.InsideProducts(true);
    bench.Adapters();
    if (batch == 1) bench.InPlaceWithGraph();
    if (length == 64) bench.Check();
    if (length == 64) bench.CheckInside();
  }
}

}  // namespace
}  // namespace rivulet::bench

int main(int argc, char** argv) {
  rivulet::bench::Must(rivulet::CheckCuda());
  rivulet::bench::Run(argc > 1 ? std::atoi(argv[1]) : 5, argc > 2 ? std::atoll(argv[2]) : 22);
}

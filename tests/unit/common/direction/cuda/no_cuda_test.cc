// A build without CUDA links everything and says at every call what it lacks.
#include <gtest/gtest.h>

#include "common/direction/cuda/rank_one_replay_cuda.h"

namespace rivulet {
namespace {

TEST(WithoutCuda, EveryCallSaysSo) {
  const DirectionAddress z;
  float w = 1;
  for (const absl::Status& status :
       {CheckCuda(), FillDirectionCuda(z, {}, &w, nullptr),
        AddDirectionCuda(z, {}, 1, &w, &w, nullptr), MoveAndPerturbCuda({}, {}, &w, &w, nullptr),
        ReplayDirectionsCuda(z, {}, {}, &w, nullptr), RankOneReplayCuda::Make().status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_NE(status.message().find("CUDA"), std::string::npos);
  }
  EXPECT_EQ(w, 1);
}

}  // namespace
}  // namespace rivulet

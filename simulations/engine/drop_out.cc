#include "simulations/engine/drop_out.h"

#include "common/random.h"

namespace rivulet {

std::optional<DropPoint> DropPointOf(double rate, bool masked, uint64_t seed, uint64_t round,
                                     const std::string& client, uint32_t attempt) {
  if (rate <= 0) return std::nullopt;
  RandomCursor cursor(RandomStream(RootOf(seed, round, client), Purpose::kDropOut, attempt));
  if (cursor.Unit() >= rate) return std::nullopt;
  if (!masked) return DropPoint::kUpdate;
  return static_cast<DropPoint>(cursor.Bounded(static_cast<int>(DropPoint::kUnmask) + 1));
}

}  // namespace rivulet

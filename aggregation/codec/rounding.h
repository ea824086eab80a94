#pragma once

#include <cstdint>
#include <span>

namespace rivulet {

// Private random words for stochastic rounding. The client's own: production hands in a CSPRNG,
// never a stream that others know, or the rounding errors could be predicted. Not thread safe.
class RoundingSource {
 public:
  virtual ~RoundingSource() = default;
  virtual void Fill(std::span<uint32_t> words) = 0;
};

}  // namespace rivulet

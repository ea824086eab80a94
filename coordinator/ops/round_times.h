#pragma once

#include "coordinator/ops/histogram.h"
#include "coordinator/rounds/federation.h"

namespace rivulet {

// How long the rounds published since the start took, of all jobs. Thread safe.
class RoundTimes {
 public:
  explicit RoundTimes(Federation& federation);  // must outlive it
  ~RoundTimes();

  void WriteTo(Exposition& page) const;

 private:
  Federation& federation_;
  Histogram seconds_;
  const uint64_t subscription_;
};

}  // namespace rivulet

#pragma once

#include <string>
#include <thread>
#include <vector>

#include "peft/trainer/tuner.h"

namespace rivulet::testing {

// The hashes of the updates of clients that one tuner trains at the same time; empty where one
// failed.
inline std::vector<std::string> HashesSideBySide(Tuner& tuner,
                                                 const std::vector<TuneRequest>& requests) {
  std::vector<std::string> hashes(requests.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto result = tuner.Tune(requests[i]);
      if (result.ok()) hashes[i] = result->delta.HashHex();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return hashes;
}

}  // namespace rivulet::testing

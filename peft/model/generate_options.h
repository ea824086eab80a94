#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace rivulet {

struct GenerateOptions {
  int max_new_tokens = 64;
  double temperature = 0;                    // 0 = greedy
  int top_k = 0;                             // keep the k likeliest; 0 = all
  double top_p = 1;                          // then the fewest whose probabilities reach top_p
  uint64_t seed = 0;                         // of RandomStream(seed, kSampling, 0)
  std::vector<int32_t> stop_ids;             // end of text; not part of the result
  std::function<bool(int32_t id)> on_token;  // may be empty; false ends the text
};

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <vector>

namespace rivulet {

// One training or evaluation sequence after tokenising.
struct Example {
  std::vector<int32_t> ids;       // tokens, at most data.seq-length
  std::vector<int32_t> type_ids;  // segment ids of encoders; empty = all 0
  std::vector<int32_t>
      targets;  // causal-lm: as long as ids, the label AT each position (not shifted), -100 = no
                // loss; empty = every token is its own label. Unused for classification
  int32_t label = -1;  // classification: class number
};

// What one client trains on and what it holds back for evaluation. Order is file order; shuffling
// is the trainer's.
struct ClientData {
  std::vector<Example> train;
  std::vector<Example> held_out;
};

}  // namespace rivulet

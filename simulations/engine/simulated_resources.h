#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/runtime/task_runner.h"
#include "simulations/partition/partition.h"

namespace rivulet {

// The partitioned data set and the one base model of a simulated job. Thread safe.
class SimulatedResources : public LocalResources {
 public:
  SimulatedResources(PartitionedData data, std::filesystem::path base_model)
      : data_(std::move(data)), base_model_(std::move(base_model)) {}

  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec& spec,
                                                  const std::string& base_hash) override {
    return base_model_;  // its identity was computed from this very folder
  }
  absl::StatusOr<ClientData> Data(const std::string& client, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override;

 private:
  PartitionedData data_;
  std::filesystem::path base_model_;
};

}  // namespace rivulet

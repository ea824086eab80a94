#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/dp/accountant.h"

namespace rivulet {

// One training under privacy.mechanism = "example".
struct ExampleRelease {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  double sample_rate = 1;       // q of each step, 0..1
  double noise_multiplier = 0;  // z, > 0
  int64_t steps = 0;            // >= 1
  bool operator==(const ExampleRelease&) const = default;
};

// What a client's trainings have cost the examples of each of its data sets, over all jobs: the
// coordinator knows nothing of it. Every training is entered before it begins, also when it is of
// the same task as one before: its noise is fresh, and who asks twice may have had the first. So a
// crash can only count too much. Thread safe.
class ExampleLedger {
 public:
  struct Limit {
    double epsilon = 0;  // nats
    double delta = 0;
  };

  // Gone with the process, for simulations: every owner has data sets of its own.
  ExampleLedger() = default;
  // Files examples-<hash of the data set>.json in an agent's state directory, mode 0600, read now
  // and written anew, durably, with every entry; owners are not told apart. What is damaged or
  // cannot be read is reported in the log, and by every Charge: without its past nothing is
  // trained.
  explicit ExampleLedger(std::filesystem::path directory);

  // Enters a training and returns what all of the data set cost together. Errors:
  // ResourceExhausted (exit 6) when it would cost more than the limit, and then nothing is entered;
  // InvalidArgument for a release out of range; DataLoss (exit 8) for damaged files; those of
  // writing.
  absl::StatusOr<Epsilon> Charge(const std::string& owner, const std::string& data_set,
                                 const ExampleRelease& release, const Limit& limit);

 private:
  struct Book {
    std::mutex mutex;
    std::string data_set;
    std::vector<ExampleRelease> releases;
  };
  void ReadAll();
  std::shared_ptr<Book> BookOf(const std::string& owner, const std::string& data_set);
  absl::Status Write(const Book& book) const;

  std::filesystem::path directory_;  // empty: memory
  absl::Status damaged_;
  std::mutex mutex_;                                    // of the map
  std::map<std::string, std::shared_ptr<Book>> books_;  // by owner and data set
};

}  // namespace rivulet

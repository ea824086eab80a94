#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/data/record.h"

namespace rivulet {

// One simulated client's share of a list of records.
struct ClientPart {
  std::string name;               // distinct, [a-z0-9-]
  std::vector<uint32_t> records;  // positions in the list, in the order the client has them
};

struct PartitionResult {
  std::vector<ClientPart> clients;    // sorted by name
  int64_t malformed = 0;              // records without a key, skipped because the job allows it
  std::vector<std::string> problems;  // of the first few of those
};

// Deals records out to clients as simulate.partition says:
//   by-key     one client for each value of simulate.partition-key: a field, or "regex:<pattern>"
//              on the record's text, whose first group is the key. File order within a client.
//   iid        num-clients clients of floor or ceil of n/num-clients records, dealt at random
//   dirichlet  num-clients clients of that size with class shares from Dir(partition-alpha p)
//              (dirichlet.h); the class is partition-key as above, or data.label-field when empty
//   count      num-clients clients of that size, consecutive in file order
// Every record goes to one client, except that clients below min-records are left out. Depends on
// the records and `seed` alone (Purpose::kPartition).
// Errors: InvalidArgument naming the key that is wrong; a record without a key, unless
// data.skip-malformed counts it; FailedPrecondition when no client is left.
absl::StatusOr<PartitionResult> PartitionRecords(std::span<const Record> records,
                                                 const SimulateSection& simulate,
                                                 const DataSection& data, uint64_t seed);

// That fewer than simulate.num-clients clients have data, and why; empty when all have, or the
// partition counts none.
std::string MissingClients(const SimulateSection& simulate, const DataSection& data,
                           size_t clients);

// The clients of a simulation and where their records are. With partition = "files" each file is
// one client, named after it, and its records are read again whenever they are asked for; otherwise
// all records stay in memory. Immutable; thread safe.
class PartitionedData {
 public:
  // Reads everything once: malformed records show here.
  // Errors: those of ListDataFiles, ReadRecords and PartitionRecords.
  static absl::StatusOr<PartitionedData> Open(const SimulateSection& simulate,
                                              const DataSection& data, uint64_t seed);

  const std::vector<std::string>& names() const { return names_; }  // sorted
  // One client's records, in its order. Errors: NotFound for a name that is not in names().
  absl::StatusOr<std::vector<Record>> Records(std::string_view name) const;
  // data.labels, or every label seen when that is empty: what data.labels must be set to before
  // clients' data are built apart. Empty unless the task is classification.
  const std::vector<std::string>& labels() const { return labels_; }
  int64_t malformed() const { return malformed_; }
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  absl::Status OpenFiles(const std::vector<std::filesystem::path>& files,
                         const SimulateSection& simulate);
  absl::Status OpenRecords(const std::vector<std::filesystem::path>& files,
                           const SimulateSection& simulate, uint64_t seed);
  void Note(int64_t malformed, const std::vector<std::string>& problems);

  DataSection data_;
  std::vector<std::string> names_;
  std::vector<std::filesystem::path> files_;  // by client; partition = "files"
  std::vector<Record> records_;               // all; other partitions
  std::vector<std::vector<uint32_t>> parts_;  // by client: positions in records_
  std::vector<std::string> labels_;
  int64_t malformed_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace rivulet

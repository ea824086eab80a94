#include <algorithm>
#include <set>

#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"
#include "simulations/partition/client_names.h"
#include "simulations/partition/data_files.h"
#include "simulations/partition/partition.h"

namespace rivulet {

void PartitionedData::Note(int64_t malformed, const std::vector<std::string>& problems) {
  malformed_ += malformed;
  for (const std::string& problem : problems) {
    if (problems_.size() < RecordList::kMaxProblems) problems_.push_back(problem);
  }
}

absl::Status PartitionedData::OpenFiles(const std::vector<std::filesystem::path>& files,
                                        const SimulateSection& simulate) {
  const auto least = static_cast<size_t>(std::max(simulate.min_records, 1));
  std::vector<std::string> stems;
  for (const std::filesystem::path& file : files) stems.push_back(file.stem().string());
  const std::vector<std::string> names = ClientNames(stems);
  std::vector<std::pair<std::string, std::filesystem::path>> clients;
  std::vector<Record> labelled;  // one record a label, to order them
  std::set<std::string> seen;
  for (size_t at = 0; at < files.size(); ++at) {
    RV_ASSIGN_OR_RETURN(const RecordList list, ReadRecords(files[at], data_));
    Note(list.malformed, list.problems);
    if (list.records.size() < least) continue;
    clients.emplace_back(names[at], files[at]);
    if (data_.task != "classification") continue;
    for (const Record& record : list.records) {
      if (seen.insert(record.fields.at(data_.label_field)).second) labelled.push_back(record);
    }
  }
  if (clients.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "simulate.min-records: got " + std::to_string(least) + ", but none of " +
                      std::to_string(files.size()) + " files has as many");
  }
  std::sort(clients.begin(), clients.end());
  for (auto& [name, file] : clients) {
    names_.push_back(std::move(name));
    files_.push_back(std::move(file));
  }
  if (labels_.empty()) labels_ = LabelsOf(labelled, data_);
  return absl::OkStatus();
}

absl::Status PartitionedData::OpenRecords(const std::vector<std::filesystem::path>& files,
                                          const SimulateSection& simulate, uint64_t seed) {
  RV_ASSIGN_OR_RETURN(RecordList list, ReadRecords(files, data_));
  Note(list.malformed, list.problems);
  records_ = std::move(list.records);
  RV_ASSIGN_OR_RETURN(PartitionResult result, PartitionRecords(records_, simulate, data_, seed));
  Note(result.malformed, result.problems);
  for (ClientPart& client : result.clients) {
    names_.push_back(std::move(client.name));
    parts_.push_back(std::move(client.records));
  }
  if (labels_.empty() && data_.task == "classification") labels_ = LabelsOf(records_, data_);
  return absl::OkStatus();
}

absl::StatusOr<PartitionedData> PartitionedData::Open(const SimulateSection& simulate,
                                                      const DataSection& data, uint64_t seed) {
  const bool by_file = simulate.partition == "files";
  RV_ASSIGN_OR_RETURN(const auto files,
                      ListDataFiles(simulate.dataset_path, simulate.min_file_bytes));
  PartitionedData out;
  out.data_ = data;
  if (data.task == "classification") out.labels_ = data.labels;
  RV_RETURN_IF_ERROR(by_file ? out.OpenFiles(files, simulate)
                             : out.OpenRecords(files, simulate, seed));
  return out;
}

absl::StatusOr<std::vector<Record>> PartitionedData::Records(std::string_view name) const {
  const auto found = std::lower_bound(names_.begin(), names_.end(), name);
  if (found == names_.end() || *found != name) {
    return Refuse(absl::StatusCode::kNotFound, "client '" + std::string(name) + "' has no data");
  }
  const auto client = static_cast<size_t>(found - names_.begin());
  if (!files_.empty()) {
    RV_ASSIGN_OR_RETURN(RecordList list, ReadRecords(files_[client], data_));
    return std::move(list.records);
  }
  std::vector<Record> records;
  for (uint32_t position : parts_[client]) records.push_back(records_[position]);
  return records;
}

}  // namespace rivulet

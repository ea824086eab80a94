#include "simulations/partition/partition.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "common/formats/regex.h"
#include "common/random.h"
#include "simulations/partition/client_names.h"
#include "simulations/partition/dirichlet.h"

namespace rivulet {
namespace {

constexpr std::string_view kRegexPrefix = "regex:";
using Parts = std::vector<std::vector<uint32_t>>;

struct Input {
  std::span<const Record> records;
  const SimulateSection& simulate;
  const DataSection& data;
  uint64_t seed;
};

// The key of a record: a field, or the first group of a pattern on its text.
class KeyReader {
 public:
  static absl::StatusOr<KeyReader> Make(const std::string& key, const DataSection& data) {
    KeyReader reader;
    reader.field_ = key;
    if (!key.starts_with(kRegexPrefix)) return reader;
    reader.field_ = data.format == "text" ? "text" : data.text_field;
    auto pattern = Regex::Compile(std::string_view(key).substr(kRegexPrefix.size()));
    if (!pattern.ok()) return Annotate(pattern.status(), "simulate.partition-key");
    reader.pattern_ = std::move(*pattern);
    return reader;
  }

  absl::StatusOr<std::string> KeyOf(const Record& record) const {
    const auto field = record.fields.find(field_);
    if (field == record.fields.end()) return Missing(record);
    if (!pattern_.has_value()) return field->second;
    const auto key = pattern_->FirstGroup(field->second);
    if (key.ok()) return std::string(*key);
    return Annotate(key.status(), record.Where() + ": simulate.partition-key");
  }

 private:
  absl::Status Missing(const Record& record) const {
    std::string present;
    for (const auto& [name, value] : record.fields) present += (present.empty() ? "" : ", ") + name;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  record.Where() + ": simulate.partition-key: field '" + field_ +
                      "' is missing; fields present: " + present);
  }

  std::string field_;
  std::optional<Regex> pattern_;
};

// Keys in byte order and the records of each, in file order.
using Groups = std::map<std::string, std::vector<uint32_t>>;

absl::StatusOr<Groups> GroupByKey(const Input& input, const std::string& key,
                                  PartitionResult& result) {
  RV_ASSIGN_OR_RETURN(const KeyReader reader, KeyReader::Make(key, input.data));
  Groups groups;
  for (uint32_t position = 0; position < input.records.size(); ++position) {
    const auto value = reader.KeyOf(input.records[position]);
    if (value.ok()) {
      groups[*value].push_back(position);
    } else if (input.data.skip_malformed && !absl::IsResourceExhausted(value.status())) {
      ++result.malformed;
      if (result.problems.size() < RecordList::kMaxProblems) {
        result.problems.emplace_back(value.status().message());
      }
    } else {
      return value.status();
    }
  }
  return groups;
}

RandomCursor CursorOf(const Input& input) {
  return RandomCursor(RandomStream(input.seed, Purpose::kPartition, 0));
}

// Cuts `order` into num_clients runs whose lengths differ by one at most.
Parts CutEvenly(const std::vector<uint32_t>& order, size_t clients) {
  Parts parts(clients);
  for (size_t client = 0; client < clients; ++client) {
    const size_t start = order.size() * client / clients;
    const size_t end = order.size() * (client + 1) / clients;
    parts[client].assign(order.begin() + static_cast<std::ptrdiff_t>(start),
                         order.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return parts;
}

absl::StatusOr<std::vector<ClientPart>> Numbered(Parts parts) {
  const std::vector<std::string> names = NumberedClients(parts.size());
  std::vector<ClientPart> clients;
  for (size_t client = 0; client < parts.size(); ++client) {
    clients.push_back({names[client], std::move(parts[client])});
  }
  return clients;
}

absl::StatusOr<std::vector<ClientPart>> ByKey(const Input& input, PartitionResult& result) {
  if (input.simulate.partition_key.empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "simulate.partition-key: got \"\" with partition \"by-key\", want a field or "
                  "\"regex:<pattern>\"");
  }
  RV_ASSIGN_OR_RETURN(Groups groups, GroupByKey(input, input.simulate.partition_key, result));
  std::vector<std::string> keys;
  for (const auto& [key, positions] : groups) keys.push_back(key);
  const std::vector<std::string> names = ClientNames(keys);
  std::vector<ClientPart> clients;
  for (size_t at = 0; at < keys.size(); ++at) {
    clients.push_back({names[at], std::move(groups[keys[at]])});
  }
  return clients;
}

absl::Status CheckClientCount(const Input& input) {
  if (input.simulate.num_clients >= 1) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "simulate.num-clients: got " + std::to_string(input.simulate.num_clients) +
                    " with partition \"" + input.simulate.partition + "\", want at least 1");
}

absl::StatusOr<std::vector<ClientPart>> Iid(const Input& input, PartitionResult&) {
  RV_RETURN_IF_ERROR(CheckClientCount(input));
  RandomCursor cursor = CursorOf(input);
  const auto order = Permutation(cursor, static_cast<uint32_t>(input.records.size()));
  return Numbered(CutEvenly(order, static_cast<size_t>(input.simulate.num_clients)));
}

absl::StatusOr<std::vector<ClientPart>> Count(const Input& input, PartitionResult&) {
  RV_RETURN_IF_ERROR(CheckClientCount(input));
  std::vector<uint32_t> order(input.records.size());
  std::iota(order.begin(), order.end(), 0u);
  return Numbered(CutEvenly(order, static_cast<size_t>(input.simulate.num_clients)));
}

absl::StatusOr<std::vector<ClientPart>> Dirichlet(const Input& input, PartitionResult& result) {
  RV_RETURN_IF_ERROR(CheckClientCount(input));
  const double alpha = input.simulate.partition_alpha;
  if (!(alpha > 0 && alpha <= 1e6)) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "simulate.partition-alpha: got " + std::to_string(alpha) + ", want above 0, at most 1e6");
  }
  const std::string& key =
      input.simulate.partition_key.empty() ? input.data.label_field : input.simulate.partition_key;
  RV_ASSIGN_OR_RETURN(const Groups groups, GroupByKey(input, key, result));
  std::vector<std::pair<uint32_t, uint32_t>> items;  // position, class
  uint32_t classes = 0;
  for (const auto& [value, positions] : groups) {
    for (uint32_t position : positions) items.emplace_back(position, classes);
    ++classes;
  }
  std::vector<uint32_t> class_of;
  for (const auto& [position, number] : items) class_of.push_back(number);
  RandomCursor cursor = CursorOf(input);
  Parts parts = SplitByDirichlet(class_of, classes,
                                 static_cast<uint32_t>(input.simulate.num_clients), alpha, cursor);
  for (auto& part : parts) {
    for (uint32_t& item : part) item = items[item].first;
  }
  return Numbered(std::move(parts));
}

struct NamedPartition {
  const char* name;
  absl::StatusOr<std::vector<ClientPart>> (*deal)(const Input&, PartitionResult&);
};
constexpr NamedPartition kPartitions[] = {
    {"by-key", ByKey},
    {"iid", Iid},
    {"dirichlet", Dirichlet},
    {"count", Count},
};

}  // namespace

absl::StatusOr<PartitionResult> PartitionRecords(std::span<const Record> records,
                                                 const SimulateSection& simulate,
                                                 const DataSection& data, uint64_t seed) {
  const auto* entry =
      std::find_if(std::begin(kPartitions), std::end(kPartitions),
                   [&](const NamedPartition& row) { return simulate.partition == row.name; });
  if (entry == std::end(kPartitions)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "simulate.partition: got \"" + simulate.partition +
                      "\", want one of files, by-key, iid, dirichlet, count");
  }
  PartitionResult result;
  RV_ASSIGN_OR_RETURN(result.clients, entry->deal({records, simulate, data, seed}, result));
  const auto least = static_cast<size_t>(std::max(simulate.min_records, 1));
  std::erase_if(result.clients,
                [least](const ClientPart& part) { return part.records.size() < least; });
  if (result.clients.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "simulate.min-records: got " + std::to_string(least) +
                      ", but none of the clients of " + std::to_string(records.size()) +
                      " records has as many");
  }
  std::sort(result.clients.begin(), result.clients.end(),
            [](const ClientPart& left, const ClientPart& right) { return left.name < right.name; });
  return result;
}

std::string MissingClients(const SimulateSection& simulate, const DataSection& data,
                           size_t clients) {
  const bool counted = simulate.partition != "files" && simulate.partition != "by-key";
  if (!counted || clients >= static_cast<size_t>(simulate.num_clients)) return "";
  std::string text =
      "simulate.num-clients: got " + std::to_string(simulate.num_clients) + ", but only " +
      std::to_string(clients) + (clients == 1 ? " client has" : " clients have") +
      " simulate.min-records = " + std::to_string(simulate.min_records) + " records or more";
  if (data.format == "text" && data.separator.empty()) {
    text += "; with data.separator = \"\" a file is one record";
  }
  return text;
}

}  // namespace rivulet

#include "common/formats/merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "common/formats/float_cast.h"
#include "common/formats/json.h"
#include "common/formats/model_files.h"
#include "common/formats/model_tensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

using nlohmann::json;

constexpr const char* kCopied[] = {"generation_config.json",
                                   "tokenizer.json",
                                   "tokenizer_config.json",
                                   "special_tokens_map.json",
                                   "added_tokens.json",
                                   "vocab.txt",
                                   "vocab.json",
                                   "merges.txt",
                                   "tokenizer.model",
                                   "chat_template.jinja"};
constexpr uint64_t kMaxCopiedBytes = 256 << 20;

// ---- one tensor of the result

struct MergedTensor {
  TensorSpec spec;                       // name and dtype in the new file
  const TensorView* base = nullptr;      // null for a head that is new
  const LoraFactors* factors = nullptr;  // null when nothing is added
  int64_t saved = -1;                    // row of the adapter's weights that replaces it
};

void RoundTo(DType dtype, std::span<const float> values, std::span<std::byte> out) {
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), values.data(), out.size());
    return;
  }
  for (size_t row = 0; row < values.size(); ++row) {
    const uint16_t bits =
        dtype == DType::kBF16 ? BF16OfFloat(values[row]) : F16OfFloat(values[row]);
    std::memcpy(out.data() + 2 * row, &bits, 2);
  }
}

// The tensor before rounding.
std::vector<float> Exact(const MergedTensor& tensor, const LoraAdapter& adapter) {
  std::vector<float> values(tensor.spec.elements());
  if (tensor.saved >= 0) {
    const size_t row = static_cast<size_t>(tensor.saved);
    CopyAsFloats({adapter.weights.manifest()[row], adapter.weights.bytes(row)}, values);
    return values;
  }
  CopyAsFloats(*tensor.base, values);
  if (tensor.factors == nullptr) return values;
  std::vector<float> delta(values.size());
  DeltaRows(adapter, *tensor.factors, 0, delta);
  for (size_t cell = 0; cell < values.size(); ++cell) values[cell] += delta[cell];
  return values;
}

bool IsUntouched(const MergedTensor& tensor) {
  return tensor.saved < 0 && tensor.factors == nullptr &&
         tensor.spec.dtype == tensor.base->spec.dtype;
}

std::vector<std::byte> BytesOf(const MergedTensor& tensor, const LoraAdapter& adapter) {
  if (IsUntouched(tensor)) return {tensor.base->bytes.begin(), tensor.base->bytes.end()};
  std::vector<std::byte> bytes(tensor.spec.size_bytes());
  RoundTo(tensor.spec.dtype, Exact(tensor, adapter), bytes);
  return bytes;
}

// ---- the list of tensors

struct MergePlan {
  ModelConfig config;
  bool new_head = false;
  std::optional<DType> dtype;                   // another than the base's
  std::map<std::string, MergedTensor> tensors;  // by name in the new file
};

bool SavesHead(const LoraAdapter& adapter) {
  return std::any_of(adapter.saved.begin(), adapter.saved.end(), [&](size_t row) {
    const std::string name = adapter.SavedName(row);
    return name.starts_with("classifier.") || name.starts_with("score.");
  });
}

// The base config with the head that the adapter brings.
absl::StatusOr<ModelConfig> ConfigFor(ModelConfig config, const LoraAdapter& adapter,
                                      const std::vector<std::string>& labels) {
  if (!SavesHead(adapter)) return config;
  std::vector<std::string> names = labels;
  const auto classes = static_cast<size_t>(HeadClasses(adapter));
  if (names.empty() && classes != config.labels.size()) {
    for (size_t label = 0; label < classes; ++label)
      names.push_back("LABEL_" + std::to_string(label));
  }
  return ForTask(std::move(config), "classification", names);
}

// Output and input of a tied model are one matrix in the file: no merge can change one of them.
bool IsTied(const std::string& name, const ModelConfig& config) {
  return config.tie_word_embeddings && config.head == ModelHead::kCausalLm &&
         (name == "lm_head.weight" || name == "model.embed_tokens.weight");
}

absl::Status AddFactors(const LoraAdapter& adapter, const TensorMatch& match, MergePlan& plan) {
  for (const LoraFactors& factors : adapter.factors) {
    const std::string name = factors.path + ".weight";
    const auto in_file = match.file_name_of.find(name);
    if (in_file == match.file_name_of.end() || IsTied(name, plan.config))
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "merge: got an adapter on '" + factors.path +
                        "', which is tied to the embedding or not in the base model");
    plan.tensors[in_file->second].factors = &factors;
  }
  return absl::OkStatus();
}

absl::Status AddSavedTensors(const LoraAdapter& adapter, const TensorMatch& match,
                             MergePlan& plan) {
  for (size_t row : adapter.saved) {
    const std::string name = adapter.SavedName(row);
    if (IsTied(name, plan.config))
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "merge: got a trained '" + name +
                        "', which input and output of the base model share: merged, it would "
                        "change both");
    const auto in_file = match.file_name_of.find(name);
    MergedTensor& tensor =
        plan.tensors[in_file == match.file_name_of.end() ? name : in_file->second];
    tensor.saved = static_cast<int64_t>(row);
    if (tensor.base != nullptr) continue;
    tensor.spec = adapter.weights.manifest()[row];
    tensor.spec.name = name;
    tensor.spec.dtype = plan.config.dtype;
  }
  return absl::OkStatus();
}

absl::StatusOr<MergePlan> PlanMerge(const ModelFiles& files, ModelConfig config,
                                    const LoraAdapter& adapter,
                                    const std::vector<std::string>& labels,
                                    std::optional<DType> dtype) {
  MergePlan plan;
  plan.dtype = dtype;
  plan.new_head = SavesHead(adapter);
  RV_ASSIGN_OR_RETURN(plan.config, ConfigFor(std::move(config), adapter, labels));
  RV_ASSIGN_OR_RETURN(const TensorMatch match, MatchTensors(plan.config, files.specs()));
  RV_RETURN_IF_ERROR(CheckFits(adapter, plan.config).status());
  for (const TensorView* tensor : files.tensors()) {
    const auto& ignored = match.ignored;
    if (std::find(ignored.begin(), ignored.end(), tensor->spec.name) != ignored.end()) continue;
    plan.tensors[tensor->spec.name] = {tensor->spec, tensor};
  }
  RV_RETURN_IF_ERROR(AddFactors(adapter, match, plan));
  RV_RETURN_IF_ERROR(AddSavedTensors(adapter, match, plan));
  for (auto& [name, tensor] : plan.tensors) tensor.spec.dtype = dtype.value_or(tensor.spec.dtype);
  return plan;
}

// ---- files

// Tensors in file order, cut where a shard would grow above the limit.
std::vector<Manifest> Shards(const MergePlan& plan, uint64_t shard_bytes) {
  Manifest order;
  for (const auto& [name, tensor] : plan.tensors) order.push_back(tensor.spec);
  std::stable_sort(order.begin(), order.end(), [](const TensorSpec& left, const TensorSpec& right) {
    return left.dtype > right.dtype;  // the map has sorted the names
  });
  std::vector<Manifest> shards(1);
  uint64_t filled = 0;
  for (TensorSpec& spec : order) {
    if (!shards.back().empty() && filled + spec.size_bytes() > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += spec.size_bytes();
    shards.back().push_back(std::move(spec));
  }
  return shards;
}

std::string ShardName(size_t shard, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, count);
  return name;
}

absl::Status WriteShard(const std::filesystem::path& path, const Manifest& shard,
                        const MergePlan& plan, const LoraAdapter& adapter) {
  RV_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, shard));
  const Manifest order = writer.order();
  for (const TensorSpec& spec : order)
    RV_RETURN_IF_ERROR(writer.Append(BytesOf(plan.tensors.at(spec.name), adapter)));
  return writer.Commit();
}

absl::Status WriteWeights(const std::filesystem::path& out, const MergePlan& plan,
                          const LoraAdapter& adapter, uint64_t shard_bytes, MergeReport& report) {
  const std::vector<Manifest> shards = Shards(plan, shard_bytes);
  report.shards = shards.size();
  ShardIndex index;
  uint64_t parameters = 0;
  for (size_t shard = 0; shard < shards.size(); ++shard) {
    const std::string name = ShardName(shard, shards.size());
    RV_RETURN_IF_ERROR(WriteShard(out / name, shards[shard], plan, adapter));
    for (const TensorSpec& spec : shards[shard]) {
      index.file_of[spec.name] = name;
      report.bytes += spec.size_bytes();
      parameters += static_cast<uint64_t>(spec.elements());
    }
  }
  if (shards.size() == 1) return absl::OkStatus();
  return WriteFileAtomically(out / "model.safetensors.index.json",
                             ShardIndexText(index, report.bytes, parameters));
}

void NameDType(DType dtype, json& document) {
  const char* key = document.contains("torch_dtype") ? "torch_dtype" : "dtype";
  document[key] = dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16";
}

// Without a new head or dtype the config stays byte for byte.
absl::StatusOr<std::string> ConfigText(const std::string& text, const MergePlan& plan) {
  if (!plan.new_head && !plan.dtype.has_value()) return text;
  RV_ASSIGN_OR_RETURN(json document, ParseJson(text));
  if (plan.dtype.has_value()) NameDType(*plan.dtype, document);
  if (!plan.new_head) return document.dump(2) + "\n";
  const std::string family = plan.config.family == ModelFamily::kBert ? "Bert" : "Llama";
  document["architectures"] = {family + "ForSequenceClassification"};
  json names = json::object(), numbers = json::object();
  for (size_t label = 0; label < plan.config.labels.size(); ++label) {
    names[std::to_string(label)] = plan.config.labels[label];
    numbers[plan.config.labels[label]] = label;
  }
  document["id2label"] = names;
  document["label2id"] = numbers;
  document.erase("num_labels");
  return document.dump(2) + "\n";
}

absl::Status CopyOthers(const std::filesystem::path& base, const std::filesystem::path& out,
                        const MergePlan& plan) {
  for (const char* name : kCopied) {
    if (!std::filesystem::exists(base / name)) continue;
    RV_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(base / name, kMaxCopiedBytes));
    RV_RETURN_IF_ERROR(WriteFileAtomically(out / name, bytes));
  }
  RV_ASSIGN_OR_RETURN(const std::string config, ReadFile(base / "config.json", 4 << 20));
  RV_ASSIGN_OR_RETURN(const std::string text, ConfigText(config, plan));
  return WriteFileAtomically(out / "config.json", text);
}

constexpr const char* kWeightFiles[] = {"model.safetensors", "model.safetensors.index.json"};

// Where the model is written before it takes the place of the one that is there: a folder inside
// `out`, gone with this.
class FreshFolder {
 public:
  static absl::StatusOr<FreshFolder> In(const std::filesystem::path& out, bool overwrite) {
    for (const char* name : kWeightFiles) {
      if (!overwrite && std::filesystem::exists(out / name))
        return Refuse(absl::StatusCode::kAlreadyExists,
                      out.string() + ": holds a model already, want an empty folder or --force");
    }
    FreshFolder fresh(out);
    std::error_code error;
    std::filesystem::remove_all(fresh.path_, error);  // of a merge that was killed
    std::filesystem::create_directories(fresh.path_, error);
    if (error) return FileError(out, "create", error.value());
    return fresh;
  }
  FreshFolder(FreshFolder&& other) noexcept
      : out_(std::move(other.out_)), path_(std::exchange(other.path_, {})) {}
  ~FreshFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  // Its files replace those of their names, and weights of another form go: a reader might prefer
  // them.
  absl::Status MoveOut() const {
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end;
         entry.increment(error))
      files.push_back(entry->path().filename());
    if (error) return FileError(path_, "list", error.value());
    for (const std::filesystem::path& name : files) {
      std::filesystem::rename(path_ / name, out_ / name, error);
      if (error) return FileError(out_ / name, "rename", error.value());
    }
    for (const char* name : kWeightFiles) {
      if (std::find(files.begin(), files.end(), name) != files.end()) continue;
      std::filesystem::remove(out_ / name, error);
      if (error) return FileError(out_ / name, "remove", error.value());
    }
    return SyncDirectory(out_);
  }

 private:
  explicit FreshFolder(const std::filesystem::path& out) : out_(out), path_(out / ".merging") {}

  std::filesystem::path out_, path_;
};

// Reads the result and holds it against what should be there.
absl::Status Verify(const std::filesystem::path& out, const MergePlan& plan,
                    const LoraAdapter& adapter, MergeReport& report) {
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(out));
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(out));
  RV_RETURN_IF_ERROR(MatchTensors(config, files.specs()).status());
  for (const auto& [name, tensor] : plan.tensors) {
    const TensorView* written = files.Find(name);
    const std::vector<std::byte> want = BytesOf(tensor, adapter);
    if (written == nullptr || written->spec != tensor.spec ||
        !std::equal(want.begin(), want.end(), written->bytes.begin(), written->bytes.end()))
      return Refuse(absl::StatusCode::kDataLoss,
                    out.string() + ": '" + name + "' reads back other than it was written");
    if (IsUntouched(tensor)) continue;
    report.merged += tensor.factors != nullptr;
    std::vector<float> rounded(tensor.spec.elements());
    CopyAsFloats(*written, rounded);
    const std::vector<float> exact = Exact(tensor, adapter);
    for (size_t cell = 0; cell < exact.size(); ++cell)
      report.largest_difference = std::max(report.largest_difference,
                                           std::abs(double{exact[cell]} - double{rounded[cell]}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MergeReport> MergeModel(const std::filesystem::path& base,
                                       const LoraAdapter& adapter,
                                       const std::vector<std::string>& labels,
                                       const std::filesystem::path& out, Provenance provenance,
                                       const MergeOptions& options) {
  std::error_code same;
  if (std::filesystem::equivalent(base, out, same))
    return Refuse(absl::StatusCode::kInvalidArgument,
                  out.string() + ": is the base model itself, want another folder");
  RV_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(base));
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(base));
  RV_ASSIGN_OR_RETURN(const MergePlan plan,
                      PlanMerge(files, std::move(config), adapter, labels, options.dtype));
  RV_ASSIGN_OR_RETURN(const FreshFolder fresh, FreshFolder::In(out, options.overwrite));
  MergeReport report;
  RV_RETURN_IF_ERROR(WriteWeights(fresh.path(), plan, adapter, options.shard_bytes, report));
  RV_RETURN_IF_ERROR(CopyOthers(base, fresh.path(), plan));
  RV_RETURN_IF_ERROR(Verify(fresh.path(), plan, adapter, report));
  if (provenance.adapter.empty()) provenance.adapter = adapter.weights.HashHex();
  RV_RETURN_IF_ERROR(
      WriteFileAtomically(fresh.path() / "rivulet_provenance.json", ProvenanceText(provenance)));
  RV_RETURN_IF_ERROR(fresh.MoveOut());
  return report;
}

}  // namespace rivulet

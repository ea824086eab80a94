#include "common/formats/merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "common/formats/float_cast.h"
#include "common/formats/fresh_folder.h"
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

// ---- what was trained

// An adapter or whole tensors, as far as a merge needs to know. What it points to must outlive it.
struct Trained {
  const ParameterSet* weights = nullptr;
  std::map<std::string, size_t> whole;  // name in the model -> row of the weights
  int64_t classes = 0;                  // of a head among them
  const LoraAdapter* lora = nullptr;    // null for whole tensors alone
};

Trained TrainedOf(const LoraAdapter& adapter) {
  Trained trained = {&adapter.weights, {}, HeadClasses(adapter), &adapter};
  for (size_t row : adapter.saved) trained.whole[adapter.SavedName(row)] = row;
  return trained;
}

Trained TrainedOf(const WholeTensors& tensors) {
  Trained trained = {&tensors.weights, {}, HeadClasses(tensors)};
  for (size_t row = 0; row < tensors.weights.size(); ++row)
    trained.whole[tensors.weights.manifest()[row].name] = row;
  return trained;
}

// Whole tensors have the names and shapes of the model's; a tied head has no tensor of its own.
absl::Status CheckFits(const Trained& trained, const ModelConfig& config) {
  const std::vector<ExpectedTensor> expected = ExpectedTensors(config);
  for (const TensorSpec& spec : trained.weights->manifest()) {
    const bool fits =
        std::any_of(expected.begin(), expected.end(), [&](const ExpectedTensor& known) {
          return known.name == spec.name && known.shape == spec.shape &&
                 known.need != TensorNeed::kTied;
        });
    if (!fits)
      return Refuse(absl::StatusCode::kInvalidArgument, "merge: got a trained " + Describe(spec) +
                                                            ", which this " + config.model_type +
                                                            " model has not");
  }
  return absl::OkStatus();
}

// ---- one tensor of the result

struct MergedTensor {
  TensorSpec spec;                       // name and dtype in the new file
  const TensorView* base = nullptr;      // null for a head that is new
  const LoraFactors* factors = nullptr;  // null when nothing is added
  int64_t saved = -1;                    // row of the trained weights that replaces it
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
std::vector<float> Exact(const MergedTensor& tensor, const Trained& trained) {
  std::vector<float> values(tensor.spec.elements());
  if (tensor.saved >= 0) {
    const size_t row = static_cast<size_t>(tensor.saved);
    CopyAsFloats({trained.weights->manifest()[row], trained.weights->bytes(row)}, values);
    return values;
  }
  CopyAsFloats(*tensor.base, values);
  if (tensor.factors == nullptr) return values;
  std::vector<float> delta(values.size());
  DeltaRows(*trained.lora, *tensor.factors, 0, delta);
  for (size_t cell = 0; cell < values.size(); ++cell) values[cell] += delta[cell];
  return values;
}

bool IsUntouched(const MergedTensor& tensor) {
  return tensor.saved < 0 && tensor.factors == nullptr &&
         tensor.spec.dtype == tensor.base->spec.dtype;
}

std::vector<std::byte> BytesOf(const MergedTensor& tensor, const Trained& trained) {
  if (IsUntouched(tensor)) return {tensor.base->bytes.begin(), tensor.base->bytes.end()};
  std::vector<std::byte> bytes(tensor.spec.size_bytes());
  RoundTo(tensor.spec.dtype, Exact(tensor, trained), bytes);
  return bytes;
}

// ---- the list of tensors

struct MergePlan {
  ModelConfig config;
  bool new_head = false;
  std::optional<DType> dtype;                   // another than the base's
  std::map<std::string, MergedTensor> tensors;  // by name in the new file
};

// The base config with the head that was trained.
absl::StatusOr<ModelConfig> ConfigFor(ModelConfig config, const Trained& trained,
                                      const std::vector<std::string>& labels) {
  if (trained.classes == 0) return config;
  std::vector<std::string> names = labels;
  const auto classes = static_cast<size_t>(trained.classes);
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

absl::Status AddWholeTensors(const Trained& trained, const TensorMatch& match, MergePlan& plan) {
  for (const auto& [name, row] : trained.whole) {
    if (trained.lora != nullptr && IsTied(name, plan.config))
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "merge: got a trained '" + name +
                        "', which input and output of the base model share: merged, it would "
                        "change both");
    const auto in_file = match.file_name_of.find(name);
    MergedTensor& tensor =
        plan.tensors[in_file == match.file_name_of.end() ? name : in_file->second];
    tensor.saved = static_cast<int64_t>(row);
    if (tensor.base != nullptr) continue;
    tensor.spec = trained.weights->manifest()[row];
    tensor.spec.name = name;
    tensor.spec.dtype = plan.config.dtype;
  }
  return absl::OkStatus();
}

absl::StatusOr<MergePlan> PlanMerge(const ModelFiles& files, ModelConfig config,
                                    const Trained& trained, const std::vector<std::string>& labels,
                                    std::optional<DType> dtype) {
  MergePlan plan;
  plan.dtype = dtype;
  plan.new_head = trained.classes > 0;
  RV_ASSIGN_OR_RETURN(plan.config, ConfigFor(std::move(config), trained, labels));
  RV_ASSIGN_OR_RETURN(const TensorMatch match, MatchTensors(plan.config, files.specs()));
  RV_RETURN_IF_ERROR(trained.lora != nullptr ? CheckFits(*trained.lora, plan.config).status()
                                             : CheckFits(trained, plan.config));
  for (const TensorView* tensor : files.tensors()) {
    const auto& ignored = match.ignored;
    if (std::find(ignored.begin(), ignored.end(), tensor->spec.name) != ignored.end()) continue;
    plan.tensors[tensor->spec.name] = {tensor->spec, tensor};
  }
  if (trained.lora != nullptr) RV_RETURN_IF_ERROR(AddFactors(*trained.lora, match, plan));
  RV_RETURN_IF_ERROR(AddWholeTensors(trained, match, plan));
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
                        const MergePlan& plan, const Trained& trained) {
  RV_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, shard));
  const Manifest order = writer.order();
  for (const TensorSpec& spec : order)
    RV_RETURN_IF_ERROR(writer.Append(BytesOf(plan.tensors.at(spec.name), trained)));
  return writer.Commit();
}

absl::Status WriteWeights(const std::filesystem::path& out, const MergePlan& plan,
                          const Trained& trained, uint64_t shard_bytes, MergeReport& report) {
  const std::vector<Manifest> shards = Shards(plan, shard_bytes);
  report.shards = shards.size();
  ShardIndex index;
  uint64_t parameters = 0;
  for (size_t shard = 0; shard < shards.size(); ++shard) {
    const std::string name = ShardName(shard, shards.size());
    RV_RETURN_IF_ERROR(WriteShard(out / name, shards[shard], plan, trained));
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

// Reads the result and holds it against what should be there.
absl::Status Verify(const std::filesystem::path& out, const MergePlan& plan, const Trained& trained,
                    MergeReport& report) {
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(out));
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(out));
  RV_RETURN_IF_ERROR(MatchTensors(config, files.specs()).status());
  for (const auto& [name, tensor] : plan.tensors) {
    const TensorView* written = files.Find(name);
    const std::vector<std::byte> want = BytesOf(tensor, trained);
    if (written == nullptr || written->spec != tensor.spec ||
        !std::equal(want.begin(), want.end(), written->bytes.begin(), written->bytes.end()))
      return Refuse(absl::StatusCode::kDataLoss,
                    out.string() + ": '" + name + "' reads back other than it was written");
    if (IsUntouched(tensor)) continue;
    report.merged += tensor.factors != nullptr;
    report.replaced += tensor.saved >= 0;
    std::vector<float> rounded(tensor.spec.elements());
    CopyAsFloats(*written, rounded);
    const std::vector<float> exact = Exact(tensor, trained);
    for (size_t cell = 0; cell < exact.size(); ++cell)
      report.largest_difference = std::max(report.largest_difference,
                                           std::abs(double{exact[cell]} - double{rounded[cell]}));
  }
  return absl::OkStatus();
}

absl::StatusOr<MergeReport> Merge(const std::filesystem::path& base, const Trained& trained,
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
                      PlanMerge(files, std::move(config), trained, labels, options.dtype));
  RV_ASSIGN_OR_RETURN(const FreshFolder fresh, FreshFolder::In(out, options.overwrite));
  MergeReport report;
  RV_RETURN_IF_ERROR(WriteWeights(fresh.path(), plan, trained, options.shard_bytes, report));
  RV_RETURN_IF_ERROR(CopyOthers(base, fresh.path(), plan));
  RV_RETURN_IF_ERROR(Verify(fresh.path(), plan, trained, report));
  if (provenance.adapter.empty()) provenance.adapter = trained.weights->HashHex();
  RV_RETURN_IF_ERROR(
      WriteFileAtomically(fresh.path() / "rivulet_provenance.json", ProvenanceText(provenance)));
  RV_RETURN_IF_ERROR(fresh.MoveOut());
  return report;
}

}  // namespace

absl::StatusOr<MergeReport> MergeModel(const std::filesystem::path& base,
                                       const LoraAdapter& adapter,
                                       const std::vector<std::string>& labels,
                                       const std::filesystem::path& out, Provenance provenance,
                                       const MergeOptions& options) {
  return Merge(base, TrainedOf(adapter), labels, out, std::move(provenance), options);
}

absl::StatusOr<MergeReport> MergeModel(const std::filesystem::path& base,
                                       const WholeTensors& tensors,
                                       const std::vector<std::string>& labels,
                                       const std::filesystem::path& out, Provenance provenance,
                                       const MergeOptions& options) {
  return Merge(base, TrainedOf(tensors), labels, out, std::move(provenance), options);
}

}  // namespace rivulet

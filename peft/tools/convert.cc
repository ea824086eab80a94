// merge and export: one adapter folder in, another folder out.

#include "common/formats/adapter_directory.h"
#include "common/formats/json.h"
#include "common/formats/merge.h"
#include "common/io/file.h"
#include "common/terminal/progress.h"
#include "peft/tools/output.h"
#include "peft/tools/verbs.h"

namespace rivulet {
namespace {

constexpr char kProvenance[] = "rivulet_provenance.json";
constexpr uint64_t kMaxProvenanceBytes = 1 << 16;

absl::Status NoMerge(const std::filesystem::path& directory, const AnyAdapter& adapter) {
  if (std::holds_alternative<PromptAdapter>(adapter)) {
    return Refuse(absl::StatusCode::kUnimplemented,
                  directory.string() +
                      ": got a soft prompt, want a LoRA: a prompt changes no weight. Use it beside "
                      "the base instead: `rivulet model generate|evaluate BASE --adapter DIR`");
  }
  return Refuse(absl::StatusCode::kUnimplemented,
                directory.string() +
                    ": got a bottleneck adapter (seq_bn), want a LoRA: a bottleneck is not linear, "
                    "so no change of the base weights equals it. Use it beside the base instead: "
                    "`rivulet model generate|evaluate BASE --adapter DIR`, or load_adapter of the "
                    "adapters library");
}

std::optional<DType> DTypeFor(const std::string& name) {
  if (name == "float32") return DType::kF32;
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  return std::nullopt;
}

// An adapter on weights it was not trained on gives rubbish without any error.
void CompareBase(const std::filesystem::path& adapter, const std::string& base_hash) {
  const auto document = ReadJson(adapter / kProvenance, {.bytes = kMaxProvenanceBytes});
  if (!document.ok() || !document->is_object()) return;
  const auto trained = document->find("base_model_hash");
  if (trained == document->end() || !trained->is_string() || *trained == base_hash) return;
  Note("the adapter was trained on base model " + trained->get<std::string>() + ", this one is " +
       base_hash);
}

absl::Status CheckExportFolder(const ModelToolOptions& options) {
  const std::filesystem::path out(options.out);
  std::error_code ignored;
  if (std::filesystem::equivalent(options.adapter, out, ignored))
    return Refuse(absl::StatusCode::kInvalidArgument,
                  options.out + ": is the adapter itself, want another folder");
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors",
                           "adapter.safetensors", kWholeTensorsFile}) {
    if (options.force || !std::filesystem::exists(out / name)) continue;
    return Refuse(absl::StatusCode::kAlreadyExists,
                  options.out + ": holds an adapter already, want an empty folder or --force");
  }
  return absl::OkStatus();
}

// With --force: a reader must not find the weights of the other form beside the new ones.
void RemoveOtherForms(const std::filesystem::path& out, const AnyAdapter& kept) {
  const bool hub = std::holds_alternative<BottleneckAdapter>(kept);
  const bool whole = std::holds_alternative<WholeTensors>(kept);
  std::error_code ignored;
  const auto remove = [&](const char* name) { std::filesystem::remove(out / name, ignored); };
  if (hub || whole) remove("adapter_model.safetensors");
  if (!hub) {
    for (const char* name : {"adapter.safetensors", "model_head.safetensors", "head_config.json"})
      remove(name);
  }
  remove(whole ? "adapter_config.json" : kWholeTensorsFile);
}

absl::Status CopyProvenance(const ModelToolOptions& options) {
  const auto from = std::filesystem::path(options.adapter) / kProvenance;
  if (!std::filesystem::exists(from)) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(from, kMaxProvenanceBytes));
  return WriteFileAtomically(std::filesystem::path(options.out) / kProvenance, bytes);
}

}  // namespace

absl::Status MergeAdapter(const ModelToolOptions& options) {
  RV_ASSIGN_OR_RETURN(const AnyAdapter adapter, ReadAdapterDirectory(options.adapter));
  Provenance provenance;
  provenance.software = "rivulet " RIVULET_VERSION;
  RV_ASSIGN_OR_RETURN(provenance.base_model, HashOfBaseModel(options.model));
  CompareBase(options.adapter, provenance.base_model);
  MergeOptions merge;
  merge.overwrite = options.force;
  merge.dtype = DTypeFor(options.file_dtype);
  const auto merged = [&]() -> absl::StatusOr<MergeReport> {
    if (const auto* lora = std::get_if<LoraAdapter>(&adapter))
      return MergeModel(options.model, *lora, options.labels, options.out, provenance, merge);
    if (const auto* whole = std::get_if<WholeTensors>(&adapter))
      return MergeModel(options.model, *whole, options.labels, options.out, provenance, merge);
    return NoMerge(options.adapter, adapter);
  };
  RV_ASSIGN_OR_RETURN(const MergeReport report, merged());
  if (options.json()) {
    PrintJson({{"api", "rivulet/v1"},
               {"kind", "MergedModel"},
               {"out", options.out},
               {"merged", report.merged},
               {"replaced", report.replaced},
               {"bytes", report.bytes},
               {"files", report.shards},
               {"largest_rounding", report.largest_difference}});
    return absl::OkStatus();
  }
  std::printf("%s: %zu matrices merged", options.out.c_str(), report.merged);
  if (report.replaced > 0) std::printf(", %zu tensors replaced", report.replaced);
  std::printf(", %s in %zu %s, largest rounding %.3g\n", HumanBytes(report.bytes).c_str(),
              report.shards, report.shards == 1 ? "file" : "files", report.largest_difference);
  return absl::OkStatus();
}

absl::Status ExportAdapterFolder(const ModelToolOptions& options) {
  RV_ASSIGN_OR_RETURN(const AnyAdapter adapter, ReadAdapterDirectory(options.adapter));
  RV_RETURN_IF_ERROR(CheckExportFolder(options));
  RV_ASSIGN_OR_RETURN(const ExportReport report,
                      ExportAdapter(options.out, adapter, options.profile));
  const bool lora = std::holds_alternative<LoraAdapter>(adapter);
  if (options.force) RemoveOtherForms(options.out, adapter);
  RV_RETURN_IF_ERROR(CopyProvenance(options));
  if (options.json()) {
    OrderedJson object = {{"api", "rivulet/v1"},
                          {"kind", "ExportedAdapter"},
                          {"out", options.out},
                          {"profile", report.profile}};
    if (lora) object["r"] = report.rank;
    if (lora) object["largest_difference"] = report.largest_difference;
    PrintJson(object);
    return absl::OkStatus();
  }
  std::printf("%s: profile %s", options.out.c_str(), report.profile.c_str());
  if (lora)
    std::printf(", r %lld, largest difference of dW %.3g", static_cast<long long>(report.rank),
                report.largest_difference);
  std::printf(", read back and compared\n");
  if (report.rank > 16)
    std::printf("vLLM needs --max-lora-rank %lld\n", static_cast<long long>(report.rank));
  return absl::OkStatus();
}

}  // namespace rivulet

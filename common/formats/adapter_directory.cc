#include "common/formats/adapter_directory.h"

#include "common/formats/json.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> ProfileOf(const std::string& method, std::string_view asked) {
  const bool portable = method == "lora" && asked == "portable";
  const std::string own = method == "adapter" ? "adapterhub"
                          : method == "full"  ? "tensors"
                                              : "peft";
  if (asked.empty() || portable || asked == own) return asked.empty() ? own : std::string(asked);
  return Refuse(absl::StatusCode::kInvalidArgument, "profile: got '" + std::string(asked) +
                                                        "' for method " + method + ", want " + own +
                                                        (method == "lora" ? " or portable" : ""));
}

absl::StatusOr<ExportReport> WriteLora(const std::filesystem::path& directory,
                                       const LoraAdapter& trained, const std::string& profile) {
  LoraAdapter adapter = trained;
  if (profile == "portable") {
    RV_ASSIGN_OR_RETURN(adapter, PortableLora(trained));
  }
  RV_RETURN_IF_ERROR(WritePeftDirectory(directory, adapter));
  RV_ASSIGN_OR_RETURN(const LoraAdapter again, ReadPeftDirectory(directory));
  ExportReport report{profile, adapter.config.rank};
  RV_ASSIGN_OR_RETURN(report.largest_difference, LargestDeltaDifference(trained, again));
  if (again.weights.HashHex() == adapter.weights.HashHex()) return report;
  return Refuse(absl::StatusCode::kDataLoss,
                directory.string() + ": read back other bytes than were written");
}

absl::StatusOr<ExportReport> WriteBottleneck(const std::filesystem::path& directory,
                                             const BottleneckAdapter& adapter) {
  RV_RETURN_IF_ERROR(WriteAdapterHubDirectory(directory, adapter));
  RV_ASSIGN_OR_RETURN(const BottleneckAdapter again, ReadAdapterHubDirectory(directory));
  if (again.config == adapter.config && again.weights.HashHex() == adapter.weights.HashHex() &&
      again.head.HashHex() == adapter.head.HashHex())
    return ExportReport{"adapterhub"};
  return Refuse(absl::StatusCode::kDataLoss,
                directory.string() + ": read back other bytes than were written");
}

absl::StatusOr<ExportReport> WriteWhole(const std::filesystem::path& directory,
                                        const WholeTensors& tensors) {
  RV_RETURN_IF_ERROR(WriteWholeDirectory(directory, tensors));
  RV_ASSIGN_OR_RETURN(const WholeTensors again, ReadWholeDirectory(directory));
  if (again.weights.HashHex() == tensors.weights.HashHex()) return ExportReport{"tensors"};
  return Refuse(absl::StatusCode::kDataLoss,
                directory.string() + ": read back other bytes than were written");
}

absl::StatusOr<ExportReport> WritePrompt(const std::filesystem::path& directory,
                                         const PromptAdapter& adapter) {
  RV_RETURN_IF_ERROR(WritePromptDirectory(directory, adapter));
  RV_ASSIGN_OR_RETURN(const PromptAdapter again, ReadPromptDirectory(directory));
  if (again.config == adapter.config && again.weights.HashHex() == adapter.weights.HashHex())
    return ExportReport{"peft"};
  return Refuse(absl::StatusCode::kDataLoss,
                directory.string() + ": read back other bytes than were written");
}

}  // namespace

std::string ProvenanceText(const Provenance& provenance) {
  const auto number = [](const std::optional<double>& value) {
    return value.has_value() ? json(*value) : json(nullptr);
  };
  const json document = {{"adapter_hash", provenance.adapter},
                         {"base_model_hash", provenance.base_model},
                         {"delta", number(provenance.delta)},
                         {"epsilon", number(provenance.epsilon)},
                         {"job", provenance.job},
                         {"round", provenance.round},
                         {"software", provenance.software}};
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<ExportReport> WriteAdapterDirectory(const std::filesystem::path& directory,
                                                   const JobModel& model, const JobSpec& job,
                                                   const ParameterSet& state, Provenance provenance,
                                                   std::string_view profile,
                                                   const ModelFiles* base) {
  RV_ASSIGN_OR_RETURN(const std::string form, ProfileOf(model.plan.method, profile));
  RV_ASSIGN_OR_RETURN(ParameterSet full, CompleteState(model.plan, job.job.seed, state, base));
  if (provenance.adapter.empty()) provenance.adapter = state.HashHex();
  ExportReport report;
  if (form == "adapterhub") {
    RV_ASSIGN_OR_RETURN(const BottleneckAdapter adapter, BottleneckAdapterOf(model, job, full));
    RV_ASSIGN_OR_RETURN(report, WriteBottleneck(directory, adapter));
  } else if (form == "tensors") {
    RV_ASSIGN_OR_RETURN(report, WriteWhole(directory, {std::move(full)}));
  } else if (model.plan.prompt) {
    RV_ASSIGN_OR_RETURN(const PromptAdapter adapter, PromptAdapterOf(model, job, std::move(full)));
    RV_ASSIGN_OR_RETURN(report, WritePrompt(directory, adapter));
  } else {
    RV_ASSIGN_OR_RETURN(const LoraAdapter adapter, LoraAdapterOf(model, job, std::move(full)));
    RV_ASSIGN_OR_RETURN(report, WriteLora(directory, adapter, form));
  }
  RV_RETURN_IF_ERROR(
      WriteFileAtomically(directory / "rivulet_provenance.json", ProvenanceText(provenance)));
  return report;
}

absl::StatusOr<AnyAdapter> ReadAdapterDirectory(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / kWholeTensorsFile)) return ReadWholeDirectory(directory);
  const auto path = directory / "adapter_config.json";
  if (!std::filesystem::exists(path))
    return Refuse(absl::StatusCode::kNotFound,
                  directory.string() +
                      ": no adapter_config.json, want the folder of a PEFT LoRA or prompt, of an "
                      "AdapterHub adapter, or " +
                      kWholeTensorsFile);
  RV_ASSIGN_OR_RETURN(const json config, ReadJson(path, {.bytes = 1 << 20}));
  if (!config.is_object() || !config.contains("peft_type"))
    return ReadAdapterHubDirectory(directory);
  if (config["peft_type"] == "PROMPT_TUNING") return ReadPromptDirectory(directory);
  return ReadPeftDirectory(directory);
}

bool IsAdapterDirectory(const std::filesystem::path& directory) {
  return std::filesystem::exists(directory / "adapter_config.json") ||
         std::filesystem::exists(directory / kWholeTensorsFile);
}

absl::StatusOr<ExportReport> ExportAdapter(const std::filesystem::path& directory,
                                           const AnyAdapter& adapter, std::string_view profile) {
  const auto* lora = std::get_if<LoraAdapter>(&adapter);
  const auto* prompt = std::get_if<PromptAdapter>(&adapter);
  const auto* whole = std::get_if<WholeTensors>(&adapter);
  RV_ASSIGN_OR_RETURN(const std::string form, ProfileOf(lora     ? "lora"
                                                        : prompt ? "prompt"
                                                        : whole  ? "full"
                                                                 : "adapter",
                                                        profile));
  if (lora) return WriteLora(directory, *lora, form);
  if (whole) return WriteWhole(directory, *whole);
  if (prompt) return WritePrompt(directory, *prompt);
  return WriteBottleneck(directory, std::get<BottleneckAdapter>(adapter));
}

}  // namespace rivulet

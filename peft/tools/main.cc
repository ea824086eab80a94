// rivulet-model: inspect, merge, export, generate, evaluate on Hugging Face folders.

#include "common/io/size_limit.h"
#include "common/settings/settings.h"
#include "peft/tools/verbs.h"

namespace rivulet {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  rivulet model inspect  MODEL\n"
    "  rivulet model generate MODEL --adapter runs/latest/adapter --prompt \"Love is\"\n"
    "  rivulet model evaluate MODEL --adapter DIR --data FILE.jsonl --data-format jsonl "
    "--template alpaca\n"
    "  rivulet model merge    MODEL ADAPTER --out merged\n"
    "  rivulet model export   ADAPTER --profile portable --out portable\n"
    "exit codes: 0 done, 1 reading or writing failed, 2 usage, 3 a folder, file or value that "
    "cannot\nbe used, 10 memory or disk; all of them: rivulet help exit-codes";

using Verb = absl::Status (*)(const ModelToolOptions&);

void AddFormat(CLI::App& verb, ModelToolOptions& options) {
  verb.add_option("--format", options.format, "text | json (one object on stdout)")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void AddModel(CLI::App& verb, ModelToolOptions& options) {
  verb.add_option("base", options.model, "folder of the base model")->required();
  verb.add_option("--adapter", options.adapter,
                  "folder of a LoRA, a bottleneck adapter or trained tensors");
  verb.add_option("--dtype", options.dtype, "arithmetic: float32 | bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
}

void AddOut(CLI::App& verb, ModelToolOptions& options) {
  verb.add_option("--out", options.out, "folder to write")->required();
  verb.add_flag("--force", options.force, "replace what is there");
}

CLI::App* AddInspect(CLI::App& app, ModelToolOptions& options) {
  CLI::App* verb = app.add_subcommand("inspect", "what a model or adapter folder holds");
  verb->add_option("path", options.model, "folder")->required();
  return verb;
}

CLI::App* AddMerge(CLI::App& app, ModelToolOptions& options) {
  CLI::App* verb =
      app.add_subcommand("merge",
                         "write the base model with a LoRA merged into its weights, or with the "
                         "tensors that [full] trained");
  verb->add_option("base", options.model, "folder of the base model")->required();
  verb->add_option("adapter", options.adapter, "folder of the LoRA or of the trained tensors")
      ->required();
  AddOut(*verb, options);
  verb->add_option("--dtype", options.file_dtype,
                   "of the weights written: float32 (no rounding) | bfloat16 | float16; as the "
                   "base when absent")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  verb->add_option("--labels", options.labels, "class names of a new head, in order");
  return verb;
}

CLI::App* AddExport(CLI::App& app, ModelToolOptions& options) {
  CLI::App* verb = app.add_subcommand("export", "write an adapter for another reader");
  verb->add_option("adapter", options.adapter, "folder of the adapter")->required();
  AddOut(*verb, options);
  verb->add_option(
          "--profile", options.profile,
          "peft | portable (one rank: vLLM, llama.cpp) | adapterhub | tensors; by the method "
          "when absent")
      ->check(CLI::IsMember({"peft", "portable", "adapterhub", "tensors"}));
  return verb;
}

CLI::App* AddGenerate(CLI::App& app, ModelToolOptions& options) {
  GenerateOptions& generate = options.generate;
  CLI::App* verb = app.add_subcommand("generate", "continue a prompt");
  AddModel(*verb, options);
  verb->add_option("--prompt", options.prompt, "text to continue")->required();
  verb->add_option("--max-new-tokens", generate.max_new_tokens)
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  verb->add_option("--temperature", generate.temperature, "0 = greedy")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb->add_option("--top-k", generate.top_k, "the k likeliest tokens; 0 = all")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  verb->add_option("--top-p", generate.top_p, "of these the fewest that reach this probability")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  verb->add_option("--seed", generate.seed, "equal seeds give equal texts")->capture_default_str();
  return verb;
}

CLI::App* AddEvaluate(CLI::App& app, ModelToolOptions& options) {
  DataSection& section = options.section;
  section.task.clear();
  CLI::App* verb = app.add_subcommand("evaluate", "loss, perplexity and accuracy on a data file");
  AddModel(*verb, options);
  verb->add_option("--data", options.data, "file")->required();
  verb->add_option("--data-format", section.format, "text | jsonl | json | tsv")
      ->check(CLI::IsMember({"text", "jsonl", "json", "tsv"}))
      ->capture_default_str();
  verb->add_option("--task", section.task,
                   "causal-lm | classification; as the adapter or model says when absent")
      ->check(CLI::IsMember({"causal-lm", "classification"}));
  verb->add_option("--template", section.template_name,
                   "plain | alpaca | dolly | prompt-completion | chat")
      ->check(CLI::IsMember({"plain", "alpaca", "dolly", "prompt-completion", "chat"}))
      ->capture_default_str();
  verb->add_option("--separator", section.separator, "between records of a text file");
  verb->add_option("--text-field", section.text_field)->capture_default_str();
  verb->add_option("--label-field", section.label_field)->capture_default_str();
  verb->add_option("--labels", options.labels, "class names in the order of the head");
  verb->add_option("--seq-length", section.seq_length,
                   "tokens of a block or example; by default no more than the model's positions")
      ->capture_default_str();
  verb->add_flag("--packing,!--no-packing", section.packing,
                 "causal-lm: records end to end in blocks, the rest dropped; else one each");
  return verb;
}

// Parses the command line into `options` and the verb; a finished exit code when there is nothing
// to run.
std::optional<int> Parse(int argc, char** argv, ErrorFormat errors, ModelToolOptions& options,
                         Verb& chosen) {
  CLI::App app("Works on Hugging Face model and adapter folders.", "rivulet model");
  app.require_subcommand(1);
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("rivulet-model ") + RIVULET_VERSION);
  const std::pair<CLI::App*, Verb> verbs[] = {{AddInspect(app, options), InspectFolder},
                                              {AddMerge(app, options), MergeAdapter},
                                              {AddExport(app, options), ExportAdapterFolder},
                                              {AddGenerate(app, options), GenerateText},
                                              {AddEvaluate(app, options), EvaluateData}};
  for (const auto& [verb, run] : verbs) AddFormat(*verb, options);
  if (const auto done = ParseCommandLine(app, argc, argv, errors)) return done;
  for (const auto& [verb, run] : verbs) {
    if (!verb->parsed()) continue;
    chosen = run;
    const CLI::Option* length = verb->get_option_no_throw("--seq-length");
    options.seq_length_given = length != nullptr && length->count() > 0;
  }
  return std::nullopt;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  MakeSizeLimitAnError();
  const ErrorFormat errors = ErrorFormatIn(argc, argv, "");
  ModelToolOptions options;
  Verb verb = nullptr;
  if (const auto done = Parse(argc, argv, errors, options, verb)) return *done;
  const absl::Status status = verb(options);
  return ExitWith("rivulet model", WithExit(status, ExitCodeOfModelTool(status)), errors);
}

// rivulet-model: inspect, merge, export, generate, evaluate on a Hugging Face folder.

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/formats/adapter_directory.h"
#include "common/formats/lora_adapter.h"
#include "common/formats/merge.h"
#include "common/terminal/progress.h"
#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"
#include "peft/tokenizer/tokenizer.h"
#include "peft/tools/adapted_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/text_generator.h"

namespace rivulet {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model, adapter, out, data;
  std::string profile = "peft", format = "text", dtype = "float32";
  std::string prompt;
  GenerateOptions generate;
  DataSection section;
  bool force = false;
};

Json TensorsJson(const ModelFiles& files) {
  Json tensors = Json::array();
  for (const TensorSpec& spec : files.specs()) {
    tensors.push_back({{"name", spec.name}, {"dtype", NameOf(spec.dtype)}, {"shape", spec.shape}});
  }
  return tensors;
}

absl::Status InspectAdapter(const Options& options) {
  RV_ASSIGN_OR_RETURN(const LoraAdapter adapter, ReadPeftDirectory(options.model));
  if (options.format == "json") {
    Json modules = Json::array();
    for (const LoraFactors& factors : adapter.factors) {
      modules.push_back(
          {{"module", factors.path}, {"rank", factors.rank}, {"scale", factors.scale}});
    }
    std::cout << Json{{"api", "rivulet/v1"},
                      {"kind", "Adapter"},
                      {"method", "lora"},
                      {"r", adapter.config.rank},
                      {"lora_alpha", adapter.config.alpha},
                      {"hash", adapter.weights.HashHex()},
                      {"modules", modules}}
                     .dump(1)
              << '\n';
    return absl::OkStatus();
  }
  std::printf("PEFT LoRA, r %lld, alpha %g, %zu modules, %s\nhash  %s\n",
              static_cast<long long>(adapter.config.rank), adapter.config.alpha,
              adapter.factors.size(), HumanBytes(SizeBytesOf(adapter.weights.manifest())).c_str(),
              adapter.weights.HashHex().c_str());
  for (const LoraFactors& factors : adapter.factors) {
    std::printf("  %-48s r %lld, scale %g\n", factors.path.c_str(),
                static_cast<long long>(factors.rank), factors.scale);
  }
  return absl::OkStatus();
}

absl::Status Inspect(const Options& options) {
  const std::filesystem::path directory(options.model);
  if (std::filesystem::exists(directory / "adapter_config.json")) return InspectAdapter(options);
  RV_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  RV_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(directory));
  RV_ASSIGN_OR_RETURN(const std::string hash, HashOfBaseModel(directory));
  uint64_t parameters = 0, bytes = 0;
  for (const TensorSpec& spec : files.specs()) {
    parameters += static_cast<uint64_t>(spec.elements());
    bytes += spec.size_bytes();
  }
  if (options.format == "json") {
    std::cout << Json{{"api", "rivulet/v1"},
                      {"kind", "Model"},
                      {"family", config.model_type},
                      {"architecture", config.architecture},
                      {"parameters", parameters},
                      {"bytes", bytes},
                      {"hash", hash},
                      {"tensors", TensorsJson(files)}}
                     .dump(1)
              << '\n';
    return absl::OkStatus();
  }
  std::printf(
      "%s (%s), %lld layers, hidden %lld, vocabulary %lld\n%llu parameters, %s in %zu "
      "tensors\nhash  %s\n",
      config.model_type.c_str(), config.architecture.c_str(),
      static_cast<long long>(config.num_hidden_layers), static_cast<long long>(config.hidden_size),
      static_cast<long long>(config.vocab_size), static_cast<unsigned long long>(parameters),
      HumanBytes(bytes).c_str(), files.specs().size(), hash.c_str());
  for (const TensorSpec& spec : files.specs()) std::printf("  %s\n", Describe(spec).c_str());
  return absl::OkStatus();
}

absl::Status Merge(const Options& options) {
  RV_ASSIGN_OR_RETURN(const LoraAdapter adapter, ReadPeftDirectory(options.adapter));
  Provenance provenance;
  provenance.adapter = adapter.weights.HashHex();
  provenance.software = "rivulet " RIVULET_VERSION;
  RV_ASSIGN_OR_RETURN(provenance.base_model, HashOfBaseModel(options.model));
  MergeOptions merge;
  merge.overwrite = options.force;
  RV_ASSIGN_OR_RETURN(const MergeReport report,
                      MergeModel(options.model, adapter, {}, options.out, provenance, merge));
  std::printf("%zu matrices merged, %s in %zu files, largest rounding %.3g\n", report.merged,
              HumanBytes(report.bytes).c_str(), report.shards, report.largest_difference);
  return absl::OkStatus();
}

absl::Status Export(const Options& options) {
  RV_ASSIGN_OR_RETURN(const LoraAdapter adapter, ReadPeftDirectory(options.adapter));
  LoraAdapter out = adapter;
  if (options.profile == "portable") {
    RV_ASSIGN_OR_RETURN(out, WithUniformRank(adapter));
  }
  RV_RETURN_IF_ERROR(WritePeftDirectory(options.out, out));
  RV_ASSIGN_OR_RETURN(const LoraAdapter back, ReadPeftDirectory(options.out));
  RV_ASSIGN_OR_RETURN(const double difference, LargestDeltaDifference(adapter, back));
  std::printf("%s written, largest difference of dW %.3g\n", options.profile.c_str(), difference);
  if (out.config.rank > 16)
    std::printf("vLLM needs --max-lora-rank %lld\n", static_cast<long long>(out.config.rank));
  return absl::OkStatus();
}

absl::Status Generate(Options options) {
  RV_ASSIGN_OR_RETURN(const AdaptedModel model,
                      LoadAdaptedModel(options.model, options.adapter, "causal-lm", options.dtype));
  RV_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(model.directory));
  RV_ASSIGN_OR_RETURN(const Encoding prompt, tokenizer.Encode(options.prompt));
  if (const auto eos = tokenizer.special_ids().eos) options.generate.stop_ids.push_back(*eos);
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<TextGenerator> generator,
                      options.adapter.empty()
                          ? TextGenerator::Make(model.base)
                          : TextGenerator::Make(model.base, model.job, model.state));
  std::cout << options.prompt << std::flush;
  StreamDecoder decoder(tokenizer);
  for (int32_t id : prompt.ids) (void)decoder.Push(id);  // context only: its text is printed above
  absl::Status status;
  options.generate.on_token = [&](int32_t id) {
    const absl::StatusOr<std::string> text = decoder.Push(id);
    status = text.status();
    if (text.ok()) std::cout << *text << std::flush;
    return text.ok();
  };
  RV_RETURN_IF_ERROR(generator->Generate(prompt.ids, options.generate).status());
  RV_RETURN_IF_ERROR(status);
  RV_ASSIGN_OR_RETURN(const std::string rest, decoder.Finish());
  std::cout << rest << std::endl;
  return absl::OkStatus();
}

absl::Status Evaluate(Options options) {
  options.section.held_out_fraction = 0;
  RV_ASSIGN_OR_RETURN(AdaptedModel model, LoadAdaptedModel(options.model, options.adapter,
                                                           options.section.task, options.dtype));
  RV_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(model.directory));
  RV_ASSIGN_OR_RETURN(const RecordList list, ReadRecords(options.data, options.section));
  RV_ASSIGN_OR_RETURN(
      const ClientData data,
      BuildClientData(list.records, options.section, tokenizer,
                      static_cast<int>(model.base->config().max_position_embeddings)));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<Tuner> tuner,
                      MakeFirstOrderTuner(model.base, model.job));
  RV_ASSIGN_OR_RETURN(const EvaluationSums sums, tuner->Evaluate(model.state, data.train));
  if (sums.counted == 0)
    return Refuse(absl::StatusCode::kInvalidArgument, options.data + ": no examples");
  const double loss = sums.loss / static_cast<double>(sums.counted);
  const double accuracy = static_cast<double>(sums.correct) / static_cast<double>(sums.counted);
  if (options.format == "json") {
    std::cout << Json{{"api", "rivulet/v1"},  {"kind", "Evaluation"},
                      {"loss", loss},         {"perplexity", std::exp(loss)},
                      {"accuracy", accuracy}, {"counted", sums.counted}}
                     .dump()
              << '\n';
  } else {
    std::printf("loss %.4f, perplexity %.2f, accuracy %.4f over %lld\n", loss, std::exp(loss),
                accuracy, static_cast<long long>(sums.counted));
  }
  return absl::OkStatus();
}

using Command = absl::Status (*)(Options);

Command Parse(CLI::App& app, Options& options, int argc, char** argv) {
  app.require_subcommand(1);
  app.footer("exit codes: rivulet help exit-codes");
  const auto formats = CLI::IsMember({"text", "json"});
  CLI::App* inspect = app.add_subcommand("inspect", "what a model or adapter folder holds");
  inspect->add_option("path", options.model)->required();
  inspect->add_option("--format", options.format)->check(formats)->capture_default_str();

  CLI::App* merge =
      app.add_subcommand("merge", "write the base model with a LoRA merged into its weights");
  merge->add_option("base", options.model)->required();
  merge->add_option("adapter", options.adapter)->required();
  merge->add_option("--out", options.out)->required();
  merge->add_flag("--force", options.force, "replace a model that is there");

  CLI::App* exporter = app.add_subcommand("export", "write a LoRA for another reader");
  exporter->add_option("adapter", options.adapter)->required();
  exporter->add_option("--out", options.out)->required();
  exporter->add_option("--profile", options.profile, "peft | portable (vLLM, llama.cpp)")
      ->check(CLI::IsMember({"peft", "portable"}))
      ->capture_default_str();

  CLI::App* generate = app.add_subcommand("generate", "continue a prompt");
  generate->add_option("base", options.model)->required();
  generate->add_option("--adapter", options.adapter);
  generate->add_option("--prompt", options.prompt)->required();
  generate->add_option("--max-new-tokens", options.generate.max_new_tokens)->capture_default_str();
  generate->add_option("--temperature", options.generate.temperature, "0 = greedy")
      ->capture_default_str();
  generate->add_option("--top-k", options.generate.top_k, "0 = all")->capture_default_str();
  generate->add_option("--top-p", options.generate.top_p)->capture_default_str();
  generate->add_option("--seed", options.generate.seed)->capture_default_str();
  generate->add_option("--dtype", options.dtype)->check(CLI::IsMember({"float32", "bfloat16"}));

  CLI::App* evaluate =
      app.add_subcommand("evaluate", "loss, perplexity and accuracy on a data file");
  evaluate->add_option("base", options.model)->required();
  evaluate->add_option("--adapter", options.adapter);
  evaluate->add_option("--data", options.data)->required();
  evaluate->add_option("--data-format", options.section.format, "text | jsonl | json | tsv")
      ->capture_default_str();
  evaluate->add_option("--task", options.section.task, "causal-lm | classification")
      ->capture_default_str();
  evaluate->add_option("--template", options.section.template_name)->capture_default_str();
  evaluate->add_option("--separator", options.section.separator, "between records of a text file");
  evaluate->add_option("--labels", options.section.labels, "class names in order");
  evaluate->add_option("--seq-length", options.section.seq_length)->capture_default_str();
  evaluate->add_option("--format", options.format)->check(formats)->capture_default_str();
  app.parse(argc, argv);
  if (inspect->parsed()) return [](Options o) { return Inspect(o); };
  if (merge->parsed()) return [](Options o) { return Merge(o); };
  if (exporter->parsed()) return [](Options o) { return Export(o); };
  if (generate->parsed()) return Generate;
  return Evaluate;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  CLI::App app("Works on Hugging Face model and adapter folders.", "rivulet model");
  rivulet::Options options;
  rivulet::Command command = nullptr;
  try {
    command = rivulet::Parse(app, options, argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(rivulet::ExitCode::kUsage);
  }
  const absl::Status status = command(options);
  if (!status.ok()) std::cerr << "rivulet model: " << status.message() << '\n';
  return static_cast<int>(rivulet::ExitCodeOf(status));
}

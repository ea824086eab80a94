#include "common/status.h"
#include "peft/tokenizer/tokenizer.h"
#include "peft/tools/adapted_model.h"
#include "peft/tools/output.h"
#include "peft/tools/tokenizer_summary.h"
#include "peft/tools/verbs.h"
#include "peft/trainer/text_generator.h"

namespace rivulet {
namespace {

// Why a text ended.
std::string StopReason(size_t prompt, size_t drawn, const GenerateOptions& options,
                       int64_t positions) {
  if (static_cast<int>(drawn) >= options.max_new_tokens) return "length";
  // The last token drawn needs no position: nothing follows it.
  if (static_cast<int64_t>(prompt + drawn) > positions) return "positions";
  return "end-of-text";
}

void NoteIdleOptions(const GenerateOptions& options) {
  const GenerateOptions absent;
  if (options.temperature > 0) return;
  if (options.top_k != absent.top_k || options.top_p != absent.top_p || options.seed != absent.seed)
    Note("--top-k, --top-p and --seed do nothing at temperature 0 (greedy); give --temperature");
}

}  // namespace

absl::Status GenerateText(const ModelToolOptions& options) {
  NoteIdleOptions(options.generate);
  RV_ASSIGN_OR_RETURN(const AdaptedModel model, LoadAdaptedModel(options.model, options.adapter,
                                                                 {"causal-lm", {}, options.dtype}));
  RV_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(model.directory));
  RV_ASSIGN_OR_RETURN(const Encoding prompt, tokenizer.Encode(options.prompt));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<TextGenerator> generator,
                      options.adapter.empty()
                          ? TextGenerator::Make(model.base)
                          : TextGenerator::Make(model.base, model.job, model.state));
  const ModelConfig& config = model.base->config();
  GenerateOptions generate = options.generate;
  RV_ASSIGN_OR_RETURN(generate.stop_ids,
                      StopIds(model.directory, tokenizer.special_ids().eos, config.eos_token_ids));
  const bool stream = !options.json();
  std::string text;
  bool begun = false;  // nothing is printed for a prompt that is refused
  const auto emit = [&](const std::string& piece) {
    if (stream) std::cout << (begun ? "" : options.prompt) << piece << std::flush;
    begun = true;
    text += piece;
  };
  StreamDecoder decoder(tokenizer);
  for (int32_t id : prompt.ids) (void)decoder.Push(id);  // context only: its text stands already
  absl::Status status;
  generate.on_token = [&](int32_t id) {
    const absl::StatusOr<std::string> piece = decoder.Push(id);
    status = piece.status();
    if (piece.ok()) emit(*piece);
    return piece.ok();
  };
  const auto ids = generator->Generate(prompt.ids, generate);
  if (stream && begun && !ids.ok()) std::cout << std::endl;
  RV_RETURN_IF_ERROR(ids.status());
  RV_RETURN_IF_ERROR(status);
  RV_ASSIGN_OR_RETURN(const std::string rest, decoder.Finish());
  emit(rest);
  if (stream) std::cout << std::endl;
  const int64_t positions = LongestExample(config, model.job);
  const std::string reason = StopReason(prompt.ids.size(), ids->size(), generate, positions);
  if (reason == "positions")
    Note("stopped after " + std::to_string(ids->size()) + " of " +
         std::to_string(generate.max_new_tokens) + " tokens: prompt and text fill the model's " +
         std::to_string(positions) + " positions");
  if (stream) return absl::OkStatus();
  PrintJson({{"api", "rivulet/v1"},
             {"kind", "Generation"},
             {"prompt", options.prompt},
             {"text", text},
             {"prompt_tokens", prompt.ids.size()},
             {"ids", *ids},
             {"stopped_by", reason}});
  return absl::OkStatus();
}

}  // namespace rivulet

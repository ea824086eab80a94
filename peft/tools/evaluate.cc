#include <algorithm>
#include <cmath>
#include <cstdio>

#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"
#include "peft/tokenizer/tokenizer.h"
#include "peft/tools/adapted_model.h"
#include "peft/tools/output.h"
#include "peft/tools/verbs.h"
#include "peft/trainer/first_order_tuner.h"

namespace rivulet {
namespace {

// The names by which the file calls the classes: the head's, or their numbers.
absl::StatusOr<std::vector<std::string>> LabelsInFile(const std::vector<Record>& records,
                                                      const DataSection& section,
                                                      const std::vector<std::string>& head) {
  std::vector<std::string> numbers;
  for (size_t label = 0; label < head.size(); ++label) numbers.push_back(std::to_string(label));
  const std::vector<std::string> seen = LabelsOf(records, section);
  const std::vector<std::string>* const choices[] = {&head, &numbers};
  for (const auto* names : choices) {
    const bool known = std::all_of(seen.begin(), seen.end(), [&](const std::string& label) {
      return std::find(names->begin(), names->end(), label) != names->end();
    });
    if (known) return *names;
  }
  std::vector<std::string> few(seen.begin(), seen.begin() + std::min<size_t>(seen.size(), 10));
  return Refuse(absl::StatusCode::kInvalidArgument,
                section.label_field + ": got the classes " + Joined(few) +
                    ", want those of the head (" + Joined(head) +
                    ") or their numbers; give --labels in the order of the head");
}

absl::StatusOr<std::vector<Example>> ReadExamples(const ModelToolOptions& options,
                                                  const AdaptedModel& model,
                                                  const Tokenizer& tokenizer) {
  DataSection section = options.section;
  section.task = model.job.data.task;
  section.held_out_fraction = 0;
  const int positions = static_cast<int>(LongestExample(model.base->config(), model.job));
  if (!options.seq_length_given) section.seq_length = std::min(section.seq_length, positions);
  RV_ASSIGN_OR_RETURN(const RecordList list, ReadRecords(options.data, section));
  if (section.task == "classification") {
    RV_ASSIGN_OR_RETURN(section.labels,
                        LabelsInFile(list.records, section, model.base->config().labels));
  }
  RV_ASSIGN_OR_RETURN(ClientData data,
                      BuildClientData(list.records, section, tokenizer, positions));
  if (!data.train.empty()) return std::move(data.train);
  const bool packed = section.task == "causal-lm" && section.packing;
  const size_t count = list.records.size();
  const std::string records = std::to_string(count) + (count == 1 ? " record" : " records");
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      options.data + ": got " + records +
          (packed ? ", which do not fill one block of " + std::to_string(section.seq_length) +
                        " tokens; want more text, a smaller --seq-length or --no-packing"
                  : " without anything to predict"));
}

}  // namespace

absl::Status EvaluateData(const ModelToolOptions& options) {
  RV_ASSIGN_OR_RETURN(const AdaptedModel model,
                      LoadAdaptedModel(options.model, options.adapter,
                                       {options.section.task, options.labels, options.dtype}));
  RV_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(model.directory));
  RV_ASSIGN_OR_RETURN(const std::vector<Example> examples, ReadExamples(options, model, tokenizer));
  if (!model.untrained.empty())
    Note("neither the model nor an adapter has weights for " + Joined(model.untrained) +
         ": drawn at random");
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<Tuner> tuner,
                      MakeFirstOrderTuner(model.base, model.job));
  RV_ASSIGN_OR_RETURN(const EvaluationSums sums, tuner->Evaluate(model.state, examples));
  const double loss = sums.loss / static_cast<double>(sums.counted);
  const double accuracy = static_cast<double>(sums.correct) / static_cast<double>(sums.counted);
  const bool text = model.job.data.task == "causal-lm";
  if (options.json()) {
    OrderedJson object = {{"api", "rivulet/v1"},
                          {"kind", "Evaluation"},
                          {"task", model.job.data.task},
                          {"loss", loss}};
    if (text) object["perplexity"] = std::exp(loss);
    object["accuracy"] = accuracy;
    object["correct"] = sums.correct;
    object["counted"] = sums.counted;
    object["examples"] = examples.size();
    PrintJson(object);
    return absl::OkStatus();
  }
  std::printf("loss %.4f", loss);
  if (text) std::printf(", perplexity %.2f", std::exp(loss));
  std::printf(", accuracy %.4f", accuracy);
  if (text)
    std::printf(" over %lld tokens in %zu sequences\n", static_cast<long long>(sums.counted),
                examples.size());
  else
    std::printf(" (%lld of %lld)\n", static_cast<long long>(sums.correct),
                static_cast<long long>(sums.counted));
  return absl::OkStatus();
}

}  // namespace rivulet

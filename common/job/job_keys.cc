#include "common/job/job_keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "common/formats/json.h"

namespace rivulet {
namespace {

constexpr double kMaxInt = 2147483647;
constexpr double kMaxSeconds = 86400.0 * 365;

#define RV_KEY(member) [](JobSpec& spec) -> KeyRef { return &spec.member; }
constexpr JobKey kKeys[] = {
    {"job.name", "Name of the run, 1 to 63 of [a-z0-9-]; part of the run folder's name.",
     RV_KEY(job.name)},
    {"job.num-rounds",
     "Rounds to run.",
     RV_KEY(job.num_rounds),
     1,
     1e6,
     {},
     "job.num-server-rounds|job.comm-round"},
    {"job.min-clients", "Updates that a round needs to count.", RV_KEY(job.min_clients), 1, 1e6},
    {"job.min-available-clients",
     "Eligible clients that must be connected before round 1; 0 = enough for one cohort, in a "
     "simulation all.",
     RV_KEY(job.min_available_clients),
     0,
     1e6,
     {},
     "job.min-available-nodes"},
    {"job.clients-per-round", "Size of a cohort; 0 = by fraction-train.",
     RV_KEY(job.clients_per_round), 0, 1e6},
    {"job.fraction-train",
     "Share of the eligible clients in a cohort, when clients-per-round is 0.",
     RV_KEY(job.fraction_train),
     1e-9,
     1,
     {},
     "job.fraction-fit"},
    {"job.over-selection",
     "Invite this many times the clients needed; close when enough have reported.",
     RV_KEY(job.over_selection), 1, 10},
    {"job.selection",
     "How a cohort is chosen: random draw, all eligible, or the most capable (physical memory).",
     RV_KEY(job.selection), 0, 0, "random|all|capability"},
    {"job.round-deadline", "A round ends then, with min-clients updates or a fresh attempt.",
     RV_KEY(job.round_deadline), 1, kMaxSeconds},
    {"job.start-deadline", "Give up when the clients needed never connect.",
     RV_KEY(job.start_deadline), 1, kMaxSeconds},
    {"job.max-failures",
     "Share of a cohort that may report failures before the attempt is abandoned.",
     RV_KEY(job.max_failures), 1e-9, 1},
    {"job.seed", "Root of every random choice of the run.", RV_KEY(job.seed)},

    {"model.name", "Logical name or folder of the base model; each agent maps names to folders.",
     RV_KEY(model.name)},
    {"model.hash",
     "Identity of the base model, sha256:<64 hex digits>; filled in by submit and simulate.",
     RV_KEY(model.hash)},
    {"model.dtype", "Arithmetic of the frozen base; what is trained stays float32.",
     RV_KEY(model.dtype), 0, 0, "float32|bfloat16"},
    {"model.gradient-checkpointing",
     "Recompute activations in the backward pass: less memory, more time.",
     RV_KEY(model.gradient_checkpointing)},

    {"lora.lora-r",
     "Rank of the factors.",
     RV_KEY(lora.lora_r),
     1,
     1024,
     {},
     "lora.r|lora.peft-lora-r"},
    {"lora.lora-alpha",
     "Scale: alpha / r, or alpha / sqrt(r) with use-rslora.",
     RV_KEY(lora.lora_alpha),
     1e-9,
     1e6,
     {},
     "lora.alpha|lora.peft-lora-alpha"},
    {"lora.lora-dropout",
     "Dropout in front of A while training.",
     RV_KEY(lora.lora_dropout),
     0,
     0.99,
     {},
     "lora.dropout"},
    {"lora.lora-target-modules",
     "Module names, one \"regex:<pattern>\", or \"all-linear\"; empty = by family.",
     RV_KEY(lora.lora_target_modules),
     0,
     0,
     {},
     "lora.target-modules"},
    {"lora.layers-to-transform", "Layers that get factors; empty = all.",
     RV_KEY(lora.layers_to_transform), 0, 1e5},
    {"lora.use-rslora", "Scale by alpha / sqrt(r).", RV_KEY(lora.use_rslora)},
    {"lora.modules-to-save",
     "Modules trained whole beside the factors; classification heads join by themselves.",
     RV_KEY(lora.modules_to_save)},

    {"adapter.config", "Kind of bottleneck adapter: seq_bn is Pfeiffer's.", RV_KEY(adapter.config),
     0, 0, "seq_bn"},
    {"adapter.reduction-factor", "Hidden size over bottleneck width.",
     RV_KEY(adapter.reduction_factor), 1, 4096},
    {"adapter.non-linearity", "Between the two projections.", RV_KEY(adapter.non_linearity), 0, 0,
     "relu|gelu|swish|tanh"},
    {"adapter.leave-out", "Layers without an adapter.", RV_KEY(adapter.leave_out), 0, 1e5},

    {"data.dataset", "Logical name of the data; the agent's policy knows where it lies.",
     RV_KEY(data.dataset)},
    {"data.format", "Form of the data files.", RV_KEY(data.format), 0, 0, "text|jsonl|json|tsv"},
    {"data.task", "What is learnt.", RV_KEY(data.task), 0, 0, "causal-lm|classification"},
    {"data.template", "How an instruction record becomes text; loss on the answer only.",
     RV_KEY(data.template_name), 0, 0, "plain|alpaca|dolly|prompt-completion|chat"},
    {"data.separator", "Between records of a text file; empty = the file is one record.",
     RV_KEY(data.separator)},
    {"data.text-field", "Classification: column or key of the text.", RV_KEY(data.text_field)},
    {"data.label-field", "Classification: column or key of the label.", RV_KEY(data.label_field)},
    {"data.labels",
     "Class names in order; empty = those of the base model's head, in a simulation else all of "
     "the data.",
     RV_KEY(data.labels)},
    {"data.seq-length",
     "Tokens of a block, or at most of an example.",
     RV_KEY(data.seq_length),
     2,
     1 << 20,
     {},
     "train.seq-length"},
    {"data.packing",
     "Causal LM on text: join records with the end token and cut blocks of seq-length.",
     RV_KEY(data.packing)},
    {"data.held-out-fraction",
     "Share of each client's records kept for evaluation: the last ones, in file order.",
     RV_KEY(data.held_out_fraction), 0, 0.9},
    {"data.held-out-max-blocks", "At most so many held-out sequences a client; 0 = no limit.",
     RV_KEY(data.held_out_max_blocks), 0, kMaxInt},
    {"data.skip-malformed", "Count and skip malformed records; else the first is an error.",
     RV_KEY(data.skip_malformed)},

    {"train.local-epochs",
     "Passes over a client's data in a round, when max-steps is 0.",
     RV_KEY(train.local_epochs),
     0,
     1e6,
     {},
     "train.num-train-epochs"},
    {"train.max-steps",
     "Optimiser steps a round and client, over as many passes as they take; 0 = by local-epochs.",
     RV_KEY(train.max_steps), 0, kMaxInt},
    {"train.learning-rate",
     "Of the client's optimiser.",
     RV_KEY(train.learning_rate),
     0,
     1e3,
     {},
     "train.learning-rate-max"},
    {"train.lr-scheduler-type", "Over the steps of one round.", RV_KEY(train.lr_scheduler_type), 0,
     0, "constant|linear|cosine"},
    {"train.warmup-ratio", "Share of a round's steps over which the rate rises from 0.",
     RV_KEY(train.warmup_ratio), 0, 1},
    {"train.optimizer", "Of the client, fresh every round.", RV_KEY(train.optimizer), 0, 0,
     "adamw|sgd"},
    {"train.momentum", "SGD only.", RV_KEY(train.momentum), 0, 0.9999},
    {"train.adam-beta1", "AdamW only.", RV_KEY(train.adam_beta1), 0, 0.999999},
    {"train.adam-beta2", "AdamW only.", RV_KEY(train.adam_beta2), 0, 0.999999},
    {"train.adam-epsilon", "AdamW only.", RV_KEY(train.adam_epsilon), 1e-15, 1},
    {"train.weight-decay",
     "On every trained tensor: decoupled with adamw, added to the gradient with sgd.",
     RV_KEY(train.weight_decay), 0, 10},
    {"train.max-grad-norm", "Clip the global gradient norm to this; 0 = no clipping.",
     RV_KEY(train.max_grad_norm), 0, 1e6},
    {"train.proximal-mu", "FedProx: adds mu/2 |w - w_t|^2 to the loss.", RV_KEY(train.proximal_mu),
     0, 1e6},
    {"train.per-device-train-batch-size",
     "Sequences of one forward pass.",
     RV_KEY(train.per_device_train_batch_size),
     1,
     65536,
     {},
     "train.batch-size"},
    {"train.gradient-accumulation-steps", "Forward passes of one optimiser step.",
     RV_KEY(train.gradient_accumulation_steps), 1, 65536},
    {"train.threads", "Threads of one client's step; part of the result's identity.",
     RV_KEY(train.threads), 1, 1024},

    {"strategy.name", "How the mean update moves the global state.", RV_KEY(strategy.name), 0, 0,
     "fedavg|fedavgm|fedadam|fedyogi|fedadagrad"},
    {"strategy.weighting",
     "Weight of a client's update: the examples it trained on; the tokens that carried loss (in "
     "classification the examples); 1; or tokens up to weight-cap. A cohort above 2,047 counts in "
     "powers of two.",
     RV_KEY(strategy.weighting), 0, 0, "examples|tokens|uniform|capped"},
    {"strategy.weight-cap", "Most tokens that count, for weighting capped.",
     RV_KEY(strategy.weight_cap), 0, 2e9},
    {"strategy.aggregation",
     "LoRA: average both factors, or freeze A and average B (FFA-LoRA, exact). The bias of the "
     "first is reported for rounds of at most 64 updates and 32 MiB together.",
     RV_KEY(strategy.aggregation), 0, 0, "factor-average|freeze-a"},
    {"strategy.server-learning-rate",
     "Of the server optimiser; 0 = the strategy's default (fedavg, fedavgm 1; fedadam, fedadagrad "
     "0.1; fedyogi 0.01). 1e-3 is usual for the adaptive ones with LoRA.",
     RV_KEY(strategy.server_learning_rate), 0, 1e3},
    {"strategy.server-momentum", "FedAvgM.", RV_KEY(strategy.server_momentum), 0, 0.9999},
    {"strategy.server-beta1",
     "Momentum of FedAdam, FedYogi and FedAdagrad; -1 = the strategy's default (0.9, 0.9, 0).",
     RV_KEY(strategy.server_beta1), -1, 0.9999},
    {"strategy.server-beta2", "FedAdam, FedYogi.", RV_KEY(strategy.server_beta2), 0, 0.999999},
    {"strategy.server-tau", "Adaptivity floor of FedAdam, FedYogi, FedAdagrad.",
     RV_KEY(strategy.server_tau), 1e-12, 1},

    {"compression.codec",
     "Form of an update on its way up; int8, int4, int2 and none are integers of the masking "
     "protocol where secure-aggregation is on.",
     RV_KEY(compression.codec), 0, 0,
     "none|bf16|fp16|int8|int4|int2|sign|top-k|random-k|public-top-k|rotate-lattice|low-rank|"
     "count-sketch|fed-obd"},
    {"compression.bits",
     "Bits of a value of rotate-lattice, and of every masked value; 0 = the codec's own (int8 8, "
     "int4 4, int2 2, others 8, none 16).",
     RV_KEY(compression.bits), 0, 24},
    {"compression.fraction",
     "Share of the values that top-k, random-k, public-top-k, count-sketch and fed-obd send.",
     RV_KEY(compression.fraction), 1e-6, 1},
    {"compression.rank", "Of low-rank.", RV_KEY(compression.rank), 1, 256},
    {"compression.error-feedback",
     "A client adds what one round did not send to its next update; off under privacy.mechanism.",
     RV_KEY(compression.error_feedback)},
    {"compression.zstd", "Lossless last step of plain uploads.", RV_KEY(compression.zstd)},

    {"secure-aggregation.enabled",
     "Mask every update so that the coordinator learns their sum and nothing else.",
     RV_KEY(secure_aggregation.enabled)},
    {"secure-aggregation.mode",
     "What the coordinator may try: lie as well (malicious), or only read (semi-honest).",
     RV_KEY(secure_aggregation.mode), 0, 0, "malicious|semi-honest"},
    {"secure-aggregation.threshold",
     "Shares that open a secret; 0 = the protocol's table, the only value that clients accept.",
     RV_KEY(secure_aggregation.threshold), 0, 5000},
    {"secure-aggregation.neighbours",
     "Clients that share a mask with each; 0 = all up to the protocol's limit, a ring above it.",
     RV_KEY(secure_aggregation.neighbours), 0, 5000},
    {"secure-aggregation.min-survivors", "Clients in a sum, at least.",
     RV_KEY(secure_aggregation.min_survivors), 3, 5000},
    {"secure-aggregation.corrupt-fraction",
     "Share of a cohort that may work with the coordinator: 0.05, 0.1, 0.2 or 0.333334.",
     RV_KEY(secure_aggregation.corrupt_fraction), 0.01, 0.333334},
    {"secure-aggregation.dropout-fraction", "Share of a cohort that may vanish in a round.",
     RV_KEY(secure_aggregation.dropout_fraction), 0.01, 0.5},
    {"secure-aggregation.range",
     "L2 norm of an update where no privacy.mechanism clips it: larger ones are scaled down to it.",
     RV_KEY(secure_aggregation.range), 1e-6, 1e6},
    {"secure-aggregation.rotation",
     "Spread an update evenly over its coordinates before it is quantised; auto = for up to 12 "
     "bits.",
     RV_KEY(secure_aggregation.rotation), 0, 0, "auto|on|off"},
    {"secure-aggregation.phase-deadline", "Of each exchange beside training.",
     RV_KEY(secure_aggregation.phase_deadline), 1, 86400},

    {"privacy.mechanism",
     "Who adds noise: the coordinator to the sum, every client inside the masked sum, or every "
     "client to its own gradients.",
     RV_KEY(privacy.mechanism), 0, 0, "none|central|distributed|example"},
    {"privacy.noise", "Integer noise.", RV_KEY(privacy.noise), 0, 0, "discrete-gaussian|skellam"},
    {"privacy.clip-norm",
     "L2 norm of an update over all its tensors; with mechanism example, of one example's "
     "gradient.",
     RV_KEY(privacy.clip_norm), 1e-9, 1e6},
    {"privacy.noise-multiplier",
     "Deviation of the noise over clip-norm; 0 = the smallest that keeps target-epsilon.",
     RV_KEY(privacy.noise_multiplier), 0, 1e6},
    {"privacy.target-epsilon", "The job stops before it is passed.", RV_KEY(privacy.target_epsilon),
     1e-3, 1e6},
    {"privacy.target-delta",
     "Of (epsilon, delta).",
     RV_KEY(privacy.target_delta),
     1e-11,
     0.1,
     {},
     "privacy.delta"},
    {"privacy.sampling",
     "poisson: every client is drawn by itself, in secret, with probability fraction-train.",
     RV_KEY(privacy.sampling), 0, 0, "none|poisson"},
    {"privacy.population", "Clients that Poisson sampling draws from; 0 = those of round 1.",
     RV_KEY(privacy.population), 0, 1e6},
    {"privacy.correlation",
     "mechanism central: noise that later rounds partly take back (DP-FTRL), counted for all "
     "rounds "
     "at once and without sampling.",
     RV_KEY(privacy.correlation), 0, 0, "none|tree|banded"},
    {"privacy.min-separation",
     "With correlation: a client may take part again that many rounds later, at the earliest; "
     "banded noise has as many bands.",
     RV_KEY(privacy.min_separation), 1, 1024},
    {"privacy.tree-restart", "correlation tree: rounds of one tree; 0 = one for the whole run.",
     RV_KEY(privacy.tree_restart), 0, 1e6},
    {"privacy.adaptive-clip", "clip-norm follows the median of the updates' norms.",
     RV_KEY(privacy.adaptive_clip)},
    {"privacy.ring-bits", "mechanism distributed: width of the noised sum.",
     RV_KEY(privacy.ring_bits), 12, 40},
    {"privacy.evaluate-in-clear",
     "Allow data.held-out-fraction above 0 under a mechanism: held-out figures leave every client "
     "without noise, and epsilon does not count them.",
     RV_KEY(privacy.evaluate_in_clear)},

    {"robust.rule", "How updates become one where some may lie.", RV_KEY(robust.rule), 0, 0,
     "none|norm-bound|median|trimmed-mean|krum|multi-krum|bulyan|geometric-median|centred-"
     "clipping"},
    {"robust.faulty", "Clients, or groups, that may lie.", RV_KEY(robust.faulty), 0, 1e6},
    {"robust.norm-bound",
     "L2 norm that every update is scaled down to before the rule, 0 = none; of centred-clipping "
     "the radius, 0 = the median distance.",
     RV_KEY(robust.norm_bound), 0, 1e6},
    {"robust.groups", "Masked: so many sums, the rule over their means; 0 = one sum.",
     RV_KEY(robust.groups), 0, 5000},

    {"evaluate.every",
     "Rounds between held-out evaluations; 0 = before the first and after the last.",
     RV_KEY(evaluate.every), 0, 1e6},
    {"export.save-every-round", "Keep the state of every n-th round; 0 = the last only.",
     RV_KEY(export_.save_every_round), 0, 1e6},
    {"track.tensorboard", "Write TensorBoard event files into the run folder.",
     RV_KEY(track.tensorboard)},

    {"simulate.num-clients", "Clients of the iid, dirichlet and count partitions.",
     RV_KEY(simulate.num_clients), 0, 1e6},
    {"simulate.partition", "How the data become clients.", RV_KEY(simulate.partition), 0, 0,
     "files|by-key|iid|dirichlet|count"},
    {"simulate.partition-key",
     "by-key: a field, or \"regex:<pattern>\" whose first group is the key.",
     RV_KEY(simulate.partition_key)},
    {"simulate.partition-alpha", "Dirichlet concentration: small = very unequal.",
     RV_KEY(simulate.partition_alpha), 1e-6, 1e6},
    {"simulate.dataset-path", "File, folder or pattern with the data.",
     RV_KEY(simulate.dataset_path)},
    {"simulate.min-file-bytes", "files: smaller ones are left out.",
     RV_KEY(simulate.min_file_bytes), 0, 1e15},
    {"simulate.min-records", "Clients with fewer records are left out.",
     RV_KEY(simulate.min_records), 1, 1e9},
    {"simulate.max-parallel-clients", "Clients trained at once; 0 = cores / train.threads.",
     RV_KEY(simulate.max_parallel_clients), 0, 4096},
    {"simulate.drop-rate", "Chance that a chosen client vanishes in a round.",
     RV_KEY(simulate.drop_rate), 0, 0.99},
};
#undef RV_KEY

std::string Hyphenated(std::string_view path) {
  std::string out(path);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else
      out += c;
  }
  return out + "\"";
}

template <typename T, typename Text>
std::string ListText(const std::vector<T>& items, Text text) {
  std::string out = "[";
  for (const T& item : items) out += (out.size() > 1 ? ", " : "") + text(item);
  return out + "]";
}

// The text of a value of each type a key can have.
struct KeyText {
  std::string operator()(const int* value) const { return std::to_string(*value); }
  std::string operator()(const int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const uint64_t* value) const { return std::to_string(*value); }
  std::string operator()(const double* value) const { return NumberText(*value); }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::string* value) const { return Quoted(*value); }
  std::string operator()(const std::vector<std::string>* value) const {
    return ListText(*value, Quoted);
  }
  std::string operator()(const std::vector<int>* value) const {
    return ListText(*value, [](int item) { return std::to_string(item); });
  }
  std::string operator()(const std::chrono::seconds* value) const {
    return Quoted(DurationText(*value));
  }
};

constexpr size_t kMostItems = 1024;
constexpr size_t kMostTextBytes = 4096;

bool IsPlainText(const std::string& text) {
  return text.size() <= kMostTextBytes && text.find('\0') == std::string::npos && IsUtf8(text);
}

// Whether `name` is one of "a|b|c".
bool IsOneOf(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t bar = std::min(names.find('|'), names.size());
    if (names.substr(0, bar) == name) return true;
    names.remove_prefix(std::min(bar + 1, names.size()));
  }
  return false;
}

// Whether every number in a value lies within the key's bounds, every string among its choices.
struct InBounds {
  const JobKey& key;

  bool Within(double value) const {
    return std::isfinite(value) && (key.low == key.high || (value >= key.low && value <= key.high));
  }
  bool operator()(const int* value) const { return Within(*value); }
  bool operator()(const int64_t* value) const { return Within(static_cast<double>(*value)); }
  bool operator()(const uint64_t* value) const {  // TOML integers are signed
    return *value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  bool operator()(const double* value) const { return Within(*value); }
  bool operator()(const bool*) const { return true; }
  bool operator()(const std::chrono::seconds* value) const {
    return Within(static_cast<double>(value->count()));
  }
  bool operator()(const std::vector<std::string>* value) const {
    return value->size() <= kMostItems &&
           std::all_of(value->begin(), value->end(),
                       [](const std::string& item) { return !item.empty() && IsPlainText(item); });
  }
  bool operator()(const std::vector<int>* value) const {
    return value->size() <= kMostItems &&
           std::all_of(value->begin(), value->end(), [this](int item) { return Within(item); });
  }
  bool operator()(const std::string* value) const {
    if (key.choices.empty()) return IsPlainText(*value);
    return IsOneOf(key.choices, *value);
  }
};

std::string BoundText(double bound) {
  if (bound == std::floor(bound) && std::abs(bound) < 1e15)
    return std::to_string(static_cast<int64_t>(bound));
  return NumberText(bound);
}

KeyRef RefIn(const JobKey& key, const JobSpec& spec) {
  return key.ref(const_cast<JobSpec&>(spec));
}  // read only

}  // namespace

std::span<const JobKey> JobKeys() { return kKeys; }

const JobKey* FindJobKey(std::string_view path) {
  const std::string name = Hyphenated(path);
  for (const JobKey& key : kKeys) {
    if (key.path == name || IsOneOf(key.alias, name)) return &key;
  }
  return nullptr;
}

std::vector<std::string> JobKeyPaths() {
  std::vector<std::string> paths;
  for (const JobKey& key : kKeys) paths.emplace_back(key.path);
  return paths;
}

bool InJobDocument(const JobKey& key) {
  return !key.path.starts_with("simulate.") && !key.path.starts_with("track.");
}

std::string WantedOf(const JobKey& key) {
  static JobSpec any;
  const KeyRef ref = key.ref(any);
  if (!key.choices.empty()) return std::string(key.choices);
  const std::string range =
      key.low == key.high ? "" : " " + BoundText(key.low) + ".." + BoundText(key.high);
  if (std::holds_alternative<std::string*>(ref)) return "a string";
  if (std::holds_alternative<bool*>(ref)) return "true or false";
  if (std::holds_alternative<double*>(ref)) return "a number" + range;
  if (std::holds_alternative<std::vector<std::string>*>(ref)) return "a list of strings";
  if (std::holds_alternative<std::vector<int>*>(ref)) return "a list of integers" + range;
  if (std::holds_alternative<std::chrono::seconds*>(ref))
    return "a duration such as \"90s\", \"20m\", \"2h\", \"1d\"";
  return "an integer" + (range.empty() ? std::string(" >= 0") : range);
}

absl::Status CheckRange(const JobKey& key, const JobSpec& spec, std::string_view origin) {
  if (std::visit(InBounds{key}, RefIn(key, spec))) return absl::OkStatus();
  std::string seen = Shortened(ValueText(key, spec));
  if (!origin.empty()) seen += " (" + std::string(origin) + ")";
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                         std::string(key.path) + ": got " + seen + ", want " + WantedOf(key)),
                  ExitCode::kConfig);
}

std::string Shortened(std::string text) {
  constexpr size_t kMost = 200;
  const bool cut = text.size() > kMost;
  if (cut) text.resize(kMost);
  text.resize(FirstInvalidUtf8(text));
  return cut ? text + "..." : text;
}

std::string ValueText(const JobKey& key, const JobSpec& spec) {
  return std::visit(KeyText{}, RefIn(key, spec));
}

absl::StatusOr<std::chrono::seconds> ParseDuration(std::string_view text) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, text.data() + text.size() - end);
  const int64_t scale = unit == "s"   ? 1
                        : unit == "m" ? 60
                        : unit == "h" ? 3600
                        : unit == "d" ? 86400
                                      : 0;
  if (error != std::errc() || scale == 0 || count < 0 || count > int64_t{1} << 40) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "got \"" + std::string(text) +
                      "\", want a duration such as \"90s\", \"20m\", \"2h\", \"1d\"");
  }
  return std::chrono::seconds(count * scale);
}

std::string DurationText(std::chrono::seconds duration) {
  const int64_t seconds = duration.count();
  if (seconds != 0 && seconds % 86400 == 0) return std::to_string(seconds / 86400) + "d";
  if (seconds != 0 && seconds % 3600 == 0) return std::to_string(seconds / 3600) + "h";
  if (seconds != 0 && seconds % 60 == 0) return std::to_string(seconds / 60) + "m";
  return std::to_string(seconds) + "s";
}

std::string NumberText(double value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

}  // namespace rivulet

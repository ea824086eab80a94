#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace rivulet {

// The whole run, as `job.toml` states it: one struct per section, member initialisers are the
// defaults. Plain data: parsed once (common/job/job_file.h), validated as a whole, passed down by
// const reference. Keys in the file are the member names in kebab-case; docs/job_toml.md is checked
// against the table of keys.

struct JobSection {
  std::string name = "job";
  int num_rounds = 10;
  int min_clients = 2;  // updates a round needs to count
  int min_available_clients =
      0;  // eligible clients that must be connected before round 1; 0 = one cohort, simulated: all
  int clients_per_round = 0;    // cohort size; 0 = by fraction_train
  double fraction_train = 1.0;  // of the eligible clients, used when clients_per_round is 0
  double over_selection =
      1.0;  // invite this many times the clients needed, close when enough reported
  std::string selection = "random";  // random | all | capability
  std::chrono::seconds round_deadline{1200};
  std::chrono::seconds start_deadline{1800};  // give up when min_clients never connect
  double max_failures = 0.5;                  // share of a cohort that may fail
  uint64_t seed = 42;
};

struct ModelSection {
  std::string name;               // logical name or folder; the agent maps names to folders
  std::string hash;               // "sha256:<hex>" of the base model; required by submit
  std::string dtype = "float32";  // float32 | bfloat16: arithmetic of the frozen base
  bool gradient_checkpointing = false;
};

struct LoraSection {
  int lora_r = 8;
  double lora_alpha = 16;
  double lora_dropout = 0.05;
  std::vector<std::string>
      lora_target_modules;  // names, one "regex:<pattern>", or "all-linear"; empty = by family
  std::vector<int> layers_to_transform;  // empty = all
  bool use_rslora = false;
  std::vector<std::string>
      modules_to_save;  // trained whole beside the factors; heads join by themselves
};

// Pfeiffer bottleneck adapter (AdapterHub seq_bn).
struct AdapterSection {
  std::string config = "seq_bn";
  int reduction_factor = 16;
  std::string non_linearity = "relu";  // relu | gelu | swish | tanh
  std::vector<int> leave_out;          // layers without an adapter
};

// The base model itself, every number of it or of the modules named.
struct FullSection {
  std::vector<std::string> modules;  // parts of their paths, "q_proj", "layers.3"; empty = all
};

// Soft prompt: trained vectors before the tokens of every sequence (HF PEFT's prompt tuning).
struct PromptSection {
  int num_virtual_tokens = 16;
  std::string prompt_tuning_init = "sample-vocabulary";  // sample-vocabulary | random
  int subspace = 0;  // train a vector of so many numbers, the prompt being a fixed projection of
                     // it; 0 = the prompt itself
};

struct DataSection {
  std::string dataset;             // logical name; the agent's policy knows the path
  std::string format = "text";     // text | jsonl | json | tsv
  std::string task = "causal-lm";  // causal-lm | classification
  std::string template_name =
      "plain";            // `template`: plain | alpaca | dolly | prompt-completion | chat
  std::string separator;  // of records in text, e.g. "\n%\n"; empty = the whole file is one record
  std::string text_field = "text";  // classification: column or key
  std::string label_field = "label";
  std::vector<std::string> labels;  // class names in order; empty = those of the base model's head
  int seq_length = 512;             // tokens per block or per example
  bool packing = true;              // records + eos, cut into blocks of seq_length (causal-lm only)
  double held_out_fraction = 0.1;   // last records of each client, in file order
  int held_out_max_blocks = 16;     // 0 = no limit
  bool skip_malformed = false;      // count and skip, else the first malformed record is an error
};

struct TrainSection {
  int local_epochs = 1;
  int max_steps = 0;  // optimiser steps a round and client; 0 = by local_epochs
  double learning_rate = 3e-4;
  std::string lr_scheduler_type =
      "constant";  // constant | linear | cosine, over the steps of one round
  double warmup_ratio = 0.0;
  std::string optimizer = "adamw";  // adamw | sgd
  double momentum = 0.0;            // sgd
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;  // 0 = no clipping
  double proximal_mu = 0.0;    // FedProx: + mu/2 |w - w_t|^2
  int per_device_train_batch_size = 8;
  int gradient_accumulation_steps = 1;
  int threads = 1;  // of one client's step; part of the result's identity
  // Where gradients come from: backprop, or differences of losses (docs/backprop_free.md):
  // backprop | central | one-sided | fzoo | grzo | forward | cma-es
  std::string estimator = "backprop";
  double perturbation = 1e-2;  // width of a difference, in units of the trained numbers
  int queries = 1;             // directions of one step
  // Of a round's estimate with the gradient: queries follow from it once the model is known
  // (target_cosine.h); 0 = queries as they stand.
  double target_cosine = 0;
  std::string direction = "rademacher";  // rademacher | gauss | low-rank | subspace | flipped
  int direction_rank = 1;                // low-rank, subspace
  // Directions in a row that share the right factor of low-rank (LOZO), both of subspace (SubZero),
  // the signs that flipped flips (GRZO).
  int direction_renewal = 1;
  int batched_queries = 0;   // queries whose losses share one forward pass; 0 = one loss a pass
  int population = 20;       // cma-es: candidates of one step
  double initial_sigma = 1;  // cma-es: deviation of the first candidates
};

// Updates of numbers along directions that every party draws for itself (docs/backprop_free.md).
struct ScalarsSection {
  bool enabled = false;
  int pool = 0;        // directions of the whole job (FedKSeed); 0 = fresh ones every round
  int directions = 0;  // backprop: so many that the update is projected on (Ferret)
  std::string combine = "mean";  // mean | vote: one bit a step (FeedSign)
  int splits = 1;                // parts of the trained tensors, one a client (SPRY)
  // Of signal to noise that a step of the global state waits for, round after round of further
  // directions (FwdLLM); 0 = a step every round.
  double target_ratio = 0;
  std::string pool_choice = "uniform";  // uniform | amplitude: how clients draw from the pool (Pro)
  std::string drawn_from = "job";       // job | session: what directions follow from
  // Of so many directions for each query the one closest to the last movement (FwdLLM); 1 = no
  // choice.
  int candidates = 1;
};

struct StrategySection {
  std::string name = "fedavg";                 // fedavg | fedavgm | fedadam | fedyogi | fedadagrad
  std::string weighting = "tokens";            // examples | tokens | uniform | capped
  int64_t weight_cap = 0;                      // for capped: tokens
  std::string aggregation = "factor-average";  // factor-average | freeze-a
  double server_learning_rate = 0;             // 0 = the strategy's default
  double server_momentum = 0.9;
  double server_beta1 = -1;  // -1 = the strategy's default
  double server_beta2 = 0.99;
  double server_tau = 1e-3;
};

// What an update looks like on its way up (docs/private_upload.md).
struct CompressionSection {
  // none | bf16 | fp16 | int8 | int4 | int2 | sign | top-k | random-k | public-top-k |
  // rotate-lattice | low-rank | count-sketch | fed-obd | power-sgd
  std::string codec = "none";
  int bits = 0;  // of one value of rotate-lattice and of masked values; 0 = the codec's own
  double fraction = 0.05;      // of the values that top-k, random-k, public-top-k, count-sketch and
                               // fed-obd send
  int rank = 4;                // low-rank, power-sgd
  bool error_feedback = true;  // carry what a round did not send into the next; biased codecs only
  bool zstd = false;           // last step of plain uploads
};

// RivuletAgg v1: the coordinator learns the sum of a round and no update (docs/private_upload.md).
struct SecureAggregationSection {
  bool enabled = false;
  std::string mode = "malicious";  // malicious | semi-honest: what the coordinator may try
  int threshold = 0;               // shares that open a secret; 0 = by the protocol's table
  int neighbours = 0;              // 0 = all up to the protocol's limit, a ring above it
  int min_survivors = 4;           // clients in a sum, at least
  double corrupt_fraction = 0.1;   // of a cohort, with the coordinator
  double dropout_fraction = 0.2;   // of a cohort
  double range =
      10.0;  // L2 norm of an update when no privacy.mechanism clips it; larger: scaled down
  std::string rotation = "auto";  // auto | on | off: spread an update evenly before it is quantised
  std::chrono::seconds phase_deadline{60};  // of each exchange beside training
};

struct PrivacySection {
  std::string mechanism = "none";           // none | central | distributed | example
  std::string noise = "discrete-gaussian";  // discrete-gaussian | skellam
  double clip_norm = 1.0;                   // of an update; of one example's gradient for `example`
  double noise_multiplier =
      0;  // noise deviation over clip-norm; 0 = smallest that keeps the target
  double target_epsilon = 8.0;  // the job stops before it is passed
  double target_delta = 1e-5;
  std::string sampling = "none";  // none | poisson: the cohort is drawn in secret and amplifies
  int population = 0;             // clients that Poisson sampling draws from; 0 = those connected
  std::string correlation = "none";  // none | tree | banded: central noise over rounds (DP-FTRL)
  int min_separation = 1;          // with correlation: rounds from one part of a client to its next
  int tree_restart = 0;            // rounds of one tree; 0 = one for the whole run
  bool adaptive_clip = false;      // clip-norm follows the median of the updates' norms
  int ring_bits = 20;              // distributed: width of the noised sum
  bool evaluate_in_clear = false;  // held-out figures may leave clients without noise
};

// How one update may not spoil a round (docs/private_upload.md).
struct RobustSection {
  // none | norm-bound | median | trimmed-mean | krum | multi-krum | bulyan | geometric-median |
  // centred-clipping | fltrust
  std::string rule = "none";
  int faulty = 0;         // clients, or groups, that may lie
  double norm_bound = 0;  // L2 norm that updates are scaled down to; centred-clipping: radius
  int groups = 0;         // masked: so many sums, the rule over their means
  // fltrust: its update is what the others are judged by; it is in every cohort, beside them
  std::string trusted_client;
};

struct EvaluateSection {
  int every = 0;  // rounds between held-out evaluations; 0 = before the first and after the last
  // Evaluate a moving average of the global states that keeps this share of itself a round (BAFFLE:
  // 0.995); 0 = the states themselves.
  double ema = 0;
};

struct ExportSection {
  int save_every_round = 0;  // 0 = last only
};

struct TrackSection {
  bool tensorboard = true;
};

// Used by `rivulet simulate`, ignored by submit.
struct SimulateSection {
  int num_clients = 0;              // for iid | dirichlet | count
  std::string partition = "files";  // files | by-key | iid | dirichlet | count
  std::string partition_key;  // by-key: a field, or "regex:<pattern>" whose first group is the key
  double partition_alpha = 0.5;
  std::string dataset_path;      // file, folder or glob
  int64_t min_file_bytes = 0;    // files: smaller ones are left out
  int min_records = 1;           // clients with fewer are left out
  int max_parallel_clients = 0;  // 0 = one per core
  double drop_rate = 0.0;        // share of clients that vanish in a round
  double backprop_share = 0.0;   // with scalars: share of clients that project their gradient
};

struct JobSpec {
  JobSection job;
  ModelSection model;
  // Which of the next four sections the file has: lora | adapter | full | prompt.
  std::string method = "lora";
  LoraSection lora;
  AdapterSection adapter;
  FullSection full;
  PromptSection prompt;
  DataSection data;
  TrainSection train;
  ScalarsSection scalars;
  StrategySection strategy;
  CompressionSection compression;
  SecureAggregationSection secure_aggregation;
  PrivacySection privacy;
  RobustSection robust;
  EvaluateSection evaluate;
  ExportSection export_;
  TrackSection track;
  SimulateSection simulate;

  // Checks every value and every combination. InvalidArgument (exit 3) naming key, value seen and
  // value wanted; for a combination both keys and the remedy.
  absl::Status Validate() const;
  // What is legal but cannot be meant, one sentence each: for stderr before the run.
  std::vector<std::string> Warnings() const;
  // The same for a job that agents work on, and where they would not reach a simulation's result.
  std::vector<std::string> SubmitWarnings() const;
};

}  // namespace rivulet

#include "common/job/key_tables.h"

namespace rivulet {
namespace {

constexpr double kMaxInt = 2147483647;
constexpr double kMaxSeconds = 86400.0 * 365;

// [job] [model] [lora] [adapter] [full] [prompt] [data] [train] [scalars] [strategy]
constexpr JobKey kTrainingKeys[] = {
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
     "Invite this many times the clients needed; close when enough have reported. Who is first "
     "then depends on the machines, in a simulation too.",
     RV_KEY(job.over_selection), 1, 10},
    {"job.selection",
     "How a cohort is chosen: random draw, all eligible, or the most capable (physical memory).",
     RV_KEY(job.selection), 0, 0, "random|all|capability"},
    {"job.round-deadline",
     "A round ends then, with min-clients updates or a fresh attempt. Not in a simulation, where "
     "nobody is late but waits for a worker.",
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

    {"full.modules",
     "Modules of the base model whose own weights are trained, by their paths or parts of them "
     "between dots (\"q_proj\", \"layers.3\"); empty = every tensor of the base. Classification "
     "heads join by themselves.",
     RV_KEY(full.modules)},

    {"prompt.num-virtual-tokens",
     "Trained vectors before the tokens of every sequence; data.seq-length and they must fit the "
     "model's longest sequence.",
     RV_KEY(prompt.num_virtual_tokens), 1, 65536},
    {"prompt.prompt-tuning-init",
     "First values: embeddings of tokens that the seed chooses, or normal numbers of deviation "
     "0.02.",
     RV_KEY(prompt.prompt_tuning_init), 0, 0, "sample-vocabulary|random"},
    {"prompt.subspace",
     "Train and send a vector of so many numbers instead, which a fixed random matrix turns into "
     "what is added to the first values; 0 = the prompt itself.",
     RV_KEY(prompt.subspace), 0, 65536},

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
     "Share of each client's records kept for evaluation: the last ones, in file order; of a "
     "packed text without separator its last blocks. Under a privacy.mechanism the default is 0.0, "
     "unless evaluate-in-clear or evaluate.every asks for figures.",
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
    {"train.estimator",
     "Where gradients come from: backpropagation, or differences of losses that need the memory of "
     "inference alone: two-point (MeZO), one-sided, or one-sided over the spread of its losses "
     "(FZOO). grzo: two-point, each query on one of a step's gradient-accumulation-steps passes, "
     "over the spread of the differences (GRZO). forward: exact slopes along the same directions, "
     "by forward-mode differentiation. "
     "cma-es searches without gradients, for at most 1,024 trained numbers.",
     RV_KEY(train.estimator), 0, 0, "backprop|central|one-sided|fzoo|grzo|forward|cma-es"},
    {"train.perturbation", "Differences: how far from the trained numbers losses are measured.",
     RV_KEY(train.perturbation), 1e-8, 1e3},
    {"train.queries", "Differences: random directions of one step.", RV_KEY(train.queries), 1,
     65536},
    {"train.target-cosine",
     "Differences: queries become as many as let the estimate of a round have this cosine with the "
     "gradient, d c^2 / (1 - c^2) directions for d trained numbers, over the steps of a round and, "
     "where each client has directions of its own, over its clients (FwdLLM); 0 = queries as they "
     "stand.",
     RV_KEY(train.target_cosine), 0, 0.99},
    {"train.direction",
     "Differences: signs, normal numbers, for each matrix a sum of direction-rank products of two "
     "vectors of signs, normal numbers within a subspace of direction-rank rows and columns, or "
     "shared signs that are flipped by row and column.",
     RV_KEY(train.direction), 0, 0, "rademacher|gauss|low-rank|subspace|flipped"},
    {"train.direction-rank", "Of directions low-rank and subspace.", RV_KEY(train.direction_rank),
     1, 1024},
    {"train.direction-renewal",
     "So many directions in a row share the right factors of low-rank (LOZO), the subspace "
     "(SubZero), or the signs that are flipped (GRZO).",
     RV_KEY(train.direction_renewal), 1, 1e6},
    {"train.batched-queries",
     "Differences: so many queries of a step share one forward pass, both signs of each; 0 = a "
     "pass for each loss.",
     RV_KEY(train.batched_queries), 0, 1024},
    {"train.population", "cma-es: candidates of one step, a forward pass each.",
     RV_KEY(train.population), 4, 65536},
    {"train.initial-sigma",
     "cma-es: deviation of each number among the first candidates of a round.",
     RV_KEY(train.initial_sigma), 1e-8, 1e6},

    {"scalars.enabled",
     "Updates are one number for each of a round's directions, which all parties draw for "
     "themselves, in place of one for each trained number; clients that were away replay them.",
     RV_KEY(scalars.enabled)},
    {"scalars.pool",
     "Directions of the whole job, from which clients draw (FedKSeed); 0 = fresh ones every round, "
     "one for each query of each step (DeComFL).",
     RV_KEY(scalars.pool), 0, 1 << 20},
    {"scalars.directions",
     "With estimator backprop: so many directions that an update is projected on (Ferret).",
     RV_KEY(scalars.directions), 0, 1 << 20},
    {"scalars.combine",
     "What moves the global state along a direction: the mean of the clients' numbers, or one "
     "learning rate in the direction most of them vote for (FeedSign).",
     RV_KEY(scalars.combine), 0, 0, "mean|vote"},
    {"scalars.splits", "Parts of the trained tensors, of which a client moves one a round (SPRY).",
     RV_KEY(scalars.splits), 1, 4096},
    {"scalars.target-ratio",
     "The global state waits, round after round of further directions, until the squared norm of "
     "the mean estimate is so many times its variance (FwdLLM): 1 + P / d for P exact slopes in d "
     "dimensions; 0 = it moves every round.",
     RV_KEY(scalars.target_ratio), 0, 2},
    {"scalars.pool-choice",
     "How a client draws from the pool: all directions alike, or those more often along which the "
     "state has moved more (FedKSeed-Pro).",
     RV_KEY(scalars.pool_choice), 0, 0, "uniform|amplitude"},
    {"scalars.drawn-from",
     "What a round's directions follow from: the job's document, or with masks the fresh keys of "
     "the round's session, which whoever writes the job does not know; under masks session is the "
     "default, but with a pool or groups.",
     RV_KEY(scalars.drawn_from), 0, 0, "job|session"},
    {"scalars.candidates",
     "Of so many directions for each query the one is used that lies closest to the last movement "
     "of the global state, to either side (FwdLLM); 1 = no choice. The estimate is biased towards "
     "that movement.",
     RV_KEY(scalars.candidates), 1, 64},

    {"strategy.name", "How the mean update moves the global state.", RV_KEY(strategy.name), 0, 0,
     "fedavg|fedavgm|fedadam|fedyogi|fedadagrad"},
    {"strategy.weighting",
     "Weight of a client's update: the examples it trained on; the tokens that carried loss (in "
     "classification the examples); 1; or tokens up to weight-cap. A cohort above 2,047 counts in "
     "powers of two. Under secure-aggregation or a privacy.mechanism the default is uniform.",
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
};

}  // namespace

std::span<const JobKey> TrainingKeys() { return kTrainingKeys; }

}  // namespace rivulet

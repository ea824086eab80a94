#include "common/job/key_tables.h"

namespace rivulet {
namespace {

// [compression] [secure-aggregation] [privacy] [robust]
constexpr JobKey kUploadKeys[] = {
    {"compression.codec",
     "Form of an update on its way up; int8, int4, int2, drive and none are integers of the "
     "masking "
     "protocol where secure-aggregation is on. power-sgd is for masks alone: low-rank by two sums, "
     "a round each.",
     RV_KEY(compression.codec), 0, 0,
     "none|bf16|fp16|int8|int4|int2|sign|top-k|random-k|public-top-k|rotate-lattice|drive|eden|"
     "low-rank|count-sketch|fed-obd|power-sgd"},
    {"compression.bits",
     "Bits of a value of rotate-lattice and eden, and of every masked value but of drive; 0 = the "
     "codec's own (int8 8, int4 4, int2 and eden 2, others 8, none 16).",
     RV_KEY(compression.bits), 0, 24},
    {"compression.fraction",
     "Share of the values that top-k, random-k, public-top-k, count-sketch and fed-obd send.",
     RV_KEY(compression.fraction), 1e-6, 1},
    {"compression.rank", "Of low-rank and power-sgd.", RV_KEY(compression.rank), 1, 256},
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
     "Clients that share a mask with each; 0 = all up to the protocol's limit, the ring of its "
     "table "
     "above it, the only value that clients accept.",
     RV_KEY(secure_aggregation.neighbours), 0, 5000},
    {"secure-aggregation.min-survivors", "Clients in a sum, at least.",
     RV_KEY(secure_aggregation.min_survivors), 3, 5000},
    {"secure-aggregation.corrupt-fraction",
     "Share of a cohort that may work with the coordinator: 0.05, 0.1, 0.2 or 0.333334.",
     RV_KEY(secure_aggregation.corrupt_fraction), 0.01, 0.333334},
    {"secure-aggregation.dropout-fraction", "Share of a cohort that may vanish in a round.",
     RV_KEY(secure_aggregation.dropout_fraction), 0.01, 0.5},
    {"secure-aggregation.range",
     "L2 norm of an update where no privacy.mechanism clips it: larger ones are scaled down to it; "
     "with drive smaller ones are filled up with noise.",
     RV_KEY(secure_aggregation.range), 1e-6, 1e6},
    {"secure-aggregation.rotation",
     "Spread an update evenly over its coordinates before it is quantised; auto = for up to 12 "
     "bits and at least 256 numbers.",
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
     "clipping|fltrust"},
    {"robust.faulty", "Clients, or groups, that may lie.", RV_KEY(robust.faulty), 0, 1e6},
    {"robust.norm-bound",
     "L2 norm that every update is scaled down to before the rule, 0 = none; of centred-clipping "
     "the radius, 0 = the median distance.",
     RV_KEY(robust.norm_bound), 0, 1e6},
    {"robust.groups", "Masked: so many sums, the rule over their means; 0 = one sum.",
     RV_KEY(robust.groups), 0, 5000},
    {"robust.trusted-client",
     "fltrust: the client whose update the others are judged by. It takes part in every round "
     "beside "
     "the cohort and is not counted in it.",
     RV_KEY(robust.trusted_client)},
};

}  // namespace

std::span<const JobKey> UploadKeys() { return kUploadKeys; }

}  // namespace rivulet

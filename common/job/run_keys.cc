#include "common/job/key_tables.h"

namespace rivulet {
namespace {

// [evaluate] [export] [track] [simulate]
constexpr JobKey kRunKeys[] = {
    {"evaluate.every",
     "Rounds between held-out evaluations; 0 = before the first and after the last.",
     RV_KEY(evaluate.every), 0, 1e6},
    {"evaluate.ema",
     "Evaluate a moving average of the global states, which keeps this share of itself a round "
     "(BAFFLE: 0.995); what is trained and exported stays the state; 0 = evaluate the states.",
     RV_KEY(evaluate.ema), 0, 0.999999},
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
    {"simulate.drop-rate",
     "Chance that a chosen client vanishes in a round: before its update, under masks at any point "
     "of the exchange. Where the coordinator only reads (secure-aggregation.mode = "
     "\"semi-honest\") "
     "nothing is endorsed: who would vanish there stays.",
     RV_KEY(simulate.drop_rate), 0, 0.99},
    {"simulate.backprop-share",
     "Experimental. With [scalars]: share of clients that can afford backpropagation and project "
     "their gradient instead of measuring slopes.",
     RV_KEY(simulate.backprop_share), 0, 1},
};

}  // namespace

std::span<const JobKey> RunKeys() { return kRunKeys; }

}  // namespace rivulet

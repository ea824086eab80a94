#pragma once

#include <string>

#include "privacy/dp/ledger.h"

namespace rivulet {

inline LedgerRow CentralRow(int64_t round, double q = 0.1, double z = 1) {
  LedgerRow row;
  row.job = "a job";
  row.data_set = "letters";
  row.round = round;
  row.q = q;
  row.z = row.z_delta = z;
  row.clip_norm = 0.5;
  row.survivors = 12;
  row.values = 1 << 20;
  row.sigma_int = 8'389'120;
  row.scale = 0x1p24;
  row.delta = 1e-5;
  row.eps_pld = 0.123456789012345;
  row.eps_rdp = 0.2;
  row.seed_commitment = std::string(64, 'a');
  row.code_version = "0.2.0";
  row.vectors_sha256 = std::string(64, '0');
  return row;
}

// The second fixed-parameter vector of dp_distributed.json, ten rounds of which cost 36.738631
// (discrete Gaussian) or 36.744619 (Skellam).
inline LedgerRow DistributedRow(int64_t round,
                                DpMechanism mechanism = DpMechanism::kDistributedGaussian) {
  LedgerRow row = CentralRow(round, 1);
  row.mechanism = mechanism;
  row.n_eff = row.n_max = 64;
  row.values = 65536;
  row.sigma_int = 12.5;
  row.scale = 100;
  row.norm_bound = 163.1318485152424;
  row.accumulator_bits = 20;
  return row;
}

}  // namespace rivulet

#pragma once

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "masked_fixture.h"

namespace rivulet {

inline const std::vector<std::string> kAll = {"a", "b", "c", "d", "e", "f"};

inline JobSpec CentralSpec() {
  JobSpec spec = ToySpec();
  spec.job.min_available_clients = 6;
  spec.strategy.weighting = "uniform";
  spec.privacy.mechanism = "central";
  spec.privacy.noise_multiplier = 1;
  spec.privacy.target_epsilon = 20;
  spec.data.dataset = "";
  return spec;
}

class PrivateRounds : public MaskedFederationTest {
 protected:
  std::vector<LedgerRow> Ledger() {
    std::vector<LedgerRow> rows;
    const StoredState stored = *states_->Load();
    for (const LedgerRecord& record : stored.ledger) {
      rows.push_back(*LedgerRowFrom(record.row));
    }
    return rows;
  }
  std::string Finish(const JobSpec& spec) {
    StartPrivate(spec);
    ConnectMembers(kAll);
    return Submit();
  }
};

}  // namespace rivulet

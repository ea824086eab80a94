#include "simulations/engine/simulated_resources.h"

#include "peft/data/client_data.h"

namespace rivulet {

absl::StatusOr<ClientData> SimulatedResources::Data(const std::string& client, const JobSpec& spec,
                                                    const Tokenizer& tokenizer, int max_positions) {
  RV_ASSIGN_OR_RETURN(const std::vector<Record> records, data_.Records(client));
  return BuildClientData(records, spec.data, tokenizer, max_positions);
}

}  // namespace rivulet

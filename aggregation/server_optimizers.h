#pragma once

#include <memory>

#include "aggregation/server_optimizer.h"

// Makers of the table in server_optimizer.cc. 0 for the learning rate and -1 for beta1 stand for
// the default of each, which its .cc states.

namespace rivulet {

std::unique_ptr<ServerOptimizer> NewFedAvg(const StrategySection&, const Manifest&);
std::unique_ptr<ServerOptimizer> NewFedAvgM(const StrategySection&, const Manifest&);
std::unique_ptr<ServerOptimizer> NewFedAdam(const StrategySection&, const Manifest&);
std::unique_ptr<ServerOptimizer> NewFedYogi(const StrategySection&, const Manifest&);
std::unique_ptr<ServerOptimizer> NewFedAdagrad(const StrategySection&, const Manifest&);

}  // namespace rivulet

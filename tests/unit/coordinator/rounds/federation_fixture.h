#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "toy_federation.h"

namespace rivulet {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A federation on memory stores and virtual time, whose clients the test plays.
class FederationTest : public testing::Test {
 protected:
  void Start(const JobSpec& spec) {
    FederationConfig config;
    config.planner = ToyPlanner(spec);
    config.reader = ToyReader(spec);
    config.background = false;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
    ASSERT_TRUE(federation_->Recover().ok());
  }
  void Restart(const JobSpec& spec) {
    federation_.reset();
    gateway_.orders.clear();
    Start(spec);
  }
  void Connect(const std::vector<std::string>& names) {
    for (const std::string& name : names) federation_->Connected(ToyClient(name));
  }
  std::string Submit(const std::string& token = "") {
    const auto id = federation_->Submit({"toy", token});
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  void Pass(milliseconds time) {
    clock_.Advance(time);
    federation_->Tick();
  }
  JobView Show(const std::string& id) { return *federation_->Show(id); }
  // Runs the evaluation of the initial state, so that round 1 opens.
  void OpenFirstRound() {
    while (!gateway_.orders.empty() &&
           gateway_.orders.front().task.kind == ClientTask::Kind::kEvaluate) {
      const auto order = gateway_.orders.front();
      gateway_.orders.pop_front();
      ASSERT_TRUE(ToyWork(*federation_, order).ok());
    }
  }
  ToyGateway::Order Take(const std::string& client) {
    for (auto order = gateway_.orders.begin(); order != gateway_.orders.end(); ++order) {
      if (order->client != client) continue;
      const ToyGateway::Order taken = *order;
      gateway_.orders.erase(order);
      return taken;
    }
    ADD_FAILURE() << "nothing was sent to " << client;
    return {};
  }
  absl::StatusOr<Receipt> Upload(const ToyGateway::Order& order) {
    return ToyUpload(*federation_, order.client, order.task,
                     ToyTrain(order.client, order.task.round, order.task.state_sha256));
  }

  std::unique_ptr<StateStore> states_ = MakeMemoryStateStore();
  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  ToyGateway gateway_;
  VirtualClock clock_;
  std::unique_ptr<Federation> federation_;
};

}  // namespace rivulet

#include "coordinator/ops/ops_server.h"

#include <gtest/gtest.h>
#include <httplib.h>

namespace rivulet {
namespace {

OpsQuestions AllWell() {
  OpsQuestions questions;
  questions.alive = [] { return true; };
  questions.ready = [] { return std::vector<std::pair<std::string, bool>>{{"disk", true}}; };
  questions.metrics = [] { return std::string("rivulet_up 1\n"); };
  return questions;
}

// After an answer it is the server that closes, so that its port stays in TIME_WAIT for a minute.
TEST(OpsServer, ARestartTakesThePortOfTheLastRunAtOnce) {
  auto server = OpsServer::Start("127.0.0.1:0", AllWell());
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  httplib::Client probe("127.0.0.1", port);
  const auto answer = probe.Get("/readyz");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  server->reset();
  const auto again = OpsServer::Start("127.0.0.1:" + std::to_string(port), AllWell());
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST(OpsServer, ATakenPortIsAnError) {
  const auto first = OpsServer::Start("127.0.0.1:0", AllWell());
  ASSERT_TRUE(first.ok());
  const auto second = OpsServer::Start("127.0.0.1:" + std::to_string((*first)->port()), AllWell());
  EXPECT_EQ(ExitCodeOf(second.status()), ExitCode::kConnection);
}

}  // namespace
}  // namespace rivulet

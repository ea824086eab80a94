#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "service_fixture.h"

namespace rivulet {
namespace {

// The name is the certificate's, whatever a caller might say of itself.
TEST_F(ServiceTest, TheLogSaysWhoSubmittedAndWhoStoppedAJob) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  const OperatorSettings settings = AsOperator();
  auto client = OperatorClient::Connect(settings);
  ASSERT_TRUE(client.ok()) << client.status();
  const auto id = client->Submit("toy", "", "");
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(client->Stop(*id, true).ok());
  server_.reset();
  spdlog::set_default_logger(before);
  const std::string who = IdentityOfLeaf(ReadCredentials(settings.tls_dir)->chain_pem)->name;
  EXPECT_THAT(log.str(), HasSubstr("job " + *id + " submitted by " + who + "\n"));
  EXPECT_THAT(log.str(), HasSubstr("job " + *id + " stopped by " + who + "\n"));
}

}  // namespace
}  // namespace rivulet

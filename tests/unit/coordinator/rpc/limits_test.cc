// What each caller may ask of the services, and how much.
#include <spdlog/spdlog.h>

#include "service_fixture.h"

namespace rivulet {
namespace {

TEST(ServerAddress, InsecureIsForThisMachineAlone) {
  for (const char* address :
       {"127.0.0.1:7440", "127.8.9.10:7440", "[::1]:7440", "localhost:7440"}) {
    EXPECT_TRUE(CheckInsecureAddress(address).ok()) << address;
  }
  for (const char* address :
       {"0.0.0.0:7440", "10.0.0.1:7440", "[::]:7440", "example.org:1", "", "127.evil.example:7440",
        "127.0.0.1.evil.example:7440", "127.1:7440", "localhost.evil.example:7440", "[::2]:7440",
        "dns:///127.0.0.1:7440"}) {
    EXPECT_EQ(ExitCodeOf(CheckInsecureAddress(address)), ExitCode::kUsage) << address;
  }
}

TEST(ServerAddress, TheWarningOfInsecureNeedsNoLogLevel) {
  const auto level = spdlog::get_level();
  spdlog::set_level(spdlog::level::off);
  testing::internal::CaptureStderr();
  WarnInsecure("rivulet-client");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("rivulet-client: INSECURE: "));
  spdlog::set_level(level);
}

}  // namespace
}  // namespace rivulet

#include "common/host_port.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(HostPort, NamesAddressesAndBracketsAreRead) {
  for (const auto& [text, host, port] :
       {std::tuple{"localhost:0", "localhost", 0}, std::tuple{"192.0.2.1:7440", "192.0.2.1", 7440},
        std::tuple{"[::1]:65535", "::1", 65535}}) {
    const absl::StatusOr<HostPort> got = ParseHostPort("listen", text);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->host, host);
    EXPECT_EQ(got->port, port);
  }
}

TEST(HostPort, AnythingElseIsNamed) {
  for (const char* text : {"", "localhost", ":7440", "localhost:", "localhost:x", "localhost:1x",
                           "localhost:-1", "localhost:65536", "[]:1"}) {
    EXPECT_EQ(ParseHostPort("listen", text).status().message(),
              "listen: got '" + std::string(text) + "', want host:port");
  }
}

}  // namespace
}  // namespace rivulet

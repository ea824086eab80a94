#include "common/settings/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

struct Config {
  std::string address = "default";
  int count = 1;
  bool loud = false;
  Settings Keys() {
    Settings keys;
    keys.Add("listen.test-address", &address, "an address");
    keys.Add("test-count", &count, "a count");
    keys.Add("loud", &loud, "a switch");
    return keys;
  }
};

class SettingsTest : public testing::Test {
 protected:
  void TearDown() override {
    unsetenv("RIVULET_LISTEN__TEST_ADDRESS");
    unsetenv("RIVULET_TEST_COUNT");
  }
  void Write(const std::string& text) { std::ofstream(file_) << text; }

  const std::string file_ = (ScratchFolder() / "settings.toml").string();
  Config config_;
  Settings keys_ = config_.Keys();
};

TEST_F(SettingsTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  Write("test-count = 2\nloud = true\n[listen]\ntest-address = \"file\"\n");
  ASSERT_TRUE(keys_.Load(file_).ok());
  EXPECT_EQ(config_.address, "file");
  EXPECT_EQ(config_.count, 2);
  EXPECT_TRUE(config_.loud);
  setenv("RIVULET_LISTEN__TEST_ADDRESS", "env", 1);
  setenv("RIVULET_TEST_COUNT", "3", 1);
  ASSERT_TRUE(keys_.Load(file_).ok());
  EXPECT_EQ(config_.address, "env");
  CLI::App app;
  keys_.Bind(app);
  const char* words[] = {"program", "--test-count", "4", "--no-loud"};
  EXPECT_FALSE(ParseCommandLine(app, 4, words).has_value());
  EXPECT_EQ(config_.count, 4);
  EXPECT_EQ(config_.address, "env");
  EXPECT_FALSE(config_.loud);
}

TEST_F(SettingsTest, AnUnknownKeyIsRefusedWithItsPlaceAndTheNearestOne) {
  Write("loud = true\ntest-cuont = 2\n");
  const absl::Status status = keys_.Load(file_);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr(":2:"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("test-count"));
}

TEST_F(SettingsTest, HostileNestingIsRefusedNotRecursedInto) {
  std::string text = "loud = true\na";
  for (int count = 0; count < 300000; ++count) text += ".a";
  Write(text + " = 1\n");
  const absl::Status status = keys_.Load(file_);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr(":2: got more than 64 dots on a line"));
}

TEST_F(SettingsTest, AWrongTypeIsRefusedNamingKeyAndOrigin) {
  Write("test-count = \"two\"\n");
  EXPECT_THAT(std::string(keys_.Load(file_).message()),
              HasSubstr("test-count: got 'two', want a whole"));
  setenv("RIVULET_TEST_COUNT", "three", 1);
  const absl::Status status = keys_.Load("");
  EXPECT_THAT(std::string(status.message()), HasSubstr("RIVULET_TEST_COUNT"));
}

TEST_F(SettingsTest, UsageErrorsOfTheCommandLineAreTwo) {
  CLI::App app;
  keys_.Bind(app);
  for (const char* word : {"--no-such-flag", "--test-count=x", "stray"}) {
    const char* words[] = {"program", word};
    testing::internal::CaptureStderr();
    EXPECT_EQ(ParseCommandLine(app, 2, words), 2) << word;
    testing::internal::GetCapturedStderr();
  }
}

TEST(ErrorFormats, TheArgumentsSayItOrElseTheConfiguration) {
  const char* words[] = {"program", "--format=json", "--", "--format", "text"};
  EXPECT_EQ(ErrorFormatIn(5, words, "text"), ErrorFormat::kJson);
  EXPECT_EQ(ErrorFormatIn(1, words, "json"), ErrorFormat::kJson);
  EXPECT_EQ(ErrorFormatIn(1, words, ""), ErrorFormat::kText);
}

TEST(ErrorFormats, JsonIsOneLineWhateverTheMessageHolds) {
  testing::internal::CaptureStderr();
  const absl::Status error = WithExit(absl::NotFoundError("a \"b\"\n\xff"), ExitCode::kState);
  EXPECT_EQ(ExitWith("program", error, ErrorFormat::kJson), 8);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "{\"error\":{\"exit\":8,\"message\":\"a \\\"b\\\"\\n\xEF\xBF\xBD\"}}\n");
}

}  // namespace
}  // namespace rivulet

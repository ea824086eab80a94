#include "client/agent/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/formats/model_config.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

const std::string kModel = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";

class PolicyTest : public testing::Test {
 protected:
  absl::StatusOr<Policy> Load(const std::string& text) {
    std::ofstream(file_) << text;
    return LoadPolicy(file_);
  }
  const fs::path file_ = ScratchFolder() / "policy.toml";
};

JobDocument DocumentOf(const Policy& policy) {
  JobDocument document;
  document.base_hash = policy.BaseModelHashes().at(0);
  document.spec.data.dataset = "notes";
  document.spec.data.seq_length = 128;
  document.spec.job.min_clients = 3;
  document.spec.train.max_steps = 10;
  return document;
}

TEST_F(PolicyTest, DefaultsWeakerThanTheProtocolAdvisesAreNamedUntilTheyAreSet) {
  const auto weaknesses = [this](const std::string& text) {
    const auto policy = Load(text);
    EXPECT_TRUE(policy.ok()) << policy.status();
    return policy.ok() ? policy->MaskingWeaknesses() : std::vector<std::string>();
  };
  EXPECT_THAT(weaknesses(""), ElementsAre(HasSubstr("secagg.org-min: got 1, advised 2"),
                                          HasSubstr("secagg.denylist-file: got none")));
  EXPECT_THAT(weaknesses("[secagg]\norg-min = 2\n"), ElementsAre(HasSubstr("denylist-file")));
  EXPECT_THAT(weaknesses("[secagg]\norg-min = 2\ndenylist-file = \"denied\"\n"), IsEmpty());
}

TEST_F(PolicyTest, WhatTheOwnerAllowsPassesAndWhatExceedsItIsRefusedWithNine) {
  const auto policy = Load(
      "max-steps = 10\nmin-clients = 3\nmax-seq-length = 128\n"
      "[[base-model]]\npath = \"" +
      kModel + "\"\n[[dataset]]\nname = \"notes\"\npath = \"notes.txt\"\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  const JobDocument good = DocumentOf(*policy);
  EXPECT_TRUE(policy->Check(good).ok());
  EXPECT_FALSE(policy->backprop);
  EXPECT_TRUE(Load("backprop = true\n")->backprop);
  EXPECT_EQ(policy->datasets.at("notes"), file_.parent_path() / "notes.txt");
  const auto refuses = [&](const char* key, auto change) {
    JobDocument asked = good;
    change(asked);
    const absl::Status status = policy->Check(asked);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kPolicy) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key));
  };
  refuses("base model", [](JobDocument& asked) { asked.base_hash = "sha256:other"; });
  refuses("data.dataset", [](JobDocument& asked) { asked.spec.data.dataset = "secrets"; });
  refuses("job.min-clients", [](JobDocument& asked) { asked.spec.job.min_clients = 2; });
  refuses("train.max-steps", [](JobDocument& asked) { asked.spec.train.max_steps = 11; });
  refuses("train.max-steps", [](JobDocument& asked) { asked.spec.train.max_steps = 0; });
  refuses("data.seq-length", [](JobDocument& asked) { asked.spec.data.seq_length = 129; });
}

TEST_F(PolicyTest, TheFewestClientsOfASumHoldOfEveryGroup) {
  const auto policy = Load("min-clients = 5\n[[base-model]]\npath = \"" + kModel +
                           "\"\n[[dataset]]\nname = \"notes\"\npath = \"notes.txt\"\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  JobDocument asked = DocumentOf(*policy);
  asked.spec.job.min_clients = 15;
  asked.spec.secure_aggregation.enabled = true;
  EXPECT_TRUE(policy->Check(asked).ok()) << policy->Check(asked);
  asked.spec.robust.groups = 3;
  EXPECT_THAT(std::string(policy->Check(asked).message()),
              HasSubstr("robust.groups: got sums of 4 clients"));
  asked.spec.secure_aggregation.min_survivors = 5;
  EXPECT_TRUE(policy->Check(asked).ok()) << policy->Check(asked);
}

TEST_F(PolicyTest, OnlyJobsOfTheNamesThatTheOwnerListsPass) {
  const std::string rest = "[[base-model]]\npath = \"" + kModel +
                           "\"\n[[dataset]]\nname = \"notes\"\npath = \"notes.txt\"\n";
  const auto says = [&](const std::string& jobs, const std::string& name) {
    const auto policy = Load(jobs + rest);
    EXPECT_TRUE(policy.ok()) << policy.status();
    JobDocument asked = DocumentOf(*policy);
    asked.spec.job.name = name;
    return policy->Check(asked);
  };
  EXPECT_TRUE(says("", "anything").ok());
  const std::string listed = "jobs = [\"weekly\", \"notes-*\"]\n";
  for (const char* name : {"weekly", "notes-", "notes-3"}) EXPECT_TRUE(says(listed, name).ok());
  for (const char* name : {"weekly-2", "my-notes-3", "other"}) {
    const absl::Status status = says(listed, name);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kPolicy);
    EXPECT_EQ(std::string(status.message()),
              "policy: job.name: got '" + std::string(name) + "', allowed 'weekly' or 'notes-*'");
  }
  EXPECT_THAT(std::string(says("jobs = []\n", "weekly").message()), HasSubstr("allowed none"));
  EXPECT_EQ(ExitCodeOf(Load("jobs = \"weekly\"\n").status()), ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(Load("jobs = [3]\n").status()), ExitCode::kConfig);
}

TEST_F(PolicyTest, WhatItDemandsOfMaskedRoundsIsReadWithEveryKey) {
  const auto policy = Load(
      "[secagg]\nrequired = true\nmode-min = \"semi-honest\"\nn-min = 5\norg-min = 2\n"
      "orgs = [\"hospital-a\", \"hospital-b\"]\ngamma-min = 0.2\nring = true\nh-min = 4\n"
      "p-max = 16\nb-max = 24\nattempts-max = 2\ndp-min = \"distributed\"\n"
      "session-directions = true\ndenylist-file = \"denied\"\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(policy->masks_required);
  EXPECT_TRUE(policy->session_directions);
  const secagg::ClientPolicy& masking = policy->masking;
  EXPECT_EQ(masking.mode_min, 0);
  EXPECT_EQ(masking.n_min, 5u);
  EXPECT_EQ(masking.org_min, 2u);
  EXPECT_EQ(masking.orgs, (std::vector<std::string>{"hospital-a", "hospital-b"}));
  EXPECT_EQ(masking.gamma_min_ppm, 200'000u);
  EXPECT_TRUE(masking.ring);
  EXPECT_EQ(masking.h_min, 4u);
  EXPECT_EQ(masking.p_max, 16);
  EXPECT_EQ(masking.b_max, 24);
  EXPECT_EQ(masking.attempts_max, 2u);
  EXPECT_EQ(masking.dp_min, 2);
  EXPECT_EQ(policy->denylist, file_.parent_path() / "denied");
}

TEST_F(PolicyTest, WithoutASectionTheProtocolsOwnDefaultsHold) {
  const auto policy = Load("max-steps = 3\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_FALSE(policy->masks_required);
  EXPECT_EQ(policy->masking.mode_min, 1);  // against a malicious coordinator
  EXPECT_EQ(policy->masking.n_min, 4u);
  EXPECT_EQ(policy->masking.gamma_min_ppm, 100'000u);
  EXPECT_FALSE(policy->masking.ring);
  EXPECT_EQ(policy->denylist, "");
}

TEST_F(PolicyTest, ValuesOfMaskingOutOfRangeAreRefusedNamingTheKey) {
  for (const char* line : {"required = 1",
                           "mode-min = \"strict\"",
                           "mode-min = 1",
                           "n-min = 2",
                           "n-min = 5001",
                           "org-min = 0",
                           "orgs = \"a\"",
                           "orgs = [\"\"]",
                           "gamma-min = 0.6",
                           "gamma-min = -0.1",
                           "gamma-min = \"0.1\"",
                           "gamma-min = nan",
                           "ring = 0",
                           "h-min = 0",
                           "p-max = 1",
                           "b-max = 63",
                           "attempts-max = 0",
                           "attempts-max = 9",
                           "dp-min = \"some\"",
                           "denylist-file = \"\"",
                           "n-mim = 4"}) {
    const absl::Status status = Load("[secagg]\n" + std::string(line) + "\n").status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig) << line;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::string(line).substr(0, std::string(line).find(' '))));
  }
  EXPECT_EQ(ExitCodeOf(Load("secagg = 3\n").status()), ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(Load("[privacy]\nmax-releases = -1\n").status()), ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(Load("[privacy]\nmax-releases-in-all = -1\n").status()), ExitCode::kConfig);
  EXPECT_EQ(Load("[privacy]\nmax-releases-in-all = 7\n")->max_releases_in_all, 7);
  EXPECT_EQ(ExitCodeOf(Load("[privacy]\nnoise = 1\n").status()), ExitCode::kConfig);
}

TEST_F(PolicyTest, JobsWithLessPrivacyThanTheOwnerWantsAreRefused) {
  const auto policy = Load(
      "[secagg]\nrequired = true\nsession-directions = true\n[privacy]\nnoise-multiplier-min = "
      "0.5\nmax-releases = 20\n"
      "[[base-model]]\npath = \"" +
      kModel + "\"\n[[dataset]]\nname = \"notes\"\npath = \"notes.txt\"\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  JobDocument good = DocumentOf(*policy);
  good.spec.secure_aggregation.enabled = true;
  good.spec.privacy.mechanism = "central";
  good.spec.privacy.noise_multiplier = 0.5;
  good.spec.job.num_rounds = 20;
  EXPECT_TRUE(policy->Check(good).ok()) << policy->Check(good);
  const auto refuses = [&](const char* key, auto change) {
    JobDocument asked = good;
    change(asked.spec);
    const absl::Status status = policy->Check(asked);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kPolicy) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key));
  };
  refuses("secure-aggregation.enabled",
          [](JobSpec& spec) { spec.secure_aggregation.enabled = false; });
  refuses("privacy.noise-multiplier: got 0.4",
          [](JobSpec& spec) { spec.privacy.noise_multiplier = 0.4; });
  refuses("privacy.noise-multiplier: got 0,",
          [](JobSpec& spec) { spec.privacy.noise_multiplier = 0; });
  refuses("no mechanism", [](JobSpec& spec) { spec.privacy.mechanism = "none"; });
  refuses("job.num-rounds: got 21", [](JobSpec& spec) { spec.job.num_rounds = 21; });
  refuses("scalars.drawn-from: got \"job\", allowed \"session\"",
          [](JobSpec& spec) { spec.scalars.enabled = true; });
  good.spec.scalars.enabled = true;
  good.spec.scalars.drawn_from = "session";
  EXPECT_TRUE(policy->Check(good).ok()) << policy->Check(good);
}

TEST_F(PolicyTest, AChangedBaseModelIsRefusedNamingBothHashes) {
  const auto policy = Load("[[base-model]]\nhash = \"sha256:0123\"\npath = \"" + kModel + "\"\n");
  EXPECT_EQ(ExitCodeOf(policy.status()), ExitCode::kPolicy);
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr("sha256:0123"));
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr(*HashOfBaseModel(kModel)));
}

TEST_F(PolicyTest, HostileNestingIsRefusedNotRecursedInto) {
  std::string text = "max-steps = 1\na";
  for (int count = 0; count < 300000; ++count) text += ".a";
  const auto policy = Load(text + " = 1\n");
  EXPECT_EQ(ExitCodeOf(policy.status()), ExitCode::kConfig);
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr(":2: got more than 64 dots"));
}

TEST_F(PolicyTest, AMisspeltKeyIsRefusedWithItsLineAndTheNearestOne) {
  const absl::Status status = Load("min-clients = 2\nmax-step = 3\n").status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr(":2:"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("max-steps"));
  EXPECT_EQ(ExitCodeOf(Load("min-clients = \"2\"\n").status()), ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(Load("min-clients = \n").status()), ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(Load("dataset = 3\n").status()), ExitCode::kConfig);
}

}  // namespace
}  // namespace rivulet

#include "common/job/job_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/io/file.h"
#include "common/job/job_keys.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

constexpr char kMinimal[] = "[model]\nname = \"m\"\n";

std::string ErrorOf(const std::string& toml, const std::vector<std::string>& sets = {}) {
  const auto job = ParseJob(toml, "job.toml", {}, sets);
  if (job.ok()) return "";
  EXPECT_EQ(ExitCodeOf(job.status()), ExitCode::kConfig);
  return std::string(job.status().message());
}

TEST(JobFile, MissingKeysHaveTheirDefaults) {
  const auto job = ParseJob(kMinimal, "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.job.num_rounds, 10);
  EXPECT_EQ(job->spec.method, "lora");
  EXPECT_EQ(OriginText(job->origins.at("model.name")), "job.toml:2");
  EXPECT_FALSE(job->origins.contains("job.seed"));
}

TEST(JobFile, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string toml = "[job]\nseed = 1\nnum-rounds = 2\nmin-clients = 3\n";
  const Environment env = {{"RIVULET_JOB__SEED", "10"}, {"RIVULET_JOB__NUM_ROUNDS", "20"}};
  const auto job = ParseJob(toml, "job.toml", env, {"job.seed=100"});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.job.seed, 100u);
  EXPECT_EQ(job->spec.job.num_rounds, 20);
  EXPECT_EQ(job->spec.job.min_clients, 3);
  EXPECT_EQ(OriginText(job->origins.at("job.seed")), "flag --set");
  EXPECT_EQ(OriginText(job->origins.at("job.num-rounds")), "env RIVULET_JOB__NUM_ROUNDS");
}

TEST(JobFile, UnknownKeysNameThePlaceAndTheNearestKey) {
  EXPECT_EQ(ErrorOf("[train]\nlearning-rat = 1e-3\n"),
            "job.toml:2:1: unknown key 'train.learning-rat'; did you mean 'train.learning-rate'?");
  EXPECT_EQ(ErrorOf("[trian]\nx = 1\n"),
            "job.toml:1:2: unknown section 'trian'; did you mean 'train'?");
  EXPECT_EQ(ErrorOf("[train]\n  sede = 1\n"), "job.toml:2:3: unknown key 'train.sede'");
  EXPECT_EQ(ErrorOf("[train]\nseed = 1\n"),
            "job.toml:2:1: unknown key 'train.seed'; did you mean 'job.seed'?");
  EXPECT_EQ(ErrorOf("[job]\nlearning-rat = 1\n"),
            "job.toml:2:1: unknown key 'job.learning-rat'; did you mean 'train.learning-rate'?");
  EXPECT_EQ(ErrorOf("num-rounds = 1\n"),
            "job.toml:1:1: unknown key 'num-rounds'; did you mean 'job.num-rounds'?");
  EXPECT_EQ(ErrorOf("job = 3\n"), "job.toml:1:1: job: got 3, want a section [job]");
  EXPECT_EQ(ErrorOf("", {"job.sed=1"}), "unknown key 'job.sed'; did you mean 'job.seed'?");
}

TEST(JobFile, WrongTypesNameTheValueSeenAndWanted) {
  EXPECT_EQ(ErrorOf("[lora]\nlora-r = \"8\"\n"),
            "job.toml:2:10: lora.lora-r: got '8', want an integer 1..1024");
  EXPECT_EQ(ErrorOf("[job]\nround-deadline = \"20 parsecs\"\n"),
            "job.toml:2:18: job.round-deadline: got '20 parsecs', want a duration such as "
            "\"90s\", \"20m\", \"2h\", "
            "\"1d\"");
  EXPECT_EQ(ErrorOf("[job]\nseed = -1\n"), "job.toml:2:8: job.seed: got -1, want an integer >= 0");
  EXPECT_NE(ErrorOf("[job\n").find("job.toml:1"), std::string::npos);
}

TEST(JobFile, UnderscoresAndAliasesAreReadAndNoted) {
  const auto job = ParseJob("[lora]\nr = 4\ntarget_modules = [\"q_proj\"]\n", "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.lora.lora_r, 4);
  EXPECT_EQ(job->spec.lora.lora_target_modules, std::vector<std::string>{"q_proj"});
  ASSERT_EQ(job->notes.size(), 2u);
  EXPECT_EQ(job->notes[0], "'lora.r' is read as 'lora.lora-r'");
}

TEST(JobFile, EveryNameKnownElsewhereIsRead) {
  const auto job = ParseJob(
      "[job]\ncomm_round = 7\n[lora]\npeft-lora-r = 4\npeft_lora_alpha = 2\n"
      "[train]\nseq-length = 64\nnum-train-epochs = 3\nlearning-rate-max = 0.5\n",
      "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.job.num_rounds, 7);
  EXPECT_EQ(job->spec.lora.lora_r, 4);
  EXPECT_EQ(job->spec.lora.lora_alpha, 2);
  EXPECT_EQ(job->spec.data.seq_length, 64);
  EXPECT_EQ(job->spec.train.local_epochs, 3);
  EXPECT_EQ(job->spec.train.learning_rate, 0.5);
  EXPECT_EQ(job->notes.size(), 6u);
}

TEST(JobFile, AKeyByTwoNamesIsRefused) {
  EXPECT_EQ(ErrorOf("[lora]\nr = 4\nlora-r = 8\n"),
            "job.toml:2:1: lora.lora-r: got it twice, before at job.toml:3, want it once");
  EXPECT_NE(ErrorOf("[job]\nseed = 4\nseed = 4\n").find("job.toml:3"), std::string::npos);
}

TEST(JobFile, OneNameStandsForAListOfOne) {
  const auto job = ParseJob("[lora]\nlora-target-modules = \"all-linear\"\n", "job.toml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.lora.lora_target_modules, std::vector<std::string>{"all-linear"});
}

TEST(JobFile, HostileNestingIsRefusedNotRecursedInto) {
  const auto repeated = [](const char* head, const char* part, int times, const char* tail) {
    std::string text = head;
    for (int count = 0; count < times; ++count) text += part;
    return text + tail;
  };
  EXPECT_EQ(ErrorOf(repeated("a", ".a", 300000, " = 1\n")),
            "job.toml:1: got more than 64 dots on a line, want section.key");
  EXPECT_NE(ErrorOf(repeated("\n[a", ".a", 300000, "]\n")).find("job.toml:2: "), std::string::npos);
  EXPECT_NE(ErrorOf(repeated("a = {x=\"\"\".\"\"\"\", b", ".a", 300000, "=1}\n")), "");
  EXPECT_NE(ErrorOf(repeated("a = ", "[", 300000, "\n")), "");
  EXPECT_NE(ErrorOf(repeated("a = ", "{a=", 300000, "\n")), "");
  EXPECT_NE(ErrorOf("", {repeated("job.seed={a", ".a", 300000, "=1}")}), "");
  // Dots in text and comments are not nesting.
  const std::string dots(200, '.');
  EXPECT_EQ(ErrorOf("# " + dots + "\n[data]\nseparator = \"" + dots + "\\\".\" # " + dots + "\n"),
            "");
}

TEST(JobFile, AFileAboveOneMebibyteIsRefused) {
  const std::filesystem::path path = ScratchFolder() / "big.toml";
  ASSERT_TRUE(WriteFileAtomically(path, std::string((1 << 20) + 1, '#')).ok());
  const auto job = LoadJob(path, {}, {});
  EXPECT_EQ(ExitCodeOf(job.status()), ExitCode::kConfig);
  EXPECT_EQ(job.status().code(), absl::StatusCode::kOutOfRange);
  std::filesystem::remove(path);
  EXPECT_EQ(ExitCodeOf(LoadJob(path, {}, {}).status()), ExitCode::kConfig);
}

TEST(JobFile, AValueOutOfRangeIsNamedWithItsOrigin) {
  const std::string toml = "[model]\nname = \"m\"\n[lora]\nlora-r = 0\n";
  EXPECT_EQ(ParseJob(toml, "job.toml")->Validate().message(),
            "lora.lora-r: got 0 (job.toml:4), want an integer 1..1024");
  const auto job = ParseJob(kMinimal, "job.toml", {{"RIVULET_TRAIN__LEARNING_RATE", "-1"}});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->Validate().message(),
            "train.learning-rate: got -1.0 (env RIVULET_TRAIN__LEARNING_RATE), want a number "
            "0..1000");
  EXPECT_EQ(ExitCodeOf(job->Validate()), ExitCode::kConfig);
}

TEST(JobFile, AVariableOfTheWrongTypeIsNamed) {
  const auto job = ParseJob("", "job.toml", {{"RIVULET_JOB__NUM_ROUNDS", "many"}});
  EXPECT_EQ(job.status().message(),
            "job.num-rounds: got 'many' (env RIVULET_JOB__NUM_ROUNDS), want an integer 1..1000000");
}

TEST(JobFile, OneMethodSectionOnly) {
  EXPECT_EQ(ErrorOf("[lora]\n[adapter]\n"),
            "[adapter] and [lora]: got both, want exactly one method section");
  EXPECT_EQ(ErrorOf("[lora]\n[full]\n"),
            "[full] and [lora]: got both, want exactly one method section");
  EXPECT_EQ(ErrorOf("[prompt]\n", {"lora.lora-r=4"}),
            "[lora] and [prompt]: got both, want exactly one method section");
  EXPECT_EQ(ParseJob("[adapter]\n", "job.toml")->spec.method, "adapter");
  EXPECT_EQ(ParseJob("[full]\n", "job.toml")->spec.method, "full");
  EXPECT_EQ(ParseJob("[prompt]\n", "job.toml")->spec.method, "prompt");
}

TEST(JobFile, SetTakesTomlValuesAndPlainStrings) {
  const auto job = ParseJob("", "job.toml", {},
                            {"lora.lora-target-modules=[\"q_proj\", \"k_proj\"]", "job.name=x-1",
                             "train.learning-rate=1"});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->spec.lora.lora_target_modules.size(), 2u);
  EXPECT_EQ(job->spec.job.name, "x-1");
  EXPECT_EQ(job->spec.train.learning_rate, 1.0);
  EXPECT_NE(ErrorOf("", {"job.seed=1", "job.seed=2"}).find("set twice"), std::string::npos);
  EXPECT_EQ(ParseJob("", "job.toml", {}, {"job.name=42"})->spec.job.name, "42");
  EXPECT_EQ(ParseJob("", "job.toml", {}, {"job.name=\"42\""})->spec.job.name, "42");
  EXPECT_EQ(ParseJob("", "job.toml", {}, {"data.separator=\n%\n"})->spec.data.separator, "\n%\n");
  EXPECT_NE(ErrorOf("", {"model.name=\xff"}).find("not UTF-8"), std::string::npos);
  EXPECT_NE(ErrorOf("", {"job.seed=1\n[evil]"}), "");
  EXPECT_NE(ErrorOf("", {"job.seed"}).find("no '='"), std::string::npos);
}

TEST(JobFile, VariablesThatNameNoKeyAreNotedAndIgnored) {
  const auto job = ParseJob("", "job.toml", {{"RIVULET_JOB__SED", "1"}, {"RIVULET_LOG", "debug"}});
  ASSERT_TRUE(job.ok());
  ASSERT_EQ(job->notes.size(), 1u);
  EXPECT_EQ(job->notes[0],
            "environment variable RIVULET_JOB__SED names no key and is ignored; did you mean "
            "RIVULET_JOB__SEED?");
}

TEST(JobFile, PrintedConfigurationReadsBackTheSame) {
  JobSpec spec;
  spec.job.name = "a";
  spec.data.separator = "\n%\n\t\"\\";
  spec.train.learning_rate = 0.1 + 0.2;
  spec.job.round_deadline = std::chrono::seconds(5400);
  spec.lora.layers_to_transform = {0, 3};
  const auto back = ParseJob(JobToml(spec), "printed");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(JobToml(back->spec), JobToml(spec));
  EXPECT_EQ(back->spec.data.separator, spec.data.separator);
  EXPECT_EQ(back->spec.train.learning_rate, spec.train.learning_rate);
  EXPECT_EQ(back->spec.job.round_deadline, spec.job.round_deadline);
}

TEST(JobFile, OriginsArePrintedForEveryKeyOfTheMethod) {
  const auto job = ParseJob(kMinimal, "job.toml");
  const std::string table = OriginTable(*job);
  EXPECT_NE(table.find("model.name"), std::string::npos);
  EXPECT_NE(table.find("job.toml:2"), std::string::npos);
  EXPECT_EQ(table.find("adapter."), std::string::npos);
  EXPECT_NE(OriginJson(*job).find("\"kind\": \"file\""), std::string::npos);
}

TEST(JobFile, EveryScenarioInTheTreeIsValid) {
  int scenarios = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(RIVULET_SOURCE_DIR "/simulations/scenarios")) {
    if (entry.path().extension() != ".toml") continue;
    const auto job = LoadJob(entry.path(), {}, {});
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(job->Validate().ok()) << entry.path() << ": " << job->Validate();
    ++scenarios;
  }
  EXPECT_GT(scenarios, 0);
}

TEST(JobKeys, EveryDefaultIsWithinItsOwnRange) {
  for (const JobKey& key : JobKeys()) EXPECT_TRUE(CheckRange(key, JobSpec()).ok()) << key.path;
}

}  // namespace
}  // namespace rivulet

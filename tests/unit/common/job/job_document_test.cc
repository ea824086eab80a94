#include "common/job/job_document.h"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "common/job/counted_unit.h"
#include "common/random.h"

namespace rivulet {
namespace {

JobDocument Sample() {
  JobDocument document;
  document.spec.model.name = "m";
  document.spec.train.learning_rate = 1e-3;
  document.spec.lora.layers_to_transform = {1, 2};
  document.spec.job.seed = 0x7FFFFFFFFFFFFFFFull;
  document.model_config = "{\"model_type\": \"llama\"}\n";
  document.base_hash = "sha256:" + std::string(64, 'a');
  document.heads_missing = {"classifier.bias"};
  return document;
}

TEST(JobDocument, ReadsBackToTheSameBytes) {
  const std::string text = JobDocumentText(Sample());
  const auto back = ParseJobDocument(text);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(JobDocumentText(*back), text);
  EXPECT_EQ(back->spec.job.seed, 0x7FFFFFFFFFFFFFFFull);
  EXPECT_EQ(back->model_config, Sample().model_config);
}

// The names of a job are its author's: what one of them says of a task is not the task.
TEST(JobDocument, SaysWhatTheFiguresOfTheJobCount) {
  JobDocument document = Sample();
  document.model_config = R"({"data.task":"classification"})";
  EXPECT_EQ(CountedUnit(JobDocumentText(document)), "tokens");
  document.spec.data.task = "classification";
  EXPECT_EQ(CountedUnit(JobDocumentText(document)), "examples");
}

TEST(JobDocument, HashCoversTheBaseTensorsAndNamesThemOnlyWhereThereAre) {
  EXPECT_EQ(JobDocumentText(Sample()).find("base_tensors"), std::string::npos);
  JobDocument document = Sample();
  document.base_tensors = std::string(64, 'b');
  EXPECT_NE(JobHash(document), JobHash(Sample()));
  const auto back = ParseJobDocument(JobDocumentText(document));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->base_tensors, document.base_tensors);
  for (const std::string bad : {"", "abc", "B"}) {
    nlohmann::json root = nlohmann::json::parse(JobDocumentText(Sample()));
    root["base_tensors"] = bad;
    const absl::Status status = ParseJobDocument(root.dump()).status();
    EXPECT_NE(std::string(status.message()).find("base_tensors: got '" + bad + "'"),
              std::string::npos)
        << status;
  }
}

TEST(JobDocument, HashCoversWhatDecidesTheResultAndNothingElse) {
  JobDocument other = Sample();
  other.spec.simulate.num_clients = 7;
  other.spec.track.tensorboard = false;
  EXPECT_EQ(JobHash(other), JobHash(Sample()));
  other.spec.train.threads = 2;
  EXPECT_NE(JobHash(other), JobHash(Sample()));
}

TEST(JobDocument, MissingUnknownAndBadKeysAreRefusedByName) {
  const auto refused = [](auto&& change) {
    nlohmann::json root = nlohmann::json::parse(JobDocumentText(Sample()));
    change(root);
    const auto parsed = ParseJobDocument(root.dump());
    return parsed.ok() ? std::string() : std::string(parsed.status().message());
  };
  EXPECT_NE(
      refused([](auto& root) { root["spec"].erase("job.seed"); }).find("'job.seed' is missing"),
      std::string::npos);
  EXPECT_NE(refused([](auto& root) { root["spec"]["job.sed"] = 1; }).find("unknown key 'job.sed'"),
            std::string::npos);
  EXPECT_NE(
      refused([](auto& root) { root["spec"]["track.tensorboard"] = true; }).find("unknown key"),
      std::string::npos);
  EXPECT_NE(refused([](auto& root) { root["spec"]["lora.lora-r"] = 0; }).find("lora.lora-r: got 0"),
            std::string::npos);
  EXPECT_NE(
      refused([](auto& root) { root["spec"]["lora.lora-r"] = 1e30; }).find("lora.lora-r: got"),
      std::string::npos);
  EXPECT_NE(refused([](auto& root) { root["base_hash"] = "x"; }).find("base_hash"),
            std::string::npos);
  EXPECT_NE(refused([](auto& root) { root["extra"] = 1; }).find("6 keys"), std::string::npos);
  EXPECT_NE(refused([](auto& root) { root["method"] = "prefix"; }).find("method: got 'prefix'"),
            std::string::npos);
}

TEST(JobDocument, OnlyTheCanonicalSpellingIsRead) {
  const std::string good = JobDocumentText(Sample());
  EXPECT_EQ(ParseJobDocument(good + "\n").status().message(),
            "job document: got another spelling of it, want sorted keys, no white space, shortest "
            "numbers");
  std::string other = good;
  other.replace(other.find("0.001"), 5, "1e-3");
  EXPECT_FALSE(ParseJobDocument(other).ok());
}

TEST(JobDocument, TextsThatAreTooLongOrTooDeepAreRefused) {
  EXPECT_FALSE(ParseJobDocument(std::string((4 << 20) + 1, ' ')).ok());
  EXPECT_FALSE(ParseJobDocument(std::string(100000, '[')).ok());
}

// Every field that a document carries survives, whatever legal value it has. Fixed seed.
TEST(JobDocument, RandomSpecsReadBackToTheSameBytes) {
  RandomCursor cursor(RandomStream(2, Purpose::kSampling, 0));
  for (int trial = 0; trial < 200; ++trial) {
    JobDocument document = Sample();
    JobSpec& spec = document.spec;
    spec.job.seed = cursor.Next();
    spec.job.num_rounds = 1 + static_cast<int>(cursor.Bounded(1000000));
    spec.job.round_deadline = std::chrono::seconds(1 + cursor.Bounded(100000));
    spec.train.learning_rate = cursor.Unit() * 1e-3;
    spec.lora.lora_alpha = 1e-9 + cursor.Unit() * 1e6;
    spec.data.separator =
        std::string(1 + cursor.Bounded(5), static_cast<char>(1 + cursor.Bounded(127)));
    const char* const methods[] = {"lora", "adapter", "full", "prompt"};
    spec.method = methods[cursor.Bounded(4)];
    spec.prompt.subspace = static_cast<int>(cursor.Bounded(65537));
    spec.strategy.weight_cap = cursor.Bounded(2000000000);
    const std::string text = JobDocumentText(document);
    const auto back = ParseJobDocument(text);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(JobDocumentText(*back), text);
    EXPECT_EQ(back->spec.train.learning_rate, spec.train.learning_rate);
  }
}

// Fixed seed: flips bytes of a good document; every outcome but a crash or an accepted text that
// is not the canonical one is fine.
TEST(JobDocument, DamagedTextsNeverBreakTheReader) {
  const std::string good = JobDocumentText(Sample());
  RandomCursor cursor(RandomStream(1, Purpose::kSampling, 0));
  int refused = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::string text = good;
    for (uint32_t flips = 1 + cursor.Bounded(4); flips > 0; --flips) {
      text[cursor.Bounded(static_cast<uint32_t>(text.size()))] =
          static_cast<char>(cursor.Bounded(256));
    }
    const auto parsed = ParseJobDocument(text);
    refused += !parsed.ok();
    if (parsed.ok()) {
      EXPECT_EQ(JobDocumentText(*parsed), text);
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace rivulet

// What people get wrong: addresses, keys, files, sizes. Every message names the thing, the value
// seen and the value wanted, and every end has its documented exit code.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "rivulet/v1/operations.grpc.pb.h"
#include "tests/integration/certificates.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// ---- addresses ----

TEST(BadInput, APortInUseIsNamedWhicheverItIs) {
  Deployment deployment;
  deployment.StartCoordinator();
  const std::string state = (deployment.folder() / "other-state").string();
  const std::string taken = deployment.agents_address();
  for (const std::string option : {"--listen-agents", "--listen-operators", "--listen-ops"}) {
    Options options = {{"--listen-agents", "127.0.0.1:0"},
                       {"--listen-operators", "127.0.0.1:0"},
                       {"--listen-ops", "127.0.0.1:0"},
                       {"--state-dir", state}};
    options[option] = taken;
    const Finished run = deployment.Run(deployment.CoordinatorCommand(options));
    EXPECT_EQ(run.code, 4) << option;
    EXPECT_THAT(run.err, HasSubstr(taken + ": Address already in use")) << option;
  }
  const Finished enrolment = deployment.Rivulet(
      {"enroll", "serve", "--listen", taken, "--pki", deployment.pki().string(), "--store", state});
  EXPECT_EQ(enrolment.code, 4);
  EXPECT_THAT(enrolment.err, HasSubstr(taken + ": Address already in use"));
}

TEST(BadInput, ASecondCoordinatorOnAStateDirectoryIsRefused) {
  Deployment deployment;
  deployment.StartCoordinator();
  const Finished run = deployment.Run(deployment.CoordinatorCommand(
      {{"--listen-agents", "127.0.0.1:0"}, {"--listen-operators", ""}, {"--listen-ops", ""}}));
  EXPECT_EQ(run.code, 8);
  EXPECT_THAT(run.err, HasSubstr((deployment.folder() / "state").string()));
  EXPECT_THAT(run.err, HasSubstr("another coordinator"));
}

TEST(BadInput, AnUnreachableCoordinatorIsNamed) {
  Deployment deployment;
  const std::string nobody = "127.0.0.1:1";
  const Finished run = deployment.Rivulet({"job", "list", "--coordinator", nobody, "--tls-dir",
                                           (deployment.pki() / "operator").string()});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("coordinator " + nobody + ": "));
  EXPECT_THAT(run.err, HasSubstr("Connection refused"));
}

TEST(BadInput, AnUnreachableEnrolmentIsWaitedForAndNamed) {
  Deployment deployment;
  WriteText(deployment.folder() / "token",
            "rvt1." + std::string(64, 'a') + "." + std::string(64, 'b'));
  const Finished run =
      deployment.Rivulet({"pki", "request", "--enroll", "127.0.0.1:1", "--token-file",
                          (deployment.folder() / "token").string(), "--name", "ada", "--dir",
                          (deployment.folder() / "got").string()});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("nobody listens at 127.0.0.1:1; trying for 10 s"));
  EXPECT_THAT(run.err, HasSubstr("enrolment at 127.0.0.1:1: "));
  EXPECT_FALSE(fs::exists(deployment.folder() / "got"));
}

// ---- words ----

TEST(BadInput, AWrongVerbOrOptionGetsTheNearestName) {
  Deployment deployment;
  for (const auto& [words, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"jbo", "list"}, "unknown command 'jbo'; did you mean 'job'?"},
           {{"--format", "json", "job", "lsit"}, "unknown command 'lsit'; did you mean 'list'?"},
           {{"job", "submit", "x", "--wach"}, "unknown option '--wach'; did you mean '--watch'?"},
           {{"job", "list", "--coordinatr=x"}, "did you mean '--coordinator'?"}}) {
    const Finished run = deployment.Rivulet(words);
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_THAT(run.err, HasSubstr(message));
  }
}

// ---- keys ----

struct BadFile {
  std::string text;
  std::string message;
};

TEST(BadInput, AWrongKeyOfTheCoordinatorIsNamedWithTheNearestOne) {
  Deployment deployment;
  const fs::path file = deployment.folder() / "coordinator.toml";
  for (const BadFile& bad : {
           BadFile{"[listen]\nagent = \"x\"\n",
                   ":2:9: unknown key 'listen.agent'; did you mean 'listen.agents'?"},
           BadFile{"[rounds]\nreturn-grace = \"soon\"\n",
                   "rounds.return-grace: got 'soon', want a whole number"},
           BadFile{"[rounds]\nreturn-grace = -1\n", "rounds.return-grace: got -1, want >= 0"},
           BadFile{"[log]\nlevel = \"loud\"\n",
                   "log.level: got 'loud', want error, warn, info, debug or trace"},
       }) {
    WriteText(file, bad.text);
    const Finished run =
        deployment.Run(deployment.CoordinatorCommand({{"--config", file.string()}}));
    EXPECT_EQ(run.code, 3) << bad.text;
    EXPECT_THAT(run.err, HasSubstr(bad.message));
  }
}

TEST(BadInput, AWrongKeyOfTheAgentIsNamedWithTheNearestOne) {
  Deployment deployment;
  const fs::path file = deployment.folder() / "client.toml";
  WriteText(file, "drain-timeuot = 3\n");
  const Finished run = deployment.Run(
      deployment.AgentCommand("ada", {TOY_AGENT}, "/dev/null", {{"--config", file.string()}}));
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr(file.string() + ":1:"));
  EXPECT_THAT(run.err, HasSubstr("unknown key 'drain-timeuot'; did you mean 'drain-timeout'?"));
}

TEST(BadInput, AWrongKeyOfThePolicyIsNamedWithTheNearestOne) {
  Deployment deployment;
  deployment.StartCoordinator();
  deployment.Enrol("ada");
  const fs::path file = deployment.folder() / "mine.toml";
  for (const BadFile& bad :
       {BadFile{"max-step = 3\n", ":1: unknown key 'max-step'; did you mean 'max-steps'?"},
        BadFile{"max-steps = -3\n", ":1: max-steps: want a whole number, 0..1000000000"}}) {
    WriteText(file, bad.text);
    const Finished run = deployment.Run(
        deployment.AgentCommand("ada", {TOY_AGENT}, "/dev/null", {{"--policy", file.string()}}));
    EXPECT_EQ(run.code, 3) << bad.text;
    EXPECT_THAT(run.err, HasSubstr(file.string() + bad.message));
  }
}

// ---- job files: what `simulate` refuses with 3, `job submit` does too ----

class BadJob : public testing::Test {
 protected:
  Finished Submit(const std::string& text, const std::vector<std::string>& more = {}) {
    const fs::path file = deployment_.folder() / "job.toml";
    WriteText(file, text);
    std::vector<std::string> words = {"job", "submit", file.string()};
    words.insert(words.end(), more.begin(), more.end());
    return deployment_.Operate(words);
  }
  // A copy of the base model in which one file is cut to so many bytes.
  fs::path CutModel(const std::string& name, uint64_t bytes) {
    const fs::path folder = deployment_.folder() / ("cut-" + name);
    fs::copy(ToyBaseModel(), folder, fs::copy_options::recursive);
    fs::resize_file(folder / name, bytes);
    return folder;
  }
  Deployment deployment_;
};

TEST_F(BadJob, AnUnknownKeyIsNamedWithTheNearestOne) {
  const Finished run = Submit(SmallJob("num-round = 2"));
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("job.toml:3"));
  EXPECT_THAT(run.err, HasSubstr("'job.num-round'; did you mean 'job.num-rounds'?"));
}

TEST_F(BadJob, AValueOutOfRangeIsNamed) {
  const Finished run = Submit(SmallJob("num-rounds = 0"));
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("job.toml:3), want an integer 1..1000000"));
}

TEST_F(BadJob, ATargetThatTheModelLacksIsNamed) {
  const Finished run = Submit(SmallJob(""), {"--set", "lora.lora-target-modules=[\"quux\"]"});
  EXPECT_EQ(run.code, 3) << run.err;
  EXPECT_THAT(run.err, HasSubstr("quux"));
}

TEST_F(BadJob, ATruncatedModelIsNamed) {
  const std::string folder = CutModel("model.safetensors", 1000).string();
  const Finished run = Submit(SmallJob(""), {"--model-dir", folder});
  EXPECT_EQ(run.code, 3) << run.err;
  EXPECT_THAT(run.err, HasSubstr(folder + "/model.safetensors: invalid header length"));
}

TEST_F(BadJob, ATruncatedConfigurationIsNamed) {
  const std::string folder = CutModel("config.json", 40).string();
  const Finished run = Submit(SmallJob(""), {"--model-dir", folder});
  EXPECT_EQ(run.code, 3) << run.err;
  EXPECT_THAT(run.err, HasSubstr(folder + "/config.json"));
}

TEST_F(BadJob, AMissingFileIsNamed) {
  const Finished run = deployment_.Operate({"job", "submit", "/nowhere/job.toml"});
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("/nowhere/job.toml: open: No such file"));
}

// ---- sizes ----

TEST(BadInput, ADocumentOfMoreThanTwoMebibytesIsRefused) {
  Deployment deployment;
  deployment.StartCoordinator();
  const auto stub = v1::Operations::NewStub(grpc::CreateCustomChannel(
      deployment.operators_address(), MutualTlsClient(ReadTlsFiles(deployment.pki() / "operator")),
      grpc::ChannelArguments()));
  const auto submit = [&](size_t bytes) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    v1::SubmitRequest request;
    v1::SubmitReply reply;
    request.set_document(std::string(bytes, ' '));
    const auto stream = stub->Submit(&context, &reply);
    stream->Write(request);
    stream->WritesDone();
    return stream->Finish();
  };
  const grpc::Status refused = submit((2 << 20) + 1);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.error_message(), "document: got 2097153 bytes, want at most 2097152");
  // Of a message above gRPC's own limit nothing is even read.
  EXPECT_FALSE(submit(16 << 20).ok());
  EXPECT_EQ(submit(2 << 20).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(BadInput, AnEnrolmentOfMoreThanEightKibibytesIsRefused) {
  Deployment deployment;
  const std::string address = deployment.StartEnrolment();
  httplib::SSLClient client("127.0.0.1", std::stoi(address.substr(address.rfind(':') + 1)));
  client.enable_server_certificate_verification(false);
  const auto large = client.Post("/v1/enrol", std::string((8 << 10) + 1, 'x'), "application/x");
  ASSERT_TRUE(large) << httplib::to_string(large.error());
  EXPECT_EQ(large->status, 413);
  const auto fits = client.Post("/v1/enrol", std::string(8 << 10, 'x'), "application/x");
  ASSERT_TRUE(fits) << httplib::to_string(fits.error());
  EXPECT_EQ(fits->status, 400);
}

}  // namespace
}  // namespace rivulet

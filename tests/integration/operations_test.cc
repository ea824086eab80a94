// What an operator asks and sees: every verb as text and as JSON, metrics, health, logs.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "common/io/file.h"
#include "tests/integration/certificates.h"
#include "tests/integration/deployment.h"
#include "tests/integration/prometheus_text.h"

namespace rivulet {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr char kTwoRounds[] = "num-rounds = 2\nmin-clients = 2\nclients-per-round = 2\n";
constexpr char kForEver[] = "num-rounds = 5000\nmin-clients = 2\nclients-per-round = 2\n";

// The one document on stdout.
json Document(const Finished& run) {
  const json value = json::parse(run.out, nullptr, false);
  EXPECT_TRUE(value.is_object()) << run.out << run.err;
  return value.is_object() ? value : json::object();
}

class Operations : public testing::Test {
 protected:
  void SetUp() override { deployment_.StartCoordinator(); }

  void StartTwo(const Process::Environment& environment = {}) {
    for (const char* name : {"ada", "bob"}) {
      deployment_.StartAgent(name, {TOY_AGENT}, "/dev/null", environment);
    }
  }
  std::string WriteJob(const std::string& keys) {
    const std::string path = (deployment_.folder() / "job.toml").string();
    std::ofstream(path) << SmallJob(keys);
    return path;
  }
  Finished Operate(std::vector<std::string> words) { return deployment_.Operate(words); }
  Finished AsJson(std::vector<std::string> words) {
    words.insert(words.end(), {"--format", "json"});
    return deployment_.Operate(words);
  }
  httplib::Client Ops() { return httplib::Client("http://" + deployment_.ops_address()); }

  Deployment deployment_;
};

// ---- verbs ----

TEST_F(Operations, AFinishedJobIsListedShownAndDownloadedAsTextAndAsJson) {
  StartTwo();
  const Finished submitted = AsJson({"job", "submit", WriteJob(kTwoRounds)});
  ASSERT_EQ(submitted.code, 0) << submitted.err;
  const std::string id = Document(submitted)["id"];
  EXPECT_EQ(Document(submitted)["kind"], "JobSubmitted");
  ASSERT_EQ(Operate({"job", "watch", id}).code, 0);

  const json listed = Document(AsJson({"job", "list"}));
  EXPECT_EQ(listed["kind"], "JobList");
  ASSERT_EQ(listed["items"].size(), 1);
  EXPECT_EQ(listed["items"][0]["id"], id);
  EXPECT_EQ(listed["items"][0]["state"], "finished");
  EXPECT_THAT(Operate({"job", "list"}).out,
              MatchesRegex("ID .*\n" + id + " .* finished .* 2/2 .*\n"));

  const json shown = Document(AsJson({"job", "show", "@last"}));
  EXPECT_EQ(shown["kind"], "Job");
  EXPECT_EQ(shown["rounds"].size(), 2);
  EXPECT_THAT(Operate({"job", "show", id.substr(0, 6)}).out,
              AllOf(HasSubstr("job         " + id), HasSubstr("round       2/2"),
                    HasSubstr("state hash  " + shown["state_hash"].get<std::string>())));

  const std::string folder = (deployment_.folder() / "adapter").string();
  const json got = Document(AsJson({"job", "download", id, "--out", folder}));
  EXPECT_EQ(got["kind"], "JobDownload");
  EXPECT_EQ(got["folder"], folder);
  EXPECT_EQ(got["state_hash"], shown["state_hash"]);
  const Finished again = Operate({"job", "download", id, "--out", folder + "2"});
  EXPECT_EQ(again.out, folder + "2  state hash " + shown["state_hash"].get<std::string>() + "\n");
}

TEST_F(Operations, WatchingAsJsonGivesOneEventALine) {
  StartTwo();
  const Finished run = AsJson({"job", "submit", WriteJob(kTwoRounds), "--watch"});
  ASSERT_EQ(run.code, 0) << run.err;
  std::istringstream lines(run.out);
  std::vector<std::string> types;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line, nullptr, false);
    ASSERT_TRUE(event.is_object()) << line;
    EXPECT_EQ(event["api"], "rivulet/v1");
    if (event["kind"] == "Event") types.push_back(event["type"]);
  }
  EXPECT_THAT(types, testing::Contains("round.completed"));
  EXPECT_EQ(types.back(), "job.completed");
}

TEST_F(Operations, StopFinishesTheRoundAndStopNowDoesNot) {
  StartTwo({{"TOY_DELAY_MS", "100"}});
  const auto submit = [&] { return Document(AsJson({"job", "submit", WriteJob(kForEver)}))["id"]; };
  const auto has_round = [&](const std::string& id) {
    return WaitUntil([&] { return !Document(AsJson({"job", "show", id}))["rounds"].empty(); });
  };
  const std::string first = submit();
  ASSERT_TRUE(has_round(first));
  const Finished stopped = AsJson({"job", "stop", first});
  EXPECT_EQ(Document(stopped)["kind"], "JobStop");
  EXPECT_EQ(Document(stopped)["state"], "stopping");
  EXPECT_EQ(Operate({"job", "watch", first}).code, 0);
  EXPECT_EQ(Document(AsJson({"job", "show", first}))["state"], "stopped");

  const std::string second = submit();
  ASSERT_TRUE(has_round(second));
  const Finished unconfirmed = Operate({"job", "stop", second, "--now"});
  EXPECT_EQ(unconfirmed.code, 2);
  EXPECT_THAT(unconfirmed.err, HasSubstr("--yes"));
  const Finished now = Operate({"job", "stop", second, "--now", "--yes"});
  EXPECT_EQ(now.code, 0) << now.err;
  EXPECT_EQ(now.out, second + ": stopped\n");
  EXPECT_EQ(Document(AsJson({"job", "show", second}))["state"], "stopped");
}

TEST_F(Operations, ADryRunChecksAndSubmitsNothing) {
  const std::string job = WriteJob(kTwoRounds);
  EXPECT_THAT(Operate({"job", "submit", job, "--dry-run"}).out,
              MatchesRegex("ok: job hash [0-9a-f]{64}, base model sha256:[0-9a-f]{64}\n"));
  const json checked = Document(AsJson({"job", "submit", job, "--dry-run"}));
  EXPECT_EQ(checked["kind"], "JobChecked");
  EXPECT_EQ(checked["job_hash"].get<std::string>().size(), 64);
  EXPECT_TRUE(Document(AsJson({"job", "list"}))["items"].empty());
}

TEST_F(Operations, NodesAreListedAsTextAndAsJson) {
  StartTwo();
  json nodes;
  ASSERT_TRUE(WaitUntil([&] {
    nodes = Document(AsJson({"node", "list"}))["items"];
    return nodes.size() == 2;
  }));
  EXPECT_EQ(nodes[0]["name"], "ada");
  EXPECT_EQ(nodes[0]["organisation"], "demo-org");
  EXPECT_EQ(nodes[0]["connected"], true);
  EXPECT_THAT(nodes[0]["certificate_expires"].get<std::string>(), MatchesRegex("20.*T.*Z"));
  EXPECT_THAT(Operate({"node", "list"}).out,
              MatchesRegex("NAME .*\nada .* connected .*\nbob .*\n"));
}

TEST_F(Operations, TheVerbsThatNeedNoCoordinatorSpeakJsonToo) {
  const std::string pki = (deployment_.folder() / "pki2").string();
  const std::string store = (deployment_.folder() / "store2").string();
  const json made = Document(deployment_.Rivulet(
      {"pki", "init", "--federation", "two", "--dir", pki, "--format", "json"}));
  EXPECT_EQ(made["kind"], "Pki");
  EXPECT_EQ(made["root_fingerprint"].get<std::string>().size(), 64);
  const json token = Document(deployment_.Rivulet(
      {"node", "enroll", "--org", "org", "--pki", pki, "--store", store, "--format", "json"}));
  EXPECT_EQ(token["kind"], "EnrolmentToken");
  EXPECT_THAT(token["token"].get<std::string>(),
              MatchesRegex("rvt1\\.[0-9a-f]{64}\\.[0-9a-f]{64}"));
  const std::string file = (deployment_.folder() / "token2").string();
  std::ofstream(file) << token["token"].get<std::string>();
  Process serve({std::string(RIVULET_BINARY_DIR) + "/bin/rivulet", "enroll", "serve", "--listen",
                 "127.0.0.1:0", "--pki", pki, "--store", store, "--format", "json"},
                deployment_.folder() / "serve2");
  const json listening = json::parse("{" + serve.WaitForLine("{"), nullptr, false);
  ASSERT_EQ(listening["kind"], "Listening");
  const json got = Document(deployment_.Rivulet(
      {"pki", "request", "--enroll", listening["address"], "--token-file", file, "--dir",
       (deployment_.folder() / "eve").string(), "--name", "eve", "--format", "json"}));
  EXPECT_EQ(got["kind"], "Certificate");
  EXPECT_EQ(got["name"], "eve");
  EXPECT_EQ(Document(deployment_.Rivulet({"version", "--format", "json"}))["kind"], "Version");
  const json codes = Document(deployment_.Rivulet({"help", "exit-codes", "--format", "json"}));
  EXPECT_EQ(codes["items"].size(), 11);
}

TEST_F(Operations, AnErrorUnderFormatJsonIsOneObjectWithItsExitCode) {
  for (const auto& [words, code, text] :
       std::vector<std::tuple<std::vector<std::string>, int, std::string>>{
           {{"job", "show", "nothing"}, 1, "nothing"},
           {{"job", "submit", "/nowhere"}, 3, "/nowhere: open: No such file"},
           {{"job", "frobnicate"}, 2, "unknown command 'frobnicate'"},
           {{"job", "list", "--colour"}, 2, "--colour"},
           {{"jbo"}, 2, "unknown command 'jbo'; did you mean 'job'?"},
           {{"help", "weather"}, 2, "help: got 'weather'"}}) {
    const Finished run = AsJson(words);
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_EQ(run.out, "");
    const json error = json::parse(run.err, nullptr, false);
    ASSERT_TRUE(error.is_object()) << run.err;
    EXPECT_EQ(error["error"]["exit"], code);
    EXPECT_THAT(error["error"]["message"].get<std::string>(), HasSubstr(text));
  }
}

// ---- ops endpoints ----

TEST_F(Operations, MetricsParseAndCountWhatHappened) {
  StartTwo();
  ASSERT_EQ(Operate({"job", "submit", WriteJob(kTwoRounds), "--watch"}).code, 0);
  const auto reply = Ops().Get("/metrics");
  ASSERT_TRUE(reply) << httplib::to_string(reply.error());
  EXPECT_EQ(reply->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  MetricsText page = ParseMetrics(reply->body);
  EXPECT_EQ(page.error, "");
  EXPECT_EQ(page.types["rivulet_jobs"], "gauge");
  EXPECT_EQ(page.types["rivulet_updates_accepted_total"], "counter");
  EXPECT_EQ(page.samples["rivulet_jobs{state=\"finished\"}"], 1);
  EXPECT_EQ(page.samples["rivulet_clients{state=\"connected\"}"], 2);
  EXPECT_EQ(page.samples["rivulet_updates_accepted_total"], 4);
  EXPECT_EQ(page.samples["rivulet_updates_rejected_total"], 0);
  EXPECT_GT(page.samples["rivulet_uplink_bytes_total"], 0);
  EXPECT_GT(page.samples["process_resident_memory_bytes"], 0);
  EXPECT_EQ(page.types["rivulet_round_duration_seconds"], "histogram");
  EXPECT_EQ(page.samples["rivulet_round_duration_seconds_count"], 2);
  EXPECT_EQ(page.samples["rivulet_round_duration_seconds_bucket{le=\"+Inf\"}"], 2);
  EXPECT_EQ(page.samples["rivulet_round_duration_seconds_bucket{le=\"14400\"}"], 2);
}

TEST_F(Operations, ItIsAliveStartedAndReady) {
  for (const char* path : {"/livez", "/startupz", "/readyz"}) {
    const auto reply = Ops().Get(path);
    ASSERT_TRUE(reply) << httplib::to_string(reply.error());
    EXPECT_EQ(reply->status, 200) << path << ": " << reply->body;
  }
  EXPECT_EQ(Ops().Get("/readyz")->body, "not draining: ok\nstore: ok\ndisk: ok\n");
  EXPECT_EQ(Ops().Get("/nothing")->status, 404);
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address,
                                         const std::filesystem::path& credentials) {
  return grpc::CreateChannel(address, MutualTlsClient(ReadTlsFiles(credentials)));
}

// One unary call by name with serialised messages.
grpc::Status CallByName(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                        const std::string& request, std::string& reply) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  const auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  std::vector<grpc::Slice> slices;
  if (answer.Valid() && answer.Dump(&slices).ok()) {
    for (const grpc::Slice& part : slices) {
      reply.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  return status;
}

TEST_F(Operations, TheHealthServiceAnswersOverMutualTlsOnBothPorts) {
  for (const auto& channel :
       {ChannelTo(deployment_.operators_address(), deployment_.pki() / "operator"),
        ChannelTo(deployment_.agents_address(), deployment_.Enrol("ada"))}) {
    std::string reply;
    const grpc::Status status = CallByName(channel, "/grpc.health.v1.Health/Check", "", reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(reply, std::string("\x08\x01"));  // field 1, SERVING
  }
}

// Reflection tells a stranger what could be called: only builds for development have it.
TEST_F(Operations, ReflectionIsAbsentFromReleases) {
  std::string reply;
  const grpc::Status status =
      CallByName(ChannelTo(deployment_.operators_address(), deployment_.pki() / "operator"),
                 "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                 std::string("\x3a\x00", 2), reply);  // field 7: list the services
#ifdef NDEBUG
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
#else
  EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
#endif
}

// ---- logs ----

std::vector<std::string> LogLines(Deployment& deployment) {
  deployment.StartAgent("ada", {TOY_AGENT}, "/dev/null");
  EXPECT_TRUE(deployment.coordinator().WaitForError("agent ada connected"));
  deployment.coordinator().Signal(SIGTERM);
  const std::string text = [&] {
    EXPECT_TRUE(deployment.coordinator().WaitForError("stopped"));
    return deployment.coordinator().err();
  }();
  EXPECT_EQ(deployment.coordinator().Wait(), 0);
  std::vector<std::string> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) rows.push_back(line);
  EXPECT_GE(rows.size(), 3);
  return rows;
}

TEST(Logs, EveryLineOfTheJsonFormIsAnObject) {
  Deployment deployment;
  deployment.StartCoordinator({{"--log-format", "json"}, {"--log-level", "debug"}});
  for (const std::string& line : LogLines(deployment)) {
    const json row = json::parse(line, nullptr, false);
    ASSERT_TRUE(row.is_object()) << line;
    EXPECT_THAT(row["time"].get<std::string>(), MatchesRegex("[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z"));
    EXPECT_THAT(row["level"].get<std::string>(), MatchesRegex("error|warning|info|debug"));
    EXPECT_EQ(row["component"], "coordinator");
    EXPECT_NE(row["msg"], "");
  }
}

TEST(Logs, EveryLineOfTheTextFormHasTimeLevelAndWords) {
  Deployment deployment;
  deployment.StartCoordinator({{"--log-format", "text"}, {"--log-level", "debug"}});
  for (const std::string& line : LogLines(deployment)) {
    EXPECT_THAT(line, MatchesRegex("[0-9-]{10} [0-9:.]{12} (error|warning|info|debug) .+"));
  }
}

}  // namespace
}  // namespace rivulet

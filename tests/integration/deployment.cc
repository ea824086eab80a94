#include "tests/integration/deployment.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace rivulet {
namespace {

namespace fs = std::filesystem;
const std::string kBin = std::string(RIVULET_BINARY_DIR) + "/bin/";
constexpr int kEnrolmentsAMinute = 5;  // from one address (enrolment/rate_limit.h)

// "agents 127.0.0.1:1, operators 127.0.0.1:2, ops 127.0.0.1:3"
std::string AddressIn(const std::string& line, const std::string& what) {
  const size_t begin = line.find(what + " ");
  if (begin == std::string::npos) return "";
  const size_t start = begin + what.size() + 1;
  return line.substr(start, line.find(',', start) - start);
}

Options Changed(Options options, const Options& changes) {
  for (const auto& [name, value] : changes) options[name] = value;
  return options;
}

std::vector<std::string> Words(std::vector<std::string> words, const Options& options) {
  for (const auto& [name, value] : options) {
    words.push_back(name);
    if (value.has_value()) words.push_back(*value);
  }
  return words;
}

}  // namespace

void WriteText(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

Deployment::Deployment() {
  std::string name = (fs::temp_directory_path() / "rivulet-daemon-XXXXXX").string();
  folder_ = mkdtemp(name.data());
  base_model_ = ToyBaseModel();
  const Finished made =
      Rivulet({"pki", "init", "--federation", "demo", "--dir", (folder_ / "pki").string()});
  EXPECT_EQ(made.code, 0) << made.err;
}

Deployment::~Deployment() {
  agents_.clear();
  coordinator_ = Process();
  enrolment_ = Process();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::vector<std::string> Deployment::CoordinatorCommand(const Options& changes) const {
  Options options = {{"--listen-agents", agents_address_},
                     {"--listen-operators", operators_},
                     {"--listen-ops", ops_},
                     {"--state-dir", (folder_ / "state").string()},
                     {"--tls-dir", (pki() / "coordinator").string()}};
  return Words({kBin + "rivulet-coordinator", "serve"}, Changed(options, changes));
}

void Deployment::StartCoordinator(const Options& changes) {
  coordinator_ = Process(CoordinatorCommand(changes), folder_ / "coordinator");
  const std::string line = coordinator_.WaitForLine("listening: ");
  ASSERT_FALSE(line.empty()) << coordinator_.err();
  agents_address_ = AddressIn(line, "agents");
  operators_ = AddressIn(line, "operators");
  ops_ = AddressIn(line, "ops");
}

void Deployment::KillCoordinator() {
  coordinator_.Signal(SIGKILL);
  coordinator_.Wait();
}

std::string Deployment::StartEnrolment() {
  if (!enrolment_.running()) {
    enrolment_ = Process({kBin + "rivulet", "enroll", "serve", "--listen", "127.0.0.1:0", "--pki",
                          pki().string(), "--store", (folder_ / "enrolment").string()},
                         folder_ / "enrolment-log");
  }
  const std::string address = enrolment_.WaitForLine("listening: ");
  EXPECT_FALSE(address.empty()) << enrolment_.err();
  return address;
}

fs::path Deployment::Enrol(const std::string& name) {
  const fs::path home = folder_ / name;
  if (fs::exists(home / "pki" / "cert.pem")) return home / "pki";
  fs::create_directories(home);
  if (enrolled_ > 0 && enrolled_ % kEnrolmentsAMinute == 0 && enrolment_.running()) {
    enrolment_.Signal(SIGTERM);  // the next one counts its requests from 0
    enrolment_.Wait();
  }
  ++enrolled_;
  const std::string address = StartEnrolment();
  const std::string pki = (folder_ / "pki").string();
  const std::string store = (folder_ / "enrolment").string();
  const Finished token =
      Rivulet({"node", "enroll", "--org", "demo-org", "--pki", pki, "--store", store});
  EXPECT_EQ(token.code, 0) << token.err;
  WriteText(home / "token", token.out);
  const Finished got =
      Rivulet({"pki", "request", "--enroll", address, "--token-file", (home / "token").string(),
               "--dir", (home / "pki").string(), "--name", name});
  EXPECT_EQ(got.code, 0) << got.err;
  return home / "pki";
}

std::vector<std::string> Deployment::AgentCommand(const std::string& name,
                                                  const std::vector<std::string>& program,
                                                  const fs::path& data, const Options& changes) {
  const fs::path home = folder_ / name;
  fs::create_directories(home);
  WriteText(home / "policy.toml", policy_ + "[[base-model]]\npath = \"" + base_model_.string() +
                                      "\"\n[[dataset]]\nname = \"fortunes\"\npath = \"" +
                                      data.string() + "\"\n");
  std::vector<std::string> command = program;
  command.push_back("run");
  Options options = {{"--coordinator", agents_address_},
                     {"--tls-dir", (home / "pki").string()},
                     {"--state-dir", (home / "state").string()},
                     {"--policy", (home / "policy.toml").string()}};
  return Words(std::move(command), Changed(options, changes));
}

void Deployment::StartAgent(const std::string& name, const std::vector<std::string>& program,
                            const fs::path& data, const Process::Environment& environment,
                            const Options& changes) {
  if (!changes.contains("--tls-dir") && !changes.contains("--insecure")) Enrol(name);
  agents_[name] =
      Process(AgentCommand(name, program, data, changes), folder_ / name / "log", environment);
}

Finished Deployment::Run(const std::vector<std::string>& words) {
  return RunToEnd(words, folder_ / ("command-" + std::to_string(runs_++)));
}

Finished Deployment::Rivulet(std::vector<std::string> words) {
  words.insert(words.begin(), kBin + "rivulet");
  return Run(words);
}

Finished Deployment::Operate(std::vector<std::string> words) {
  words.insert(words.end(),
               {"--coordinator", operators_, "--tls-dir", (folder_ / "pki" / "operator").string()});
  return Rivulet(std::move(words));
}

std::string Deployment::SubmitAndWatch(const fs::path& job) {
  const Finished run = Operate({"job", "submit", job.string(), "--watch"});
  EXPECT_EQ(run.code, 0) << run.err;
  return Operate({"job", "show", "@last", "--format", "json"}).out;
}

std::string Deployment::StateHash() {
  const Finished shown = Operate({"job", "show", "@last", "--format", "json"});
  const auto view = nlohmann::json::parse(shown.out, nullptr, false);
  return view.is_object() ? view.value("state_hash", "") : "";
}

fs::path ToyBaseModel() { return fs::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m"; }

std::string SmallJob(const std::string& job_keys) {
  return "[job]\nseed = 7\n" + job_keys + "\n[model]\nname = \"" + ToyBaseModel().string() +
         "\"\n[lora]\nlora-r = 2\nlora-target-modules = [\"q_proj\", \"v_proj\"]\n"
         "lora-dropout = 0.0\n"
         "[data]\ndataset = \"fortunes\"\nformat = \"text\"\nseparator = \"\\n%\\n\"\n"
         "seq-length = 32\nheld-out-max-blocks = 2\n"
         "[train]\nmax-steps = 1\nper-device-train-batch-size = 2\n";
}

}  // namespace rivulet

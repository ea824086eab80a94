#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "tests/integration/process.h"

namespace rivulet {

// Options of a command by name, "--state-dir"; without a value: a flag.
using Options = std::map<std::string, std::optional<std::string>>;

// A federation of processes on this machine: authorities, coordinator, agents, in a scratch folder
// that is removed at the end. Everything over mTLS on loopback with free ports.
class Deployment {
 public:
  Deployment();
  ~Deployment();

  // The first start takes free ports, later ones the same. `changes` to the options that it has
  // otherwise.
  void StartCoordinator(const Options& changes = {});
  std::vector<std::string> CoordinatorCommand(const Options& changes = {}) const;
  void KillCoordinator();  // -9
  // Of the agents' policies from now on; ToyBaseModel() before.
  void UseBaseModel(std::filesystem::path folder) { base_model_ = std::move(folder); }
  // Put before the rest of every policy that is written from now on.
  void UsePolicy(std::string text) { policy_ = std::move(text); }
  // Enrols the agent if it has no certificate yet. `program` the toy or the real one; its data set
  // "fortunes" is `data`.
  void StartAgent(const std::string& name, const std::vector<std::string>& program,
                  const std::filesystem::path& data, const Process::Environment& environment = {},
                  const Options& changes = {});
  // What StartAgent starts; writes its policy.
  std::vector<std::string> AgentCommand(const std::string& name,
                                        const std::vector<std::string>& program,
                                        const std::filesystem::path& data,
                                        const Options& changes = {});
  Process& agent(const std::string& name) { return agents_.at(name); }
  Process& coordinator() { return coordinator_; }

  // rivulet WORDS with the operator's credentials.
  Finished Operate(std::vector<std::string> words);
  // rivulet WORDS as they are.
  Finished Rivulet(std::vector<std::string> words);
  // Any command, to its end.
  Finished Run(const std::vector<std::string>& words);
  // Submits, follows to the end, gives `job show --format json`.
  std::string SubmitAndWatch(const std::filesystem::path& job);
  std::string StateHash();  // of @last

  const std::filesystem::path& folder() const { return folder_; }
  std::string ops_address() const { return ops_; }
  std::string agents_address() const { return agents_address_; }
  std::string operators_address() const { return operators_; }
  std::string StartEnrolment();  // its address
  Process& enrolment() { return enrolment_; }
  std::filesystem::path pki() const { return folder_ / "pki"; }
  std::filesystem::path Enrol(const std::string& name);  // its credentials

 private:
  std::filesystem::path folder_;
  std::filesystem::path base_model_;
  std::string policy_;
  int runs_ = 0;
  int enrolled_ = 0;
  std::string agents_address_ = "127.0.0.1:0";
  std::string operators_ = "127.0.0.1:0";
  std::string ops_ = "127.0.0.1:0";
  Process enrolment_;
  Process coordinator_;
  std::map<std::string, Process> agents_;
};

// simulations/models/llama-7m of this checkout.
std::filesystem::path ToyBaseModel();
void WriteText(const std::filesystem::path& path, const std::string& text);
// A small LoRA job for it, with these keys added to [job].
std::string SmallJob(const std::string& job_keys);

}  // namespace rivulet

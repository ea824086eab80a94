#pragma once

#include <string>
#include <variant>
#include <vector>

#include "coordinator/rounds/round_engine.h"

namespace rivulet {

// Two rounds, which want two of at least three clients.
inline EngineConfig Config() {
  EngineConfig config;
  config.rounds = 2;
  config.min_clients = 2;
  config.min_available = 3;
  config.round_deadline = std::chrono::seconds(100);
  config.start_deadline = std::chrono::seconds(1000);
  config.return_grace = std::chrono::seconds(10);
  return config;
}

inline std::string Text(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name;
  return text;
}

// One line for each action, so that a whole transcript can be compared.
struct Teller {
  std::string operator()(const OpenRound& a) const {
    return "open " + std::to_string(a.round) + "." + std::to_string(a.attempt) + " " +
           Text(a.cohort) + " of " + Text(a.eligible) + " need " + std::to_string(a.needed);
  }
  std::string operator()(const AssignTraining& a) const {
    return "train " + a.client + " " + std::to_string(a.round) + "." + std::to_string(a.attempt);
  }
  std::string operator()(const AssignEvaluation& a) const {
    return "evaluate " + a.client + " " + std::to_string(a.round);
  }
  std::string operator()(const Revoke& a) const { return "revoke " + a.client; }
  std::string operator()(const Freeze& a) const { return "freeze"; }
  std::string operator()(const CloseRound& a) const {
    return "close " + std::to_string(a.round) + " with " + Text(a.counted);
  }
  std::string operator()(const AbandonRound& a) const { return "abandon: " + a.reason; }
  std::string operator()(const LoseRound& a) const {
    return "lose " + std::to_string(a.round) + ": " + a.reason;
  }
  std::string operator()(const OpenEvaluation& a) const {
    return "open evaluation " + std::to_string(a.round) + " " + Text(a.clients);
  }
  std::string operator()(const EndEvaluation& a) const {
    return "end evaluation " + std::to_string(a.round) + " missing " + Text(a.missing);
  }
  std::string operator()(const EndJob& a) const {
    constexpr const char* kHow[] = {"finished", "failed", "stopped"};
    return std::string(kHow[static_cast<int>(a.how)]) + (a.reason.empty() ? "" : ": " + a.reason);
  }
};

// Drives an engine and answers Freeze at once, as a driver without commits under way does.
class Play {
 public:
  explicit Play(EngineConfig config = Config(), EngineState state = {})
      : engine(config, std::move(state), std::chrono::seconds(0)) {}

  std::vector<std::string> Do(const Event& event) {
    std::vector<std::string> lines;
    std::vector<Action> actions = engine.Step(event, now);
    for (size_t at = 0; at < actions.size(); ++at) {
      if (std::holds_alternative<Freeze>(actions[at])) {
        for (Action& action : engine.Step(Frozen{}, now)) actions.push_back(std::move(action));
        continue;
      }
      lines.push_back(std::visit(Teller{}, actions[at]));
    }
    return lines;
  }
  std::vector<std::string> After(std::chrono::milliseconds time) {
    now += time;
    return Do(TimePassed{});
  }
  void Connect(const std::string& names) {
    for (const char name : names) Do(ClientConnected{std::string(1, name)});
  }
  // Brings three clients, evaluates the initial state, leaves round 1 open.
  void OpenFirst() {
    Connect("abc");
    for (const char* name : {"a", "b", "c"}) Do(ReportStored{name, 0});
  }
  RoundEngine engine;
  std::chrono::milliseconds now{0};
};

using Lines = std::vector<std::string>;

}  // namespace rivulet

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/job/counted_unit.h"
#include "common/terminal/progress.h"
#include "privacy/dp/accountant.h"
#include "simulations/report/run_directory.h"

namespace rivulet {
namespace {

using Json = nlohmann::ordered_json;

// The first and the last finished evaluation; null when there are fewer than two.
struct BeforeAfter {
  const EvaluationView* before = nullptr;
  const EvaluationView* after = nullptr;
};

BeforeAfter Ends(const JobView& view) {
  BeforeAfter ends;
  for (const EvaluationView& evaluation : view.evaluations) {
    if (!evaluation.done || evaluation.counted == 0) continue;
    if (ends.before == nullptr) ends.before = &evaluation;
    ends.after = &evaluation;
  }
  return ends;
}

// "227.03 ->  52.41   accuracy 0.210 -> 0.330"
std::string Change(double loss_before, double loss_after, double accuracy_before,
                   double accuracy_after) {
  char line[120];
  std::snprintf(line, sizeof line, "%9.2f -> %8.2f   %.3f -> %.3f", std::exp(loss_before),
                std::exp(loss_after), accuracy_before, accuracy_after);
  return line;
}

std::string Row(const std::string& name, const std::string& text) {
  return "  " + name + std::string(name.size() < 24 ? 24 - name.size() : 1, ' ') + text + "\n";
}

std::string ClientRows(const BeforeAfter& ends) {
  std::map<std::string, const ClientEvaluation*> after;
  for (const ClientEvaluation& client : ends.after->clients) after[client.client] = &client;
  if (after.empty()) return "";  // a noised job shows those of all clients together
  std::string rows;
  int better = 0, compared = 0;
  for (const ClientEvaluation& was : ends.before->clients) {
    const auto now = after.find(was.client);
    if (now == after.end() || was.counted == 0 || now->second->counted == 0) continue;
    ++compared;
    better += now->second->loss < was.loss;
    rows +=
        Row(was.client, Change(was.loss, now->second->loss, was.accuracy, now->second->accuracy));
  }
  return rows +
         Row("better", std::to_string(better) + " of " + std::to_string(compared) + " clients");
}

// Clients whose data were too few to hold any out; nothing when all have some.
std::string WithoutRow(const JobView& view) {
  int64_t without = 0;
  for (const EvaluationView& evaluation : view.evaluations) {
    if (!evaluation.done) continue;
    without = std::count_if(evaluation.clients.begin(), evaluation.clients.end(),
                            [](const ClientEvaluation& client) { return client.counted == 0; });
  }
  if (without == 0) return "";
  return Row("without held-out data",
             std::to_string(without) + (without == 1 ? " client" : " clients"));
}

// What factor averaging lost, over the rounds where that was computed; nothing when in none.
std::string BiasRow(const JobView& view) {
  std::optional<double> last, most;
  for (const RoundView& round : view.rounds) {
    if (round.state != RoundState::kDone || !round.figures.bias) continue;
    last = round.figures.bias;
    most = std::max(most.value_or(0), *last);
  }
  if (!last) return "";
  char line[80];
  std::snprintf(line, sizeof line, "%.4f in the last round, %.4f at most", *last, *most);
  return Row("factor averaging bias", line);
}

// Invited clients whose update was wanted and never came; nothing when none. Those left over when
// the round had enough are no loss: job.over-selection invited them to be spare.
std::string DroppedRow(const JobView& view) {
  size_t invited = 0, dropped = 0;
  for (const RoundView& round : view.rounds) {
    if (view.state == JobState::kStopped && round.state == RoundState::kAbandoned &&
        &round == &view.rounds.back()) {
      continue;  // who stopped the job gave it up, not the clients
    }
    invited += round.cohort.size();
    const bool enough = round.reported.size() >= static_cast<size_t>(round.needed);
    dropped += round.failed.size() + (enough ? 0 : round.missing.size());
  }
  if (dropped == 0) return "";
  return Row("dropped",
             std::to_string(dropped) + " of " + std::to_string(invited) + " invitations");
}

// Clients in the results of all rounds that have one; nothing before the first.
std::string SurvivorsRow(const JobView& view) {
  size_t invited = 0, summed = 0, rounds = 0, fewest = 0;
  for (const RoundView& round : view.rounds) {
    if (round.state != RoundState::kDone) continue;
    fewest = rounds++ == 0 ? round.reported.size() : std::min(fewest, round.reported.size());
    invited += round.cohort.size();
    summed += round.reported.size();
  }
  if (rounds == 0) return "";
  return Row("survivors", std::to_string(summed) + " of " + std::to_string(invited) +
                              " invited, at least " + std::to_string(fewest) + " a round");
}

// What masks cost beside the updates; nothing without them.
std::string ProtocolRow(const JobView& view) {
  uint64_t invited = 0;
  for (const RoundView& round : view.rounds) {
    if (round.state == RoundState::kDone) invited += round.cohort.size();
  }
  if (view.protocol_bytes_up == 0 || invited == 0) return "";
  const auto bytes = static_cast<uint64_t>(view.protocol_bytes_up);
  return Row("masking", HumanBytes(bytes) + " up in keys and shares, " +
                            HumanBytes(bytes / invited) + " a client and round");
}

// What clients said when they gave up, the commonest first.
std::string FailureRows(const JobView& view) {
  std::string rows;
  for (const FailureCount& failure : view.failures) {
    rows += Row("failed " + std::to_string(failure.count) + " times",
                failure.code + ": " + failure.text);
  }
  return rows;
}

Json EvaluationJson(const EvaluationView& evaluation) {
  Json json = {{"round", evaluation.round},
               {"loss", evaluation.loss},
               {"perplexity", std::exp(evaluation.loss)},
               {"accuracy", evaluation.accuracy},
               {"counted", evaluation.counted},
               {"missing", evaluation.missing}};
  for (const ClientEvaluation& client : evaluation.clients) {
    json["clients"].push_back({{"client", client.client},
                               {"loss", client.loss},
                               {"accuracy", client.accuracy},
                               {"counted", client.counted}});
  }
  return json;
}

}  // namespace

std::string EventJson(const JobEvent& event) {
  const time_t seconds = event.unix_ms / 1000;
  struct tm utc;
  gmtime_r(&seconds, &utc);
  char time[40];
  const size_t end = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(time + end, sizeof time - end, ".%03dZ", static_cast<int>(event.unix_ms % 1000));
  Json json = {{"api", "rivulet/v1"}, {"kind", "Event"},  {"type", event.type},
               {"time", time},        {"job", event.job}, {"round", event.round}};
  Json data = Json::object();
  for (const auto& [key, value] : event.data) {
    std::visit([&data, &key = key](const auto& known) { data[key] = known; },
               value);  // NaN is written as null
  }
  json["data"] = std::move(data);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string SummaryJson(const JobView& view) {
  Json json = {{"api", "rivulet/v1"},
               {"kind", "RunSummary"},
               {"job", view.id},
               {"name", view.name},
               {"state", NameOf(view.state)},
               {"rounds", view.round},
               {"state_hash", view.state_hash},
               {"bytes_up", view.bytes_up},
               {"raw_bytes_up", view.raw_bytes_up},
               {"protocol_bytes_up", view.protocol_bytes_up},
               {"bytes_down", view.bytes_down},
               {"epsilon", view.epsilon},
               {"delta", view.delta},
               {"evaluates_in_clear", view.evaluates_in_clear},
               {"elapsed_ms", view.elapsed_ms},
               {"failures", Json::array()},
               {"evaluations", Json::array()},
               {"rounds_detail", Json::array()}};
  for (const FailureCount& failure : view.failures)
    json["failures"].push_back(
        {{"code", failure.code}, {"text", failure.text}, {"count", failure.count}});
  for (const EvaluationView& evaluation : view.evaluations)
    json["evaluations"].push_back(EvaluationJson(evaluation));
  for (const RoundView& round : view.rounds) {
    json["rounds_detail"].push_back(
        {{"round", round.round},
         {"attempt", round.attempt},
         {"state", NameOf(round.state)},
         {"cohort", round.cohort},
         {"reported", round.reported},
         {"failed", round.failed},
         {"missing", round.missing},
         {"loss", round.figures.loss},
         {"tokens", round.figures.tokens},
         {"examples", round.figures.examples},
         {"bytes_up", round.figures.bytes_up},
         {"raw_bytes_up", round.raw_bytes_up},
         {"protocol_bytes_up", round.figures.protocol_bytes_up},
         {"left_out", round.figures.left_out},
         {"bias", round.figures.bias ? Json(*round.figures.bias) : Json(nullptr)},
         {"milliseconds", round.figures.milliseconds}});
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string SummaryTable(const JobView& view, bool per_client) {
  std::string table = view.name + " " + view.id + ": " + std::string(NameOf(view.state)) +
                      " after round " + std::to_string(view.round) + " of " +
                      std::to_string(view.num_rounds) + "\n";
  const BeforeAfter ends = Ends(view);
  if (ends.after != nullptr && ends.after != ends.before) {
    table += Row("held out", "perplexity               accuracy");
    if (per_client) table += ClientRows(ends);
    table += Row("all clients", Change(ends.before->loss, ends.after->loss, ends.before->accuracy,
                                       ends.after->accuracy));
  }
  table += WithoutRow(view);
  int64_t tokens = 0, milliseconds = 0;
  for (const RoundView& round : view.rounds) {
    tokens += round.figures.tokens;
    milliseconds += round.figures.milliseconds;
  }
  const std::string unit(CountedUnit(view.document));
  char speed[100];
  std::snprintf(
      speed, sizeof speed, "%.1f s in all; %lld %s in %.1f s of rounds, %.0f %s/s",
      view.elapsed_ms / 1e3, static_cast<long long>(tokens), unit.c_str(), milliseconds / 1e3,
      milliseconds > 0 ? tokens * 1e3 / static_cast<double>(milliseconds) : 0.0, unit.c_str());
  if (tokens == 0) {  // nobody says how many there were
    std::snprintf(speed, sizeof speed, "%.1f s in all; %.1f s of rounds", view.elapsed_ms / 1e3,
                  milliseconds / 1e3);
  }
  table += SurvivorsRow(view) + DroppedRow(view) + FailureRows(view) + BiasRow(view);
  table += Row("bytes", HumanUplink(view.bytes_up, view.raw_bytes_up) + ", " +
                            HumanBytes(view.bytes_down) + " down") +
           ProtocolRow(view);
  if (view.epsilon > 0) {
    char delta[40];
    std::snprintf(delta, sizeof delta, "%.3g", view.delta);
    table += Row("privacy", "epsilon " + FormatEpsilon(view.epsilon) + " at delta " + delta);
  }
  if (view.evaluates_in_clear) {
    table += Row("privacy", "held-out figures left clients without noise: not in epsilon");
  }
  table += Row("time", speed);
  return table + Row("state", view.state_hash);
}

}  // namespace rivulet

#include "coordinator/cli/job_output.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "common/formats/json.h"
#include "common/job/counted_unit.h"
#include "common/terminal/progress.h"
#include "privacy/dp/accountant.h"

namespace rivulet {
namespace {

using nlohmann::json;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string Rfc3339(std::time_t seconds, int64_t milliseconds) {
  std::tm time{};
  gmtime_r(&seconds, &time);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &time);
  return fmt::format("{}.{:03}Z", text, milliseconds);
}
std::string Rfc3339(int64_t unix_ms) { return Rfc3339(unix_ms / 1000, unix_ms % 1000); }

json When(int64_t unix_ms) { return unix_ms == 0 ? json(nullptr) : json(Rfc3339(unix_ms)); }
json WhenSeconds(int64_t unix_s) { return unix_s == 0 ? json(nullptr) : json(Rfc3339(unix_s, 0)); }
json Figure(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

template <typename Names>
json List(const Names& names) {
  return json(std::vector<std::string>(names.begin(), names.end()));
}

json RoundOf(const v1::Round& round) {
  return {{"round", round.round()},
          {"attempt", round.attempt()},
          {"state", round.state()},
          {"cohort", List(round.cohort())},
          {"reported", List(round.reported())},
          {"failed", List(round.failed())},
          {"missing", List(round.missing())},
          {"needed", round.needed()},
          {"loss", Figure(round.loss())},
          {"examples", round.examples()},
          {"tokens", round.tokens()},
          {"bytes_up", round.bytes_up()},
          {"raw_bytes_up", round.raw_bytes_up()},
          {"protocol_bytes_up", round.protocol_bytes_up()},
          {"bytes_down", round.bytes_down()},
          {"bias", round.has_bias() ? Figure(round.bias()) : json(nullptr)},
          {"milliseconds", round.milliseconds()},
          {"state_hash", round.state_hash()},
          {"reason", round.reason()},
          {"left_out", List(round.left_out())}};
}

json EvaluationOf(const v1::EvaluationResult& result) {
  json clients = json::array();
  for (const auto& client : result.clients()) {
    clients.push_back({{"client", client.name()},
                       {"loss", Figure(client.loss())},
                       {"accuracy", Figure(client.accuracy())},
                       {"counted", client.counted()}});
  }
  return {{"round", result.round()},
          {"done", result.done()},
          {"loss", Figure(result.loss())},
          {"perplexity", Figure(std::exp(result.loss()))},
          {"accuracy", Figure(result.accuracy())},
          {"counted", result.counted()},
          {"clients", clients},
          {"missing", List(result.missing())}};
}

json SummaryOf(const v1::Job& job) {
  return {{"id", job.id()},
          {"name", job.name()},
          {"state", job.state()},
          {"exit_code", job.exit_code()},
          {"reason", job.reason()},
          {"waiting", job.waiting()},
          {"round", job.round()},
          {"num_rounds", job.num_rounds()},
          {"attempt", job.attempt()},
          {"eligible_connected", job.eligible_connected()},
          {"submitted", When(job.submitted_ms())},
          {"ended", When(job.ended_ms())},
          {"elapsed_seconds", static_cast<double>(job.elapsed_ms()) / 1000},
          {"bytes_up", job.bytes_up()},
          {"raw_bytes_up", job.raw_bytes_up()},
          {"protocol_bytes_up", job.protocol_bytes_up()},
          {"bytes_down", job.bytes_down()},
          {"epsilon", Figure(job.epsilon())},
          {"delta", job.delta()},
          {"evaluates_in_clear", job.evaluates_in_clear()},
          {"excluded", List(job.excluded())},
          {"state_hash", job.state_hash()}};
}

json NodeOf(const v1::Node& node) {
  return {{"name", node.name()},
          {"organisation", node.organisation()},
          {"connected", node.connected()},
          {"task", node.task()},
          {"queued", node.queued()},
          {"last_seen", When(node.last_seen_ms())},
          {"software", node.software()},
          {"certificate_expires", WhenSeconds(node.certificate_expiry_s())},
          {"certificate_serial", node.certificate_serial()}};
}

// A line about rows that did not fit into the answer; none when all are there.
std::string LeftOut(uint64_t count, const char* what) {
  return count == 0 ? "" : fmt::format("  ({} older {} left out)\n", count, what);
}

std::string Elapsed(const v1::Job& job) {
  constexpr int64_t kMost = int64_t{1} << 43;  // milliseconds, as nanoseconds below 2^63
  return HumanDuration(std::chrono::milliseconds(std::clamp<int64_t>(job.elapsed_ms(), 0, kMost)));
}

// Whose updates a robust rule gave no part in the round.
std::string LeftOutNames(const v1::Round& round) {
  std::string names;
  for (const std::string& name : round.left_out()) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "" : "  left out: " + names;
}

}  // namespace

std::string JobTable(const v1::ListReply& jobs) {
  std::string text = fmt::format("{:<16} {:<20} {:<9} {:>9} {:>9}  {}\n", "ID", "NAME", "STATE",
                                 "ROUND", "ELAPSED", "NOTE");
  text += LeftOut(jobs.left_out(), "jobs");
  for (const v1::Job& job : jobs.jobs()) {
    text += fmt::format("{:<16} {:<20} {:<9} {:>9} {:>9}  {}\n", job.id(), job.name(), job.state(),
                        fmt::format("{}/{}", job.round(), job.num_rounds()), Elapsed(job),
                        job.waiting().empty() ? job.reason() : job.waiting());
  }
  return text;
}

std::string JobListJson(const v1::ListReply& jobs) {
  json items = json::array();
  for (const v1::Job& job : jobs.jobs()) items.push_back(SummaryOf(job));
  return Dump({{"api", "rivulet/v1"},
               {"kind", "JobList"},
               {"items", items},
               {"left_out", jobs.left_out()}});
}

std::string JobText(const v1::Job& job) {
  std::string text = fmt::format("job         {} ({})\nstate       {}\nround       {}/{}\n",
                                 job.id(), job.name(), job.state(), job.round(), job.num_rounds());
  if (!job.waiting().empty()) text += fmt::format("            {}\n", job.waiting());
  if (!job.reason().empty()) text += fmt::format("reason      {}\n", job.reason());
  text += fmt::format("elapsed     {}\nbytes       {}, {} down\nstate hash  {}\n", Elapsed(job),
                      HumanUplink(job.bytes_up(), job.raw_bytes_up()),
                      HumanBytes(static_cast<uint64_t>(job.bytes_down())), job.state_hash());
  if (job.protocol_bytes_up() > 0) {
    text += fmt::format("masking     {} up in keys and shares\n",
                        HumanBytes(static_cast<uint64_t>(job.protocol_bytes_up())));
  }
  if (job.epsilon() > 0) {
    text += fmt::format(
        "privacy     epsilon {} at delta {:.3g}{}\n", FormatEpsilon(job.epsilon()), job.delta(),
        job.target_epsilon() > 0 ? fmt::format(" of {:.3g}", job.target_epsilon()) : std::string());
  }
  if (job.evaluates_in_clear()) {
    text +=
        "privacy     held-out figures left clients without noise: epsilon does not count them\n";
  }
  for (const std::string& client : job.excluded()) text += "excluded    " + client + "\n";
  text += LeftOut(job.rounds_left_out(), "rounds");
  for (const v1::Round& round : job.rounds()) {
    text += fmt::format(
        "  round {:>4}.{} {:<9} {}/{} reported  loss {:.4f}{}  {} {}  {} s{}{}\n", round.round(),
        round.attempt(), round.state(), round.reported_size(), round.cohort_size(), round.loss(),
        round.has_bias() ? fmt::format("  bias {:.4f}", round.bias()) : "", round.tokens(),
        CountedUnit(job.document()), static_cast<double>(round.milliseconds()) / 1000,
        LeftOutNames(round), round.reason().empty() ? "" : "  " + round.reason());
  }
  text += LeftOut(job.evaluations_left_out(), "evaluations");
  for (const v1::EvaluationResult& result : job.evaluations()) {
    text +=
        fmt::format("  after round {:>4}: loss {:.4f}  perplexity {:.2f}  accuracy {:.4f}  {}\n",
                    result.round(), result.loss(), std::exp(result.loss()), result.accuracy(),
                    result.done() ? "" : "(under way)");
  }
  for (const v1::FailureCount& failure : job.failures()) {
    text +=
        fmt::format("  failed {} times: {}: {}\n", failure.count(), failure.code(), failure.text());
  }
  return text;
}

std::string JobJson(const v1::Job& job) {
  json value = SummaryOf(job);
  value["api"] = "rivulet/v1";
  value["kind"] = "Job";
  value["rounds"] = json::array();
  for (const v1::Round& round : job.rounds()) value["rounds"].push_back(RoundOf(round));
  value["rounds_left_out"] = job.rounds_left_out();
  value["evaluations"] = json::array();
  for (const auto& result : job.evaluations()) value["evaluations"].push_back(EvaluationOf(result));
  value["evaluations_left_out"] = job.evaluations_left_out();
  value["failures"] = json::array();
  for (const auto& failure : job.failures()) {
    value["failures"].push_back(
        {{"code", failure.code()}, {"text", failure.text()}, {"count", failure.count()}});
  }
  // Bounded: printing recurses as deep as the document is nested.
  const auto document = ParseJson(job.document(), {.depth = 8});
  value["document"] = document.ok() ? *document : json(nullptr);
  return Dump(value);
}

std::string NodeTable(const v1::NodesReply& nodes) {
  std::string text = fmt::format("{:<24} {:<16} {:<10} {:<32} {}\n", "NAME", "ORGANISATION",
                                 "STATE", "TASK", "VERSION");
  for (const v1::Node& node : nodes.nodes()) {
    text += fmt::format("{:<24} {:<16} {:<10} {:<32} {}\n", node.name(), node.organisation(),
                        node.connected() ? "connected" : "gone", node.task(), node.software());
  }
  return text;
}

std::string NodeListJson(const v1::NodesReply& nodes) {
  json items = json::array();
  for (const v1::Node& node : nodes.nodes()) items.push_back(NodeOf(node));
  return Dump({{"api", "rivulet/v1"}, {"kind", "NodeList"}, {"items", items}});
}

std::string EventJson(const v1::JobEvent& event) {
  json data = json::object();
  for (const v1::JobEvent::Value& value : event.data()) {
    if (value.has_integer()) data[value.key()] = value.integer();
    if (value.has_real()) data[value.key()] = Figure(value.real());
    if (value.has_text()) data[value.key()] = value.text();
  }
  return Dump({{"api", "rivulet/v1"},
               {"kind", "Event"},
               {"type", event.type()},
               {"time", Rfc3339(event.unix_ms())},
               {"job", event.job()},
               {"round", event.round()},
               {"data", data}});
}

}  // namespace rivulet

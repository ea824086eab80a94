#include "coordinator/cli/exit_codes.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

namespace rivulet {
namespace {

struct Row {
  int code;
  const char* meaning;
};
constexpr Row kRows[] = {
    {0, "done; also a daemon's clean stop after SIGTERM"},
    {1, "a failure not listed below"},
    {2, "usage: unknown option, missing argument, no confirmation"},
    {3, "configuration or job file: unknown key, bad value, contradicting keys"},
    {4, "connection or identity: unreachable, certificate expired or foreign, role, port in use"},
    {5, "the job failed or stalled"},
    {6, "privacy budget exhausted"},
    {8, "state directory damaged, locked, or of another schema"},
    {9, "refused by policy; wrong base model"},
    {10, "memory or disk would not suffice"},
    {130,
     "interrupted by SIGINT, a simulation also by SIGTERM; `job watch` leaves the job running"},
};

}  // namespace

std::string ExitCodesText() {
  std::string text = "Exit codes, the same in every program:\n";
  for (const Row& row : kRows) text += fmt::format("  {:<4} {}\n", row.code, row.meaning);
  return text;
}

std::string ExitCodesJson() {
  nlohmann::json items = nlohmann::json::array();
  for (const Row& row : kRows) items.push_back({{"code", row.code}, {"meaning", row.meaning}});
  return nlohmann::json{{"api", "rivulet/v1"}, {"kind", "ExitCodes"}, {"items", items}}.dump();
}

}  // namespace rivulet

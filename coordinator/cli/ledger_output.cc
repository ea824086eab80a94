#include "coordinator/cli/ledger_output.h"

#include <spdlog/fmt/fmt.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "privacy/dp/accountant.h"
#include "privacy/dp/ledger.h"

namespace rivulet {
namespace {

using nlohmann::json;

struct ShownRelease {
  LedgerRow row;
  double target_epsilon = 0;
};

absl::StatusOr<std::vector<ShownRelease>> ReleasesOf(const v1::LedgerReply& reply) {
  std::vector<ShownRelease> releases;
  for (const v1::LedgerReply::Row& wire : reply.rows()) {
    RV_ASSIGN_OR_RETURN(LedgerRow row, LedgerRowFrom(wire.row()));
    releases.push_back({std::move(row), wire.target_epsilon()});
  }
  return releases;
}

}  // namespace

absl::StatusOr<std::string> LedgerTable(const v1::LedgerReply& reply) {
  RV_ASSIGN_OR_RETURN(const std::vector<ShownRelease> releases, ReleasesOf(reply));
  std::string text = fmt::format(
      "{:<14} {:>5}  {:<20} {:<14} {:>9} {:>9} {:>7} {:>10} {:>10}  {}\n", "JOB", "ROUND",
      "MECHANISM", "RELATION", "SURVIVORS", "CLIP", "Z", "EPSILON", "(RDP)", "DELTA");
  std::map<std::string, const ShownRelease*> last;  // by data set
  for (const ShownRelease& release : releases) {
    const LedgerRow& row = release.row;
    text += fmt::format(
        "{:<14} {:>5}  {:<20} {:<14} {:>9} {:>9.4g} {:>7.4g} {:>10} {:>10}  {:.3g}\n", row.job,
        row.round, NameOf(row.mechanism), NameOf(row.relation), row.survivors, row.clip_norm, row.z,
        FormatEpsilon(row.eps_pld), FormatEpsilon(row.eps_rdp), row.delta);
    last[row.data_set] = &release;
  }
  for (const auto& [data_set, release] : last) {
    text += fmt::format("data set {}: epsilon {} at delta {:.3g}", data_set,
                        FormatEpsilon(release->row.eps_pld), release->row.delta);
    text += release->target_epsilon > 0 ? fmt::format(" of {:.3g}\n", release->target_epsilon)
                                        : std::string("\n");
  }
  return text;
}

absl::StatusOr<std::string> LedgerJson(const v1::LedgerReply& reply) {
  RV_RETURN_IF_ERROR(ReleasesOf(reply).status());
  json items = json::array();
  for (const v1::LedgerReply::Row& wire : reply.rows()) {
    json row = json::parse(wire.row(), nullptr, false);
    if (wire.target_epsilon() > 0) row["target_epsilon"] = wire.target_epsilon();
    items.push_back(std::move(row));
  }
  const json list = {
      {"api", "rivulet/v1"}, {"kind", "Ledger"}, {"items", items}, {"left_out", reply.left_out()}};
  return list.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace rivulet

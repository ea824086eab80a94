#include "privacy/dp/budget.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <tuple>

namespace rivulet {
namespace {

std::string Plain(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

bool IsWholeRun(DpMechanism mechanism) {
  return mechanism == DpMechanism::kTree || mechanism == DpMechanism::kBanded;
}

// A tree or a factorisation is one event however many of its rounds have been released. Trees that
// follow each other in a job have `steps` rounds each.
using Run = std::tuple<std::string, DpMechanism, double, int64_t, int64_t, int64_t, int64_t>;
Run RunOf(const LedgerRow& row) {
  return {row.job,
          row.mechanism,
          row.z,
          row.steps,
          row.max_participation,
          row.min_separation,
          row.mechanism == DpMechanism::kTree ? (row.round - 1) / row.steps : 0};
}

absl::Status CheckUnit(PrivacyUnit unit, PrivacyUnit wanted) {
  if (unit == wanted) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "ledger: got a row about each " + std::string(NameOf(unit)) + ", want each " +
                    std::string(NameOf(wanted)) + ": the two do not add up");
}

absl::Status ChargeRow(const LedgerRow& row, std::set<Run>& runs, Accountant& accountant) {
  RV_RETURN_IF_ERROR(CheckUnit(row.unit, accountant.unit()));
  RV_ASSIGN_OR_RETURN(const PrivacyEvent event, row.Event());
  if (IsWholeRun(row.mechanism) && !runs.insert(RunOf(row)).second) return absl::OkStatus();
  return accountant.Compose(event);
}

absl::StatusOr<Accountant> Charged(std::span<const LedgerRow> rows, PrivacyUnit unit,
                                   std::set<Run>& runs) {
  Accountant accountant(unit);
  for (const LedgerRow& row : rows) RV_RETURN_IF_ERROR(ChargeRow(row, runs, accountant));
  return accountant;
}

absl::Status CheckLimit(const BudgetLimit& limit) {
  if (limit.epsilon > 0 && std::isfinite(limit.epsilon)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "budget: epsilon: got " + Plain(limit.epsilon) + ", want a finite number above 0");
}

void Warn(const Epsilon& after, std::vector<std::string>& warnings) {
  if (after.order_at_end) {
    warnings.push_back("the best Renyi order " + Plain(after.rdp_order) +
                       " is at the end of the list: the cross-check is loose");
  }
}

}  // namespace

absl::StatusOr<std::string> CheckDelta(double delta, int64_t population) {
  if (population < 1) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "budget: population: got " + std::to_string(population) + ", want 1 or more");
  }
  const double whole = 1 / static_cast<double>(population);
  if (!(delta > 0 && delta < whole)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "budget: delta: got " + Plain(delta) +
                      ", want above 0 and below 1/population = " + Plain(whole));
  }
  if (delta <= 0.1 * whole) return std::string();
  return "delta " + Plain(delta) + " is above a tenth of 1/population = " + Plain(whole);
}

absl::StatusOr<Accountant> AccountantOf(std::span<const LedgerRow> rows) {
  std::set<Run> runs;
  return Charged(rows, rows.empty() ? PrivacyUnit::kClient : rows.front().unit, runs);
}

absl::StatusOr<BudgetAnswer> PlanRound(const BudgetLimit& limit, std::span<const LedgerRow> rows,
                                       int64_t closed_rounds, const LedgerRow& planned) {
  RV_RETURN_IF_ERROR(CheckLimit(limit));
  RV_ASSIGN_OR_RETURN(const std::string delta_warning, CheckDelta(limit.delta, limit.population));
  if (static_cast<int64_t>(rows.size()) != closed_rounds) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "ledger: got " + std::to_string(rows.size()) + " rows, want one for each of " +
                      std::to_string(closed_rounds) + " closed rounds: nothing runs until it has");
  }
  std::set<Run> runs;
  RV_ASSIGN_OR_RETURN(const Accountant spent, Charged(rows, planned.unit, runs));
  Accountant total = spent;
  RV_RETURN_IF_ERROR(ChargeRow(planned, runs, total));
  BudgetAnswer answer;
  RV_ASSIGN_OR_RETURN(answer.before, spent.EpsilonAt(limit.delta));
  RV_ASSIGN_OR_RETURN(answer.after, total.EpsilonAt(limit.delta));
  if (!(answer.after.pld <= limit.epsilon)) {
    return WithExit(
        Refuse(absl::StatusCode::kResourceExhausted,
               "privacy budget: got epsilon " + FormatEpsilon(answer.after.pld) +
                   " after this round, want at most " + Plain(limit.epsilon) + " at delta " +
                   Plain(limit.delta) + "; " + FormatEpsilon(answer.before.pld) + " is spent"),
        ExitCode::kBudget);
  }
  if (!delta_warning.empty()) answer.warnings.push_back(delta_warning);
  Warn(answer.after, answer.warnings);
  return answer;
}

}  // namespace rivulet

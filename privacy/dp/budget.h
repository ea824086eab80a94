#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/dp/accountant.h"
#include "privacy/dp/ledger.h"

namespace rivulet {

// What a data set may lose.
struct BudgetLimit {
  double epsilon = 0;      // nats, > 0
  double delta = 0;        // below 1/population
  int64_t population = 0;  // units that the data set holds
};

struct BudgetAnswer {
  Epsilon after;  // with the planned round
  Epsilon before;
  std::vector<std::string> warnings;  // one sentence each
};

// delta must be below 1/population: at 1/N one unit's data may be published outright.
// Errors: InvalidArgument. Returns a warning sentence above 0.1/population, "" below.
absl::StatusOr<std::string> CheckDelta(double delta, int64_t population);

// The accountant that a data set's rows add up to. Rows of a tree or a factorisation with equal
// parameters and job are one event.
// Errors: FailedPrecondition when rows differ in relation or unit; InvalidArgument for a bad row.
absl::StatusOr<Accountant> AccountantOf(std::span<const LedgerRow> rows);

// May the planned round run? Pure: rows in, answer out. Fails closed.
//   rows           all rows of the data set, oldest first
//   closed_rounds  rounds that the state store says were closed on this data set (released or not)
//   planned        the round to come, fields of the outcome (survivors, eps_*) not read
// Errors: DataLoss when a closed round has no row or a row no round; ResourceExhausted (exit
// kBudget) when epsilon after the round would exceed the limit; those of CheckDelta, AccountantOf.
absl::StatusOr<BudgetAnswer> PlanRound(const BudgetLimit& limit, std::span<const LedgerRow> rows,
                                       int64_t closed_rounds, const LedgerRow& planned);

}  // namespace rivulet

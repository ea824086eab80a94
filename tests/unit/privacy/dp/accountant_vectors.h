#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "privacy/dp/rdp.h"
#include "tests/unit/privacy/dp/golden.h"

namespace rivulet {

// The entries of dp_accountant.json of one accountant.
inline std::vector<nlohmann::json> VectorsOf(const std::string& accountant) {
  std::vector<nlohmann::json> rows;
  for (const nlohmann::json& row : Golden("dp_accountant")["vectors"]) {
    if (row["accountant"] == accountant) rows.push_back(row);
  }
  return rows;
}

inline std::vector<double> OrdersOf(const nlohmann::json& row) {
  const std::string name = row["orders"];
  std::vector<double> orders;
  if (name.starts_with("integer_2_")) {
    for (int order = 2; order <= std::stoi(name.substr(10)); ++order) orders.push_back(order);
  } else if (name == "1.001, 1.002, ... 30.999") {
    for (int order = 1001; order <= 30999; ++order) orders.push_back(order / 1000.0);
  } else {
    orders = Golden("dp_accountant")["order_lists"][name].get<std::vector<double>>();
  }
  return orders;
}

// Checks what `expect` says of an epsilon, at the entry's tolerance.
inline void ExpectEpsilon(const nlohmann::json& row, double epsilon) {
  const nlohmann::json& expect = row["expect"];
  const double tolerance = row["rel_tol"];
  if (expect.contains("epsilon")) {
    const double want = expect["epsilon"];
    EXPECT_NEAR(epsilon, want, tolerance * want) << row["id"];
  }
  EXPECT_LE(epsilon, expect.value("epsilon_max", HUGE_VAL)) << row["id"];
  EXPECT_GE(epsilon, expect.value("epsilon_min", 0.0)) << row["id"];
}

}  // namespace rivulet

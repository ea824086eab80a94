#pragma once

namespace rivulet {

// SHA-256 of tests/golden/vectors/dp_accountant.json, the known answers that these accountants
// meet: every row of a ledger names it. A test compares it with the file.
inline constexpr char kKnownAnswersSha256[] =
    "244ed71e682604fef30f62773ceaf970fda97ca4841d7b77b05830fb943e4598";

}  // namespace rivulet

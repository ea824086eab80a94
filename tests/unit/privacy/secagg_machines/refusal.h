#pragma once

#include <gtest/gtest.h>

#include "tests/unit/privacy/secagg_machines/cohort.h"

namespace rivulet::secagg {

// The session refused for `reason`, says so to the server, and is of no further use.
inline void ExpectRefused(const ClientSession& session, const absl::Status& status, Reason reason) {
  ASSERT_TRUE(ReasonOf(status).has_value()) << status;
  EXPECT_EQ(NameOf(*ReasonOf(status)), NameOf(reason)) << status;
  EXPECT_EQ(session.phase(), ClientSession::Phase::kRefused);
  const auto abort = Decode<Abort>(session.AbortMessage());
  ASSERT_TRUE(abort.ok()) << abort.status();
  EXPECT_EQ(abort->reason, reason);
}

inline void ExpectRefusal(ClientSession& session, const absl::Status& status, Reason reason) {
  ExpectRefused(session, status, reason);
  Forward any{.sid = session.sid()};
  EXPECT_EQ(ReasonOf(session.OnForward(any)), reason);
  EXPECT_EQ(ReasonOf(session.Handle("").status()), reason);
}

template <typename T>
void ExpectRefusal(ClientSession& session, const absl::StatusOr<T>& outcome, Reason reason) {
  ExpectRefusal(session, outcome.status(), reason);
}

}  // namespace rivulet::secagg

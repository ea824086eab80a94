#include "common/suggest.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

const std::vector<std::string>& Verbs() {
  static const std::vector<std::string> verbs = {"submit", "simulate", "show", "stop", "list"};
  return verbs;
}

TEST(Nearest, FindsTheNameMeant) {
  EXPECT_EQ(Nearest("sumbit", Verbs()), "submit");     // neighbours swapped
  EXPECT_EQ(Nearest("simulat", Verbs()), "simulate");  // one left out
  EXPECT_EQ(Nearest("lisst", Verbs()), "list");        // one too many
  EXPECT_EQ(Nearest("shiw", Verbs()), "show");         // one wrong
  EXPECT_EQ(DidYouMean("sto", Verbs()), "; did you mean 'stop'?");
}

TEST(Nearest, GuessesNothingWhenNothingIsNear) {
  EXPECT_EQ(Nearest("download", Verbs()), "");
  EXPECT_EQ(DidYouMean("download", Verbs()), "");
  EXPECT_EQ(Nearest(std::string(1 << 20, 's'), Verbs()), "");
  EXPECT_EQ(Nearest("stop", {}), "");
}

}  // namespace
}  // namespace rivulet

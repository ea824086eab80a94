// The agent, but for its rounding: drawn by seed, as in a simulation, so that the two can be
// compared to the last bit where updates are rounded at random, plain or under masks; and it dies
// when its environment says so. It runs only when it is told so, by an option that the agent's own
// program does not know.
//   rivulet-seeded-agent --seeded-rounding run ...
#include <algorithm>
#include <cstdio>
#include <string_view>

#include "client/agent_program.h"
#include "client/runtime/task_work.h"
#include "simulations/rounding/seeded_rounding.h"
#include "tests/integration/frail_link.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  if (argc < 2 || std::string_view(argv[1]) != "--seeded-rounding") {
    std::fputs("rivulet-seeded-agent: for tests: want --seeded-rounding first\n", stderr);
    return 2;
  }
  std::rotate(argv + 1, argv + 2, argv + argc);
  return AgentMain(
      argc - 1, argv,
      [](const Policy& policy, const std::string& name, const auto& state_directory) {
        return NewTaskWork(policy, name, state_directory, SeededRounding());
      },
      MakeFrail, SeededRounding());
}

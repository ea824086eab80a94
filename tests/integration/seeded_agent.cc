// The agent, but for its rounding: drawn by seed, as in a simulation, so that the two can be
// compared to the last bit where a codec rounds at random.
#include "client/agent_program.h"
#include "client/runtime/task_work.h"
#include "client/upload/seeded_rounding.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  return AgentMain(argc, argv,
                   [](const Policy& policy, const std::string& name, const auto& state_directory) {
                     return NewTaskWork(policy, name, state_directory, SeededRounding());
                   });
}

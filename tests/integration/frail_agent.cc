// The agent with real models, but for a link on which it can be told to die.
#include "client/agent_program.h"
#include "client/runtime/task_work.h"
#include "tests/integration/frail_link.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  return AgentMain(
      argc, argv,
      [](const Policy& policy, const std::string& name, const auto& state_directory) {
        return NewTaskWork(policy, name, state_directory);
      },
      MakeFrail);
}

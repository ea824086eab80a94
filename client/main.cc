#include "client/agent_program.h"
#include "client/runtime/task_work.h"
#include "peft/trainer/process.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  PrepareProcess();  // before any thread has memory of its own
  return AgentMain(argc, argv,
                   [](const Policy& policy, const std::string& name, const auto& state_directory) {
                     return NewTaskWork(policy, name, state_directory);
                   });
}

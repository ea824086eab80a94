#include "client/agent_program.h"
#include "client/runtime/task_work.h"

int main(int argc, char** argv) { return rivulet::AgentMain(argc, argv, rivulet::NewTaskWork); }

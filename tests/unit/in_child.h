#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace rivulet {

// What `body` returns in a child process; 128 + the signal that ended it.
template <typename Body>
int InChild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace rivulet

// Preloaded into one of our programs, runs its main many times and starts it once: libtorch and
// what it draws in take about a second to load. The program waits where main would begin and
// answers each command line with a fork that goes on from there. warm_start.py speaks to it.
//
// A command on descriptor 0 is one line: a number of bytes, then so many, NUL behind each part: the
// folder to run in, the files for stdout and stderr, the words behind the program's name. The
// answer on descriptor 1 is one line: the exit status, negative the signal.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using Main = int (*)(int, char**, char**);
Main real_main;

void Require(bool done, const char* what) {
  if (done) return;
  std::perror(what);
  std::_Exit(125);
}

void Open(const char* path, int flags, int as) {
  const int file = open(path, flags, 0600);
  Require(file >= 0 && dup2(file, as) == as && close(file) == 0, path);
}

// False at the end of the input.
bool Read(std::string& parts) {
  std::size_t size = 0;
  if (std::scanf("%zu", &size) != 1 || std::getchar() != '\n') return false;
  parts.resize(size);
  return std::fread(parts.data(), 1, size, stdin) == size;
}

int Serve(int, char** argv, char** environment) {
  unsetenv("LD_PRELOAD");  // what our program starts in turn starts as ever
  std::string parts;
  while (Read(parts)) {
    const pid_t child = fork();
    Require(child >= 0, "fork");
    if (child == 0) {
      std::vector<char*> words;
      for (std::size_t at = 0; at < parts.size(); at = parts.find('\0', at) + 1) {
        words.push_back(&parts[at]);
      }
      Require(words.size() >= 3 && chdir(words[0]) == 0, "chdir");
      const std::string out = words[1], err = words[2];
      Open("/dev/null", O_RDONLY, STDIN_FILENO);
      Open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
      Open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
      words.erase(words.begin(), words.begin() + 2);
      words[0] = argv[0];
      const int count = static_cast<int>(words.size());
      words.push_back(nullptr);
      std::exit(real_main(count, words.data(), environment));
    }
    int status = 0;
    Require(waitpid(child, &status, 0) == child, "waitpid");
    std::printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

// What the C library calls between the constructors of all libraries and main.
extern "C" int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(),
                                 void (*loader_fini)(), void* stack_end) {
  real_main = main;
  const auto start =
      reinterpret_cast<decltype(&__libc_start_main)>(dlsym(RTLD_NEXT, "__libc_start_main"));
  return start(Serve, argc, argv, init, fini, loader_fini, stack_end);
}

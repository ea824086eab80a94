#include "tests/integration/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace rivulet {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void Redirect(const std::string& path, int to) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  dup2(fd, to);
  close(fd);
}

// What a sanitizer saw in a process that is killed shows in no exit code.
void ExpectNoReport(const std::string& errors) {
  for (const char* sign : {"Sanitizer: ", "runtime error: "}) {
    const size_t at = errors.find(sign);
    if (at != std::string::npos) ADD_FAILURE() << errors.substr(errors.rfind('\n', at) + 1, 8000);
  }
}

}  // namespace

Process::Process(const std::vector<std::string>& command, const std::filesystem::path& output,
                 const Environment& environment)
    : output_(output) {
  unlink((output_.string() + ".out").c_str());  // or its old lines could be read as new ones
  unlink((output_.string() + ".err").c_str());
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  Redirect("/dev/null", 0);
  Redirect(output_.string() + ".out", 1);
  Redirect(output_.string() + ".err", 2);
  execv(words[0], words.data());
  _exit(127);
}

Process::~Process() {
  if (pid_ <= 0) return;
  Signal(SIGKILL);
  Wait();
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), output_(std::move(other.output_)) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(output_, other.output_);
  return *this;
}

void Process::Signal(int signal) { kill(pid_, signal); }

int Process::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = 0;
  ExpectNoReport(err());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Process::out() const { return ReadAll(output_.string() + ".out"); }
std::string Process::err() const { return ReadAll(output_.string() + ".err"); }

void Process::LimitFileSize(uint64_t bytes) {
  const rlimit limit{bytes, RLIM_INFINITY};
  prlimit(pid_, RLIMIT_FSIZE, &limit, nullptr);
}

bool Process::ended() const {
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return info.si_pid != 0;
}

std::string Process::WaitForLine(const std::string& begin) {
  std::string rest;
  WaitUntil([&] {
    const bool over = ended();  // asked first: nothing is written after it
    std::istringstream lines(out());
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(begin) || lines.eof()) continue;
      rest = line.substr(begin.size());
      return true;
    }
    return over;
  });
  return rest;
}

bool Process::WaitForError(const std::string& text) {
  bool found = false;
  WaitUntil([&] {
    const bool over = ended();
    found = err().find(text) != std::string::npos;
    return found || over;
  });
  return found;
}

Finished RunToEnd(const std::vector<std::string>& command, const std::filesystem::path& output) {
  Process process(command, output);
  Finished finished;
  finished.code = process.Wait();
  finished.out = process.out();
  finished.err = process.err();
  return finished;
}

bool WaitUntil(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return holds();  // the machine may have slept
}

}  // namespace rivulet

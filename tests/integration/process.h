#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace rivulet {

// A child process whose output goes to files. Killed in the destructor. Not thread safe.
class Process {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;
  Process() = default;
  // `output`: "<output>.out" and "<output>.err".
  Process(const std::vector<std::string>& command, const std::filesystem::path& output,
          const Environment& environment = {});
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  void Signal(int signal);
  int Wait();  // exit code, or 128 + the signal that ended it; a sanitizer's report fails the test
  bool running() const { return pid_ > 0; }
  bool ended() const;  // by itself or by a signal, and not yet waited for
  // From now on it cannot make any file longer than this.
  void LimitFileSize(uint64_t bytes);
  std::string out() const;
  std::string err() const;
  // Waits until a line of stdout begins so; its rest. Empty when the process ended or 20 s passed.
  std::string WaitForLine(const std::string& begin);
  // Waits until stderr holds the text; false when the process ended or 20 s passed.
  bool WaitForError(const std::string& text);

 private:
  pid_t pid_ = 0;
  std::filesystem::path output_;
};

struct Finished {
  int code = 0;
  std::string out;
  std::string err;
};
Finished RunToEnd(const std::vector<std::string>& command, const std::filesystem::path& output);

// Asks every 20 ms until the answer is true; false when it is not within 20 s.
bool WaitUntil(const std::function<bool()>& holds);

}  // namespace rivulet

// Runs a fuzz target over every file of the folders given: the corpus as an ordinary test.
// usage: fuzz_replay TARGET FOLDER...
#include "tests/fuzz/replay.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

int main(int count, char** arguments) {
  const auto target = count < 2 ? ReplayTargets().end() : ReplayTargets().find(arguments[1]);
  if (target == ReplayTargets().end()) {
    std::fprintf(stderr, "fuzz_replay: want one of %zu targets\n", ReplayTargets().size());
    return 2;
  }
  int files = 0;
  for (int argument = 2; argument < count; ++argument) {
    for (const auto& entry : std::filesystem::directory_iterator(arguments[argument])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), {});
      target->second(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
      ++files;
    }
  }
  std::printf("%d files\n", files);
  return files == 0 ? 1 : 0;
}

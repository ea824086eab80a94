#include "common/settings/daemon.h"
#include "tests/fuzz/scratch_file.h"

using namespace rivulet;

// A configuration file of any content is refused with the exit code of one, or sets what it names.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = ScratchFile("daemon.toml", {reinterpret_cast<const char*>(data), size});
  DaemonSettings daemon{.tls_dir = "t", .state_dir = "s"};
  std::string listen;
  int grace = 90;
  Settings keys;
  daemon.AddTo(keys);
  keys.Add("listen.agents", &listen, "");
  keys.Add("rounds.return-grace", &grace, "");
  const absl::Status loaded = keys.Load(file);
  Require(loaded.ok() || ExitCodeOf(loaded) == ExitCode::kConfig);
  Require(loaded.ok() || loaded.message().size() < 16 * size + 512);
  return 0;
}

#include <gtest/gtest.h>

#include <cstdlib>

#include "common/io/file.h"
#include "common/job/job_keys.h"

namespace rivulet {
namespace {

constexpr char kPage[] = RIVULET_SOURCE_DIR "/docs/job_toml.md";

std::string EscapePipes(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

std::string AliasText(const JobKey& key) {
  std::string text(key.alias);
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos;) text.replace(at, 1, "`, `");
  return text;
}

std::string ReferencePage() {
  std::string page =
      "# `job.toml`\n\n"
      "Every key with its default, what it may be and what it does. The same file serves `rivulet "
      "simulate` and\n"
      "`rivulet job submit`; `rivulet config show job.toml` prints it with all defaults filled in. "
      "Keys are\n"
      "kebab-case, underscores are accepted, unknown keys are errors. Precedence: `--set "
      "section.key=value`, then\n"
      "environment (`RIVULET_SECTION__KEY`), then file, then default. Exactly one of `[lora]`, "
      "`[adapter]`, `[full]` and\n"
      "`[prompt]`.\n\n"
      "A simulation and a federation of agents reach the same state, bit for bit, from one file "
      "when cohorts are drawn\n"
      "from the same clients: set `job.min-available-clients` to their number (a simulation waits "
      "for all by itself) and\n"
      "`data.labels` to all classes. Not with `job.selection` `capability`, which goes by the "
      "memory of each agent's machine.\n\n"
      "This page is printed from the table of keys; a test compares both.\n";
  std::string section;
  const JobSpec defaults;
  for (const JobKey& key : JobKeys()) {
    const std::string path(key.path);
    if (const std::string own = path.substr(0, path.find('.')); own != section) {
      section = own;
      page +=
          "\n## `[" + section + "]`\n\n| key | default | may be | meaning |\n|---|---|---|---|\n";
    }
    page += "| `" + path.substr(section.size() + 1) + "` | `" + ValueText(key, defaults) + "` | " +
            EscapePipes(WantedOf(key)) + " | " + EscapePipes(std::string(key.help));
    if (!key.alias.empty()) page += " Also read as `" + AliasText(key) + "`.";
    page += " |\n";
  }
  return page;
}

// RIVULET_UPDATE_DOCS=1 rewrites the page instead.
TEST(JobReference, PageEqualsTheTableOfKeys) {
  if (std::getenv("RIVULET_UPDATE_DOCS") != nullptr) {
    ASSERT_TRUE(WriteFileAtomically(kPage, ReferencePage()).ok());
  }
  const auto page = ReadFile(kPage, 1 << 20);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(*page, ReferencePage()) << "run this test with RIVULET_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace rivulet

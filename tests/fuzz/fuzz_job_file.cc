// Feeds bytes to the two readers of a job. A text that is accepted must print back: the file as a
// complete file that reads the same, the document as the very same bytes.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/job/job_document.h"
#include "common/job/job_file.h"
#include "tests/fuzz/require.h"

namespace {

void CheckFile(std::string_view text) {
  const auto job = rivulet::ParseJob(text, "fuzz.toml");
  if (!job.ok() || !job->Validate().ok()) return;
  const std::string printed = rivulet::JobToml(job->spec);
  const auto again = rivulet::ParseJob(printed, "printed.toml");
  Require(again.ok() && rivulet::JobToml(again->spec) == printed);
  rivulet::JobDocument document;
  document.spec = job->spec;
  document.base_hash = "sha256:" + std::string(64, '0');
  document.model_config = "{}";
  Require(rivulet::ParseJobDocument(rivulet::JobDocumentText(document)).ok());
}

void CheckDocument(std::string_view text) {
  const auto document = rivulet::ParseJobDocument(text);
  if (document.ok()) Require(rivulet::JobDocumentText(*document) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  text.starts_with('{') ? CheckDocument(text) : CheckFile(text);
  return 0;
}

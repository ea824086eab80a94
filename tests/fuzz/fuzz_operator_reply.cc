#include <nlohmann/json.hpp>

#include "coordinator/cli/job_output.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

template <typename Message>
std::optional<Message> Parsed(std::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
  return message;
}

void CheckJson(const std::string& text) {
  Require(nlohmann::json::accept(text) && text.find('\n') == text.npos);
}

}  // namespace

// What a coordinator answers to an operator (which answer: the first byte): whatever it is, it is
// printed, in JSON as one line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      if (const auto job = Parsed<v1::Job>(bytes)) {
        Require(!JobText(*job).empty());
        CheckJson(JobJson(*job));
      }
      break;
    case 1:
      if (const auto jobs = Parsed<v1::ListReply>(bytes)) {
        Require(!JobTable(*jobs).empty());
        CheckJson(JobListJson(*jobs));
      }
      break;
    case 2:
      if (const auto nodes = Parsed<v1::NodesReply>(bytes)) {
        Require(!NodeTable(*nodes).empty());
        CheckJson(NodeListJson(*nodes));
      }
      break;
    default:
      if (const auto event = Parsed<v1::JobEvent>(bytes)) CheckJson(EventJson(*event));
  }
  return 0;
}

#pragma once

#include <string_view>

namespace rivulet {

// What the `tokens` among a job's figures count, for tables and bars: predictions that carried
// loss, which are next tokens or, in classification, examples. `document` is the job's canonical
// text (common/job/job_document.h): it has no white space and escapes the quotes inside its
// strings, so what is sought can only be the key.
inline std::string_view CountedUnit(std::string_view document) {
  const bool classifies =
      document.find(R"("data.task":"classification")") != std::string_view::npos;
  return classifies ? "examples" : "tokens";
}

}  // namespace rivulet

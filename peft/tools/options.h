#pragma once

#include <string>
#include <vector>

#include "common/job/job_spec.h"
#include "peft/model/generate_options.h"

namespace rivulet {

// The command line of one `rivulet model` verb.
struct ModelToolOptions {
  std::string model;    // folder of the base model; inspect: of a model or an adapter
  std::string adapter;  // folder; empty = the base model alone
  std::string out;
  std::string profile;            // peft | portable | adapterhub; empty = the method's own
  std::string dtype = "float32";  // of the arithmetic
  std::string file_dtype;         // merge: of the weights written; empty = as the base
  std::string format = "text";    // text | json
  std::string prompt;
  std::string data;                 // file
  DataSection section;              // how to read it; task empty = as the model or adapter says
  std::vector<std::string> labels;  // class names in order
  GenerateOptions generate;
  bool force = false;  // replace what is in `out`
  bool seq_length_given = false;

  bool json() const { return format == "json"; }
};

}  // namespace rivulet

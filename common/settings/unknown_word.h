#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace rivulet {

// The first verb or option of a command line that `app` does not know, as an error: "unknown
// command 'lsit'; did you mean 'list'?". "" when every word is known. CLI11 has no suggestions of
// its own.
std::string UnknownWord(const CLI::App& app, int argc, const char* const* argv);

}  // namespace rivulet

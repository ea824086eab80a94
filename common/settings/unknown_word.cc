#include "common/settings/unknown_word.h"

#include "common/suggest.h"

namespace rivulet {
namespace {

using Verbs = std::vector<const CLI::App*>;

Verbs VerbsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

const CLI::App* FindVerb(const Verbs& verbs, const std::string& name) {
  for (const CLI::App* verb : verbs) {
    if (verb->check_name(name)) return verb;
  }
  return nullptr;
}

// Options by name, "--out", and whether a value follows.
void AddOptions(const CLI::App& app, std::map<std::string, bool>& options) {
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    for (const std::string& name : option->get_lnames()) {
      options["--" + name] = option->get_items_expected_max() > 0;
    }
  }
}

template <typename Rows, typename Name>
std::string Unknown(const std::string& what, const std::string& word, const Rows& rows, Name name) {
  std::vector<std::string> known;
  for (const auto& row : rows) known.push_back(name(row));
  return "unknown " + what + " '" + word + "'" + DidYouMean(word, known);
}

}  // namespace

std::string UnknownWord(const CLI::App& app, int argc, const char* const* argv) {
  Verbs verbs = VerbsOf(app);
  std::map<std::string, bool> options;
  AddOptions(app, options);
  for (int row = 1; row < argc; ++row) {
    const std::string word = argv[row];
    if (word == "--") break;
    if (word.starts_with("--")) {
      const size_t equals = word.find('=');
      const auto option = options.find(word.substr(0, equals));
      if (option == options.end()) {
        return Unknown("option", word.substr(0, equals), options,
                       [](const auto& known) { return known.first; });
      }
      if (option->second && equals == std::string::npos) ++row;  // its value
    } else if (!word.starts_with('-') && !verbs.empty()) {
      const CLI::App* verb = FindVerb(verbs, word);
      if (verb == nullptr) {
        return Unknown("command", word, verbs,
                       [](const CLI::App* known) { return known->get_name(); });
      }
      verbs = VerbsOf(*verb);
      AddOptions(*verb, options);
    }
  }
  return "";
}

}  // namespace rivulet

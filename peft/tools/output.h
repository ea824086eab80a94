#pragma once

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

// For the .cc files of this folder.

namespace rivulet {

using OrderedJson = nlohmann::ordered_json;

// One object on one line of stdout, keys in the order given.
inline void PrintJson(const OrderedJson& object) {
  std::cout << object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << std::endl;
}

// Advice that is no part of the result.
inline void Note(const std::string& text) {
  std::cerr << "rivulet model: note: " << text << std::endl;
}

// "a, b, c".
inline std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace rivulet

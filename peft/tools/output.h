#pragma once

#include <iostream>
#include <nlohmann/json.hpp>

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

}  // namespace rivulet

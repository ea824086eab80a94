#include "simulations/partition/client_names.h"

#include <set>

namespace rivulet {
namespace {

constexpr size_t kMaxLength = 48;

std::string Sanitised(const std::string& source) {
  std::string name;
  for (char c : source) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      name += c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
    if (name.size() == kMaxLength) break;
  }
  while (name.ends_with('-')) name.pop_back();
  return name.empty() ? "client" : name;
}

}  // namespace

std::vector<std::string> ClientNames(std::span<const std::string> sources) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const std::string& source : sources) {
    const std::string base = Sanitised(source);
    std::string name = base;
    for (int copy = 2; !taken.insert(name).second; ++copy) name = base + "-" + std::to_string(copy);
    names.push_back(name);
  }
  return names;
}

std::vector<std::string> NumberedClients(size_t count) {
  const size_t digits = std::to_string(count > 0 ? count - 1 : 0).size();
  std::vector<std::string> names;
  for (size_t number = 0; number < count; ++number) {
    const std::string text = std::to_string(number);
    names.push_back("client-" + std::string(digits - text.size(), '0') + text);
  }
  return names;
}

}  // namespace rivulet

#pragma once

#include <span>
#include <string>
#include <vector>

namespace rivulet {

// Client names made of file stems or keys: lower case, every run of other characters than a-z and
// 0-9 becomes one '-', none at the ends, at most 48 characters, "client" when nothing is left.
// Where two come out alike the second gets "-2" and so on, in the order given. Distinct, as long as
// `sources`.
std::vector<std::string> ClientNames(std::span<const std::string> sources);

// "client-00", "client-01", ...: as many digits as the last one needs.
std::vector<std::string> NumberedClients(size_t count);

}  // namespace rivulet

#pragma once

#include <cstddef>
#include <string>

namespace rivulet {

// `count` bytes of the operating system's generator, for keys, tokens and nonces. Ends the process
// when there are none: a predictable secret is worse than no program.
std::string SecretBytes(size_t count);

}  // namespace rivulet

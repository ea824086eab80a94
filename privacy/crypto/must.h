#pragma once

#include <string_view>

namespace rivulet {

// Ends the process, naming `what`, when an operation on our own secrets failed. No message of a
// peer can cause that; going on without the key, the tag or the random bytes would be worse.
void MustCrypto(bool worked, std::string_view what);

}  // namespace rivulet

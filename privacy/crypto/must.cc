#include "privacy/crypto/must.h"

#include <cstdio>
#include <cstdlib>

namespace rivulet {

void MustCrypto(bool worked, std::string_view what) {
  if (worked) return;
  std::fprintf(stderr, "rivulet: %.*s failed\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace rivulet

#include "privacy/crypto/random_bytes.h"

#include <openssl/rand.h>

#include <cstdio>
#include <cstdlib>

namespace rivulet {

std::string SecretBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) !=
      1) {
    std::fputs("rivulet: the system has no random bytes\n", stderr);
    std::abort();
  }
  return bytes;
}

}  // namespace rivulet

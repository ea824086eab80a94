#include "privacy/masking/direction_root.h"

#include <cstring>

#include "privacy/secagg/shared/transcript.h"

namespace rivulet {

uint64_t DirectionRootOf(const Bytes32& sid0, const Bytes32& sid) {
  const Secret32 stream = secagg::PublicStream(sid0, sid, "rvl1/zo");
  uint64_t root = 0;
  std::memcpy(&root, stream.bytes().data(), sizeof root);
  return root;
}

}  // namespace rivulet

#include "privacy/secagg/shared/messages.h"
#include "privacy/secagg/shared/ring.h"
#include "tests/fuzz/require.h"

using namespace rivulet::secagg;

namespace {

// No member count, set or list beyond what a roster can hold.
struct Bounded {
  bool operator()(const Roster& m) const { return m.entries.size() <= kMaxMembers; }
  bool operator()(const Nonces& m) const { return m.nonces.size() <= kMaxMembers; }
  bool operator()(const Pool& m) const { return m.entries.size() <= kMaxMembers; }
  bool operator()(const Shares& m) const { return m.shares.size() <= kMaxMembers; }
  bool operator()(const Forward& m) const { return m.u2.Count() <= m.u2.n(); }
  bool operator()(const SurvivorSet& m) const { return m.u3.Indices().size() == m.u3.Count(); }
  bool operator()(const Parameters& m) const {
    if (!Check(m.params).ok()) return true;
    return m.params.b <= kMaxBits && m.params.n_max <= kMaxMembers &&
           m.params.RuleOf(m.params.n_max).ok() && m.params.packed_bytes() > 0;
  }
  template <typename Other>
  bool operator()(const Other&) const {
    return true;
  }
};

}  // namespace

// What client and server send each other: refused, or exactly the bytes that encoding writes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto message = DecodeMessage(bytes);
  if (!message.ok()) return 0;
  Require(Encode(*message) == bytes);
  Require(std::visit(Bounded(), *message));
  return 0;
}

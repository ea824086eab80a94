#pragma once

#include "privacy/secagg/shared/member.h"

namespace rivulet {

// The one that both sides of the protocol use; it has no state.
inline const secagg::Verifier& SignatureVerifier() {
  static const secagg::Ed25519Verifier verifier;
  return verifier;
}

}  // namespace rivulet

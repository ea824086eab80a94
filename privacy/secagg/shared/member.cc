#include "privacy/secagg/shared/member.h"

namespace rivulet::secagg {

Signature KeySigner::Sign(std::string_view message) { return SignEd25519(key_, message); }

bool Ed25519Verifier::Verify(const Bytes32& public_key, std::string_view message,
                             const Signature& signature) const {
  const KeyPtr key = Ed25519PublicKey(public_key);
  return key != nullptr && VerifyEd25519(*key, message, signature);
}

}  // namespace rivulet::secagg

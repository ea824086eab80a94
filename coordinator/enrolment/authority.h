#pragma once

#include <string>

#include "coordinator/enrolment/token_store.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {

// Certificates for tokens: the decision of the enrolment process, without its transport.
// Thread safe as TokenStore is.
class EnrolmentAuthority {
 public:
  EnrolmentAuthority(IssuingAuthority issuing, TokenStore tokens)
      : issuing_(std::move(issuing)), tokens_(std::move(tokens)) {}

  // The chain for `name` and the key of the request. The token is spent before anything is signed.
  // Errors: InvalidArgument (name, request); PermissionDenied (token, name of another).
  absl::StatusOr<std::string> Enrol(std::string_view token, const std::string& name,
                                    std::string_view request_pem, int64_t now_s);
  const std::string& roots_pem() const { return issuing_.roots_pem; }

 private:
  IssuingAuthority issuing_;
  TokenStore tokens_;
};

}  // namespace rivulet

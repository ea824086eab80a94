#include "coordinator/enrolment/authority.h"

#include "privacy/crypto/key.h"

namespace rivulet {

absl::StatusOr<std::string> EnrolmentAuthority::Enrol(std::string_view token,
                                                      const std::string& name,
                                                      std::string_view request_pem, int64_t now_s) {
  RV_RETURN_IF_ERROR(CheckName("name", name));
  RV_RETURN_IF_ERROR(KeyOfRequest(request_pem).status());
  RV_ASSIGN_OR_RETURN(const Grant grant, tokens_.Spend(token, name, now_s));
  const Identity who{issuing_.federation, grant.organisation, name, grant.role};
  return IssueClient(issuing_, who, request_pem);
}

}  // namespace rivulet

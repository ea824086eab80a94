#include <filesystem>
#include <optional>

#include "common/status.h"
#include "coordinator/enrolment/authority.h"
#include "rivulet/v1/enrolment.pb.h"
#include "tests/fuzz/require.h"
#include "tests/scratch_root.h"

using namespace rivulet;

namespace {

// An enrolment process without its transport, and a token that is still good.
struct Site {
  const std::filesystem::path& folder = ScratchRoot::Path();
  std::optional<TokenStore> tokens;
  std::optional<EnrolmentAuthority> authority;
  std::string token;

  Site() {
    Require(InitPki({.federation = "demo"}, folder / "pki").ok());
    tokens = *TokenStore::Open(folder / "store");
    authority.emplace(*ReadIssuingAuthority(folder / "pki" / "issuing"), *tokens);
    Renew();
  }
  void Renew() { token = *tokens->Create("lab", Role::kAgent, std::chrono::hours(1), 0); }
};

}  // namespace

// What somebody without a certificate sends: nothing without a token, and with one a certificate of
// exactly the name asked for, in the token's organisation and role.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Site site;
  v1::EnrolRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  Require(!site.authority->Enrol(request.token(), request.name(), request.request_pem(), 0).ok());
  const auto chain = site.authority->Enrol(site.token, request.name(), request.request_pem(), 0);
  if (!chain.ok()) return 0;
  const auto who = IdentityOfLeaf(*chain);
  Require(who.ok() && who->uri() == "rivulet://demo/lab/" + request.name());
  site.Renew();
  return 0;
}

#include "common/host_port.h"
#include "coordinator/enrolment/enrol_client.h"
#include "privacy/crypto/serials.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// What a site is handed out of band and what an owner writes by hand: a token, an address, a list
// of serials. Refused, or it reads the same once it is printed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto token = ParseTokenText(text); token.ok()) {
    Require(token->token.size() == 32 && token->fingerprint.size() == 64);
    const auto again = ParseTokenText(TextOf(*token));
    Require(again.ok() && again->token == token->token);
    Require(again->fingerprint == token->fingerprint);
  }
  if (const auto serials = ParseSerials(text); serials.ok()) {
    std::string printed;
    for (const std::string& serial : *serials) printed += serial + "\n";
    const auto again = ParseSerials(printed);
    Require(again.ok() && *again == *serials);
  }
  if (const auto address = ParseHostPort("address", text); address.ok()) {
    Require(address->port >= 0 && address->port <= 65535);
  }
  return 0;
}

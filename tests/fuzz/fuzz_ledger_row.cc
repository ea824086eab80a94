#include "privacy/dp/ledger.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// Any text is refused or is the one writing of a row that charges an event.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto row = LedgerRowFrom(text);
  if (!row.ok()) return 0;
  Require(ToJson(*row) == text);
  Require(row->Validate().ok() && row->Event().ok());
  return 0;
}

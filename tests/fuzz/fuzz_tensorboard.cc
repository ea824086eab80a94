#include <bit>

#include "common/formats/tensorboard.h"
#include "common/io/crc32c.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// Bits, not values: a NaN is equal to itself here.
static bool Same(const ScalarEvent& left, const ScalarEvent& right) {
  return left.tag == right.tag && left.step == right.step &&
         std::bit_cast<uint64_t>(left.wall_time) == std::bit_cast<uint64_t>(right.wall_time) &&
         std::bit_cast<uint32_t>(left.value) == std::bit_cast<uint32_t>(right.value);
}

static void Check(std::string_view file) {
  const auto events = ParseEvents(file);
  if (!events.ok()) return;
  std::string rewritten = VersionRecord(0);
  for (const ScalarEvent& event : *events) rewritten += ScalarRecord(event);
  const auto again = ParseEvents(rewritten);
  Require(again.ok() &&
          std::equal(events->begin(), events->end(), again->begin(), again->end(), Same));
}

static void PutLittleEndian(std::string& out, uint64_t value, int bytes) {
  for (int byte = 0; byte < bytes; ++byte) out += static_cast<char>(value >> (8 * byte));
}

static uint32_t Masked(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// The input as a file, and as the payload of a record whose checksums are right: nothing gets past
// a checksum by chance.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Check(input);
  std::string record;
  PutLittleEndian(record, size, 8);
  PutLittleEndian(record, Masked(record), 4);
  record += input;
  PutLittleEndian(record, Masked(input), 4);
  Check(record);
  return 0;
}

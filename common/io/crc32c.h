#pragma once

#include <cstdint>
#include <string_view>

namespace rivulet {

// CRC-32C (Castagnoli, reflected 0x82F63B78, initial value and final xor 0xffffffff; RFC 3720
// B.4). Against accidents, not against people.
uint32_t Crc32c(std::string_view bytes);

}  // namespace rivulet

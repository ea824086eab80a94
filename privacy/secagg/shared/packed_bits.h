#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// The loops behind packing.h, one for every width.
namespace rivulet::secagg {

// words[i] += element i of `packed`, which has PackedBytes(count, bits) bytes. `bits` needs words
// of this size (WordBytes).
void AddPackedBits(std::string_view packed, uint8_t bits, uint16_t* words, size_t count);
void AddPackedBits(std::string_view packed, uint8_t bits, uint32_t* words, size_t count);
void AddPackedBits(std::string_view packed, uint8_t bits, uint64_t* words, size_t count);

// The low `bits` bits of every word, to PackedBytes(count, bits) bytes at `out`.
void WritePackedBits(const uint16_t* words, size_t count, uint8_t bits, char* out);
void WritePackedBits(const uint32_t* words, size_t count, uint8_t bits, char* out);
void WritePackedBits(const uint64_t* words, size_t count, uint8_t bits, char* out);

}  // namespace rivulet::secagg

#pragma once

#include <cstdint>

namespace rivulet {

// Blobs travel in pieces of this size; the last one is shorter. (proto/rivulet/v1/federation.proto)
inline constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
// An update of at most this goes up inside the header of its upload.
inline constexpr uint64_t kInlineUpdateBytes = uint64_t{16} << 10;
// So much at most of a log of coefficients comes down inside a task.
inline constexpr uint64_t kInlineLogBytes = uint64_t{4} << 10;
// The largest message of any rpc, both ways.
inline constexpr int kMaxMessageBytes = 4 << 20;
inline constexpr uint64_t kMaxDocumentBytes = uint64_t{2} << 20;

// The versions of the protocol this build speaks.
inline constexpr uint32_t kProtocolMin = 2;
inline constexpr uint32_t kProtocolMax = 2;

}  // namespace rivulet

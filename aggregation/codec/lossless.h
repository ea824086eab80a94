#pragma once

#include <string>
#include <string_view>

#include "common/status.h"

namespace rivulet {

// The last step: one zstd frame of level 3, window at most 2^23, with checksum and content size.
// Only for what is not masked or encrypted: that is uniform, and never gets smaller.
std::string Compress(std::string_view bytes);

// `size` is what it must decompress to; nothing larger is ever held in memory.
// Errors: InvalidArgument when the frame is damaged, has no checksum, asks for a larger window, has
// another content size, or is followed by anything.
absl::StatusOr<std::string> Decompress(std::string_view frame, size_t size);

}  // namespace rivulet

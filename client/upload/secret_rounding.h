#pragma once

#include <memory>

#include "aggregation/codec/rounding.h"

namespace rivulet {

// Rounding words from AES-256 in counter mode under a key of the operating system's generator, so
// that nobody else can tell how a client rounded. Ends the process when OpenSSL fails.
std::unique_ptr<RoundingSource> NewSecretRounding();

}  // namespace rivulet

#include "aggregation/codec/lossless.h"

#include <zstd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace rivulet {
namespace {

constexpr int kLevel = 3;  // its window is at most 2^21
constexpr int kMostWindowLog = 23;

template <auto Free>
struct FreeZstd {
  template <typename T>
  void operator()(T* context) const {
    Free(context);
  }
};
using Compressor = std::unique_ptr<ZSTD_CCtx, FreeZstd<ZSTD_freeCCtx>>;
using Decompressor = std::unique_ptr<ZSTD_DCtx, FreeZstd<ZSTD_freeDCtx>>;

absl::Status BadFrame(std::string_view what) {
  return Refuse(absl::StatusCode::kInvalidArgument, "zstd: " + std::string(what));
}

// Descriptor and window of RFC 8878 3.1.1.1: what decompression in one piece does not look at.
absl::Status CheckFrameHeader(std::string_view frame) {
  if (frame.size() < 6) return BadFrame("got a frame of fewer than 6 bytes");
  const auto descriptor = static_cast<uint8_t>(frame[4]);
  if ((descriptor & 4) == 0) return BadFrame("got a frame without checksum");
  if ((descriptor & 32) != 0) return absl::OkStatus();  // the window is the content
  const auto window = static_cast<uint8_t>(frame[5]);
  const uint64_t base = uint64_t{1} << (10 + (window >> 3));
  if (base + base / 8 * (window & 7) <= uint64_t{1} << kMostWindowLog) return absl::OkStatus();
  return BadFrame("got a window above 2^23");
}

}  // namespace

std::string Compress(std::string_view bytes) {
  const Compressor context(ZSTD_createCCtx());
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  const size_t size =
      ZSTD_compress2(context.get(), frame.data(), frame.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(size)) std::abort();  // out of memory: the bound leaves nothing else
  frame.resize(size);
  return frame;
}

absl::StatusOr<std::string> Decompress(std::string_view frame, size_t size) {
  RV_RETURN_IF_ERROR(CheckFrameHeader(frame));
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != size) {
    return BadFrame("got another content size than the header's");
  }
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) {
    return BadFrame("got a damaged frame, or bytes behind it");
  }
  const Decompressor context(ZSTD_createDCtx());
  std::string bytes(size, '\0');
  const size_t got =
      ZSTD_decompressDCtx(context.get(), bytes.data(), size, frame.data(), frame.size());
  if (ZSTD_isError(got)) return BadFrame(ZSTD_getErrorName(got));
  if (got != size) return BadFrame("got another content size than the header's");
  return bytes;
}

}  // namespace rivulet

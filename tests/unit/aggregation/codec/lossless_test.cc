#include "aggregation/codec/lossless.h"

#include <gtest/gtest.h>
#include <zstd.h>

namespace rivulet {
namespace {

std::string Repeats(size_t size) {
  std::string text;
  while (text.size() < size) text += "private upload " + std::to_string(text.size() % 97);
  text.resize(size);
  return text;
}

std::string FrameOf(const std::string& text, ZSTD_cParameter parameter, int value) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(context, parameter, value);
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress2(context, frame.data(), frame.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return frame;
}

TEST(Lossless, ComesBackSmallerAndEqual) {
  for (const size_t size : {0, 1, 100, 100000}) {
    const std::string text = Repeats(size), frame = Compress(text);
    const auto back = Decompress(frame, size);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, text);
  }
  EXPECT_LT(Compress(Repeats(100000)).size(), 50000u);
}

TEST(Lossless, ADamagedFrameIsRefused) {
  const std::string text = Repeats(5000), frame = Compress(text);
  for (size_t at = 0; at < frame.size(); ++at) {
    std::string changed = frame;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    const auto back = Decompress(changed, text.size());
    // A bit of the header may be one that means nothing; the content is never another.
    EXPECT_EQ(back.value_or(text), text) << at;
  }
  for (size_t size = 0; size < frame.size(); ++size) {
    ASSERT_EQ(Decompress(frame.substr(0, size), text.size()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(Decompress(frame + frame, text.size()).ok());
}

TEST(Lossless, WhatIsNotAsAgreedIsRefused) {
  const std::string text = Repeats(20 << 20);
  EXPECT_FALSE(Decompress(Compress(text), text.size() - 1).ok());
  EXPECT_FALSE(Decompress(FrameOf(text, ZSTD_c_checksumFlag, 0), text.size()).ok());
  EXPECT_FALSE(Decompress(FrameOf(text, ZSTD_c_contentSizeFlag, 0), text.size()).ok());
  EXPECT_FALSE(Decompress(FrameOf(text, ZSTD_c_windowLog, 24), text.size()).ok());
  EXPECT_TRUE(Decompress(FrameOf(text, ZSTD_c_windowLog, 23), text.size()).ok());
}

}  // namespace
}  // namespace rivulet

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace rivulet {

// A stream of 64-bit random words. The exact samplers read nothing else, so that a stream gives the
// same noise on every machine. Not thread safe.
class WordSource {
 public:
  virtual ~WordSource() = default;
  WordSource(const WordSource&) = delete;
  WordSource& operator=(const WordSource&) = delete;

  uint64_t Next() {
    if (at_ == end_) Refill();
    return *at_++;
  }

 protected:
  WordSource() = default;
  // Makes [at_, end_) a stretch of at least one new word.
  virtual void Refill() = 0;
  const uint64_t* at_ = nullptr;
  const uint64_t* end_ = nullptr;
};

// The keystream of AES-256-CTR as little-endian words: a DRBG when the key is secret and random.
// `block` is the upper half of the 128-bit counter block, big-endian; the lower half counts from 0.
// Key, cipher state and buffer are wiped.
class AesWords final : public WordSource {
 public:
  using Key = std::span<const uint8_t, 32>;
  explicit AesWords(Key key, uint64_t block = 0);
  ~AesWords() override;

  uint64_t consumed() const;  // words read so far

 private:
  void Refill() override;
  static constexpr size_t kBuffer = 512;
  struct Cipher;
  std::unique_ptr<Cipher> cipher_;
  uint64_t refills_ = 0;
  std::array<uint64_t, kBuffer> buffer_;
};

// Given words in order, for known-answer tests. Ends the process when they run out.
class ListedWords final : public WordSource {
 public:
  explicit ListedWords(std::vector<uint64_t> words) : words_(std::move(words)) {}
  bool empty() const { return at_ == end_ && given_; }

 private:
  void Refill() override;
  std::vector<uint64_t> words_;
  bool given_ = false;
};

}  // namespace rivulet

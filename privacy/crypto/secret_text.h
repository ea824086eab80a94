#pragma once

#include <string>
#include <string_view>

namespace rivulet {

// Secret bytes of any length, as they are stored: wiped when they are let go, moved or replaced.
// What it is made of is taken over; a std::string that was copied from stays its owner's to wipe.
class SecretText {
 public:
  SecretText() = default;
  SecretText(std::string bytes);  // NOLINT: stands where a string did
  SecretText(std::string_view bytes) : SecretText(std::string(bytes)) {}  // NOLINT
  SecretText(const char* text) : SecretText(std::string(text)) {}         // NOLINT
  ~SecretText() { Wipe(); }
  SecretText(const SecretText&) = default;
  SecretText(SecretText&& other) noexcept;
  SecretText& operator=(const SecretText& other);
  SecretText& operator=(SecretText&& other) noexcept;

  operator std::string_view() const { return bytes_; }  // NOLINT
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  void Wipe();  // empty afterwards

  friend bool operator==(const SecretText& a, const SecretText& b) { return a.bytes_ == b.bytes_; }

 private:
  std::string bytes_;
};

}  // namespace rivulet

#include "client/agent/sealed_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>

#include "common/io/file.h"
#include "privacy/crypto/aead.h"
#include "privacy/crypto/entropy.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeyBytes = 32;
constexpr int kOwnerOnly = 0600;

// Nothing: there is none, or it was destroyed.
absl::StatusOr<std::optional<Secret32>> ReadKey(const fs::path& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path, kKeyBytes);
  if (bytes.status().code() == absl::StatusCode::kNotFound) return std::nullopt;
  if (!bytes.ok()) return bytes.status();
  const bool whole = bytes->size() == kKeyBytes;
  std::optional<Secret32> key;
  if (whole && std::any_of(bytes->begin(), bytes->end(), [](char byte) { return byte != 0; })) {
    key.emplace(
        std::span<const uint8_t, 32>(reinterpret_cast<const uint8_t*>(bytes->data()), kKeyBytes));
  }
  OPENSSL_cleanse(bytes->data(), bytes->size());
  return key;
}

absl::StatusOr<Secret32> KeyOf(const fs::path& path) {
  RV_ASSIGN_OR_RETURN(const std::optional<Secret32> known, ReadKey(path));
  if (known.has_value()) return *known;
  const Secret32 fresh = SystemEntropy().Secret();
  const std::string_view bytes(reinterpret_cast<const char*>(fresh.bytes().data()), kKeyBytes);
  RV_RETURN_IF_ERROR(WriteFileAtomically(path, bytes, kOwnerOnly));
  return fresh;
}

absl::Status OverwriteKey(const fs::path& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return absl::OkStatus();
  if (fd < 0) return FileError(path, "open", errno);
  constexpr char kZeros[kKeyBytes] = {};
  const bool done = pwrite(fd, kZeros, kKeyBytes, 0) == ssize_t{kKeyBytes} && fsync(fd) == 0;
  const int error = errno;
  close(fd);
  return done ? absl::OkStatus() : FileError(path, "overwrite", error);
}

}  // namespace

absl::Status SealedFile::Write(std::string_view text) const {
  RV_ASSIGN_OR_RETURN(const Secret32 secret, KeyOf(key));
  GcmIv iv;
  SystemEntropy().Fill(iv);
  std::string bytes(iv.begin(), iv.end());
  bytes += SealAes256Gcm(secret, iv, file.filename().string(), text);
  return WriteFileAtomically(file, bytes, kOwnerOnly);
}

absl::StatusOr<std::string> SealedFile::Read(uint64_t max_bytes) const {
  RV_ASSIGN_OR_RETURN(const std::optional<Secret32> secret, ReadKey(key));
  if (!secret.has_value()) {
    return Refuse(absl::StatusCode::kNotFound, file.string() + ": its key is gone");
  }
  RV_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, max_bytes));
  GcmIv iv{};
  if (bytes.size() < iv.size()) {
    return Refuse(absl::StatusCode::kInvalidArgument, file.string() + ": is cut off");
  }
  std::copy_n(bytes.begin(), iv.size(), iv.begin());
  absl::StatusOr<std::string> text = OpenAes256Gcm(*secret, iv, file.filename().string(),
                                                   std::string_view(bytes).substr(iv.size()));
  if (!text.ok()) return Annotate(text.status(), file.string());
  return text;
}

absl::Status SealedFile::Destroy() const {
  absl::Status overwritten = OverwriteKey(key);
  std::error_code ignored;
  fs::remove(file, ignored);
  fs::remove(key, ignored);
  return overwritten;
}

}  // namespace rivulet

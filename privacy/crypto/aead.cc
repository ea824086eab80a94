#include "privacy/crypto/aead.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "privacy/crypto/cipher.h"
#include "privacy/crypto/must.h"

namespace rivulet {
namespace {

const uint8_t* Input(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}
uint8_t* Output(std::string& text) { return reinterpret_cast<uint8_t*>(text.data()); }
int Length(std::string_view text) { return static_cast<int>(text.size()); }

// In pieces whose lengths are ints; every one but the last of whole blocks.
bool Update(EVP_CIPHER_CTX* context, std::string& out, std::string_view in) {
  constexpr size_t kPiece = size_t{1} << 30;
  size_t at = 0;
  do {
    const std::string_view piece = in.substr(at, kPiece);
    int size = 0;
    if (EVP_CipherUpdate(context, Output(out) + at, &size, Input(piece), Length(piece)) != 1) {
      return false;
    }
    at += piece.size();
  } while (at < in.size());
  return true;
}

CipherContextPtr GcmContext(const Secret32& key, const GcmIv& iv, bool seal) {
  static EVP_CIPHER* const kCipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  CipherContextPtr context(EVP_CIPHER_CTX_new());
  MustCrypto(context != nullptr && EVP_CipherInit_ex2(context.get(), kCipher, key.bytes().data(),
                                                      iv.data(), seal ? 1 : 0, nullptr) == 1,
             "AES-256-GCM: key");
  return context;
}

}  // namespace

std::string SealAes256Gcm(const Secret32& key, const GcmIv& iv, std::string_view aad,
                          std::string_view plain) {
  const CipherContextPtr context = GcmContext(key, iv, true);
  std::string out(plain.size() + kGcmTagBytes, '\0');
  int size = 0;
  MustCrypto(EVP_CipherUpdate(context.get(), nullptr, &size, Input(aad), Length(aad)) == 1 &&
                 Update(context.get(), out, plain) &&
                 EVP_CipherFinal_ex(context.get(), Output(out) + plain.size(), &size) == 1 &&
                 EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kGcmTagBytes,
                                     Output(out) + plain.size()) == 1,
             "AES-256-GCM: sealing");
  return out;
}

absl::StatusOr<std::string> OpenAes256Gcm(const Secret32& key, const GcmIv& iv,
                                          std::string_view aad, std::string_view cipher_and_tag) {
  const auto refuse = [](std::string_view why) {
    return Refuse(absl::StatusCode::kInvalidArgument, "AES-256-GCM: " + std::string(why));
  };
  if (cipher_and_tag.size() < kGcmTagBytes) return refuse("shorter than a tag");
  const std::string_view cipher = cipher_and_tag.substr(0, cipher_and_tag.size() - kGcmTagBytes);
  std::string tag(cipher_and_tag.substr(cipher.size()));
  const CipherContextPtr context = GcmContext(key, iv, false);
  std::string out(cipher.size() + 1, '\0');  // one more: never a null pointer
  int size = 0;
  const bool right =
      EVP_CipherUpdate(context.get(), nullptr, &size, Input(aad), Length(aad)) == 1 &&
      Update(context.get(), out, cipher) &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kGcmTagBytes, tag.data()) == 1 &&
      EVP_CipherFinal_ex(context.get(), Output(out) + cipher.size(), &size) == 1;
  if (!right) {
    OPENSSL_cleanse(out.data(), out.size());
    ERR_clear_error();
    return refuse("wrong tag");
  }
  out.resize(cipher.size());
  return out;
}

}  // namespace rivulet

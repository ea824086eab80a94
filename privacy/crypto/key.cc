#include "privacy/crypto/key.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "common/io/file.h"

namespace rivulet {
namespace {

absl::Status Bad(std::string_view what) {
  return OpenSslError(absl::StatusCode::kInvalidArgument, what);
}

}  // namespace

absl::Status OpenSslError(absl::StatusCode code, std::string_view what) {
  const unsigned long error = ERR_peek_last_error();
  char text[256] = "refused";
  if (error != 0) ERR_error_string_n(error, text, sizeof text);
  ERR_clear_error();
  return Refuse(code, std::string(what) + ": " + text);
}

BioPtr MemoryBio(std::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string TextOf(BIO& memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&memory, &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::StatusOr<KeyPtr> NewSigningKey() {
  KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (key == nullptr) return OpenSslError(absl::StatusCode::kInternal, "key: generate");
  return key;
}

absl::StatusOr<std::string> PrivatePem(EVP_PKEY& key) {
  const BioPtr out(BIO_new(BIO_s_secmem()));
  if (out == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(out.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpenSslError(absl::StatusCode::kInternal, "key: write");
  }
  return TextOf(*out);
}

absl::StatusOr<KeyPtr> ReadPrivateKey(std::string_view pem) {
  const BioPtr in = MemoryBio(pem);
  const auto no_password = [](char*, int, int, void*) { return -1; };
  KeyPtr key(PEM_read_bio_PrivateKey(in.get(), nullptr, no_password, nullptr));
  if (key == nullptr) return Bad("private key");
  return key;
}

absl::Status WriteKeyFile(const std::filesystem::path& path, EVP_PKEY& key) {
  RV_ASSIGN_OR_RETURN(const std::string pem, PrivatePem(key));
  return WriteFileAtomically(path, pem, 0600);
}

absl::StatusOr<std::string> RequestPem(EVP_PKEY& key) {
  const X509RequestPtr request(X509_REQ_new());
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (request == nullptr || out == nullptr || X509_REQ_set_version(request.get(), 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), &key) != 1 ||
      X509_REQ_sign(request.get(), &key, nullptr) == 0 ||
      PEM_write_bio_X509_REQ(out.get(), request.get()) != 1) {
    return OpenSslError(absl::StatusCode::kInternal, "certificate request");
  }
  return TextOf(*out);
}

absl::StatusOr<KeyPtr> KeyOfRequest(std::string_view pem) {
  const BioPtr in = MemoryBio(pem);
  const X509RequestPtr request(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  if (request == nullptr) return Bad("certificate request");
  KeyPtr key(X509_REQ_get_pubkey(request.get()));
  if (key == nullptr) return Bad("certificate request: key");
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    return Refuse(absl::StatusCode::kInvalidArgument, "certificate request: want an Ed25519 key");
  }
  if (X509_REQ_verify(request.get(), key.get()) != 1) return Bad("certificate request: signature");
  return key;
}

}  // namespace rivulet

#include "privacy/crypto/certificate.h"

#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <ctime>

#include "common/io/sha256.h"
#include "privacy/crypto/ed25519.h"

namespace rivulet {
namespace {

absl::Status Internal(std::string_view what) {
  return OpenSslError(absl::StatusCode::kInternal, "certificate: " + std::string(what));
}

bool SetSerial(X509& certificate) {
  const BigNumberPtr number(BN_new());
  return number != nullptr &&
         BN_rand(number.get(), 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(&certificate)) != nullptr;
}

bool SetSubject(X509& certificate, const std::string& name) {
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(&certificate), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(name.data()),
                                    static_cast<int>(name.size()), -1, 0) == 1;
}

absl::Status AddExtension(X509& certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer == nullptr ? &certificate : issuer, &certificate, nullptr,
                 nullptr, 0);
  const X509ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  if (extension == nullptr || X509_add_ext(&certificate, extension.get(), -1) != 1) {
    return Internal(OBJ_nid2sn(id));
  }
  return absl::OkStatus();
}

bool IsAddress(const std::string& host) {
  ASN1_OCTET_STRING* parsed = a2i_IPADDRESS(host.c_str());
  ASN1_OCTET_STRING_free(parsed);
  return parsed != nullptr;
}

bool IsHostName(const std::string& host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.';
  });
}

// The subject's alternative names in OpenSSL's notation. Every part was checked against a grammar
// without commas, so none can add a name of its own.
absl::StatusOr<std::string> AlternativeNames(const CertificateProfile& profile) {
  if (profile.kind == CertificateProfile::Kind::kClient) {
    RV_RETURN_IF_ERROR(ParseIdentityUri(profile.uri).status());
    return "URI:" + profile.uri;
  }
  std::string names;
  for (const std::string& host : profile.hosts) {
    if (!names.empty()) names += ",";
    if (IsAddress(host)) {
      names += "IP:" + host;
    } else if (IsHostName(host)) {
      names += "DNS:" + host;
    } else {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "host: got '" + host + "', want a DNS name or an IP address");
    }
  }
  return names;
}

std::string BasicConstraints(const CertificateProfile& profile) {
  if (profile.kind != CertificateProfile::Kind::kAuthority) return "critical,CA:FALSE";
  std::string value = "critical,CA:TRUE";
  if (profile.path_length >= 0) value += ",pathlen:" + std::to_string(profile.path_length);
  return value;
}

absl::Status AddExtensions(const CertificateProfile& profile, X509* issuer, X509& certificate) {
  const bool authority = profile.kind == CertificateProfile::Kind::kAuthority;
  RV_RETURN_IF_ERROR(
      AddExtension(certificate, issuer, NID_basic_constraints, BasicConstraints(profile)));
  RV_RETURN_IF_ERROR(
      AddExtension(certificate, issuer, NID_key_usage,
                   authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature"));
  RV_RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_subject_key_identifier, "hash"));
  RV_RETURN_IF_ERROR(
      AddExtension(certificate, issuer, NID_authority_key_identifier, "keyid:always"));
  if (authority) return absl::OkStatus();
  const bool client = profile.kind == CertificateProfile::Kind::kClient;
  RV_RETURN_IF_ERROR(
      AddExtension(certificate, issuer, NID_ext_key_usage, client ? "clientAuth" : "serverAuth"));
  RV_ASSIGN_OR_RETURN(const std::string names, AlternativeNames(profile));
  return AddExtension(certificate, issuer, NID_subject_alt_name, names);
}

}  // namespace

absl::StatusOr<X509Ptr> Issue(const CertificateProfile& profile, EVP_PKEY& key, X509* issuer,
                              EVP_PKEY& issuer_key) {
  X509Ptr certificate(X509_new());
  if (certificate == nullptr || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      !SetSerial(*certificate) || !SetSubject(*certificate, profile.subject) ||
      X509_set_pubkey(certificate.get(), &key) != 1) {
    return Internal("fill in");
  }
  const X509* named = issuer == nullptr ? certificate.get() : issuer;
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(named));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()),
                  -static_cast<long>(profile.backdate.count()));
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(profile.life.count()));
  RV_RETURN_IF_ERROR(AddExtensions(profile, issuer, *certificate));
  if (X509_sign(certificate.get(), &issuer_key, nullptr) == 0) return Internal("sign");
  return certificate;
}

absl::StatusOr<std::string> CertificatePem(X509& certificate) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (out == nullptr || PEM_write_bio_X509(out.get(), &certificate) != 1) return Internal("write");
  return TextOf(*out);
}

absl::StatusOr<X509Ptr> ReadCertificate(std::string_view pem) {
  const BioPtr in = MemoryBio(pem);
  X509Ptr certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) {
    return OpenSslError(absl::StatusCode::kInvalidArgument, "certificate: read");
  }
  return certificate;
}

std::vector<std::string> UriNamesOf(X509& certificate) {
  std::vector<std::string> uris;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int row = 0; names != nullptr && row < sk_GENERAL_NAME_num(names.get()); ++row) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), row);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris;
}

std::string SerialOf(X509& certificate) {
  const BigNumberPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(&certificate), nullptr));
  char* hex = number == nullptr ? nullptr : BN_bn2hex(number.get());
  std::string text = hex == nullptr ? "" : hex;
  OPENSSL_free(hex);
  for (char& letter : text) letter = static_cast<char>(std::tolower(letter));
  return text;
}

int64_t NotAfterOf(X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) return 0;
  return static_cast<int64_t>(timegm(&time));
}

std::string FingerprintOf(X509& certificate) {
  Sha256Digest digest;
  unsigned int size = 0;
  X509_digest(&certificate, EVP_sha256(), digest.data(), &size);
  return HexOf(digest);
}

absl::StatusOr<LeafKey> KeyOfLeaf(std::string_view pem) {
  RV_ASSIGN_OR_RETURN(const X509Ptr leaf, ReadCertificate(pem));
  EVP_PKEY* const key = X509_get0_pubkey(leaf.get());
  if (key == nullptr) {
    return OpenSslError(absl::StatusCode::kInvalidArgument, "certificate: public key");
  }
  LeafKey found;
  RV_ASSIGN_OR_RETURN(found.public_key, Ed25519RawPublicKey(*key));
  unsigned int size = 0;
  X509_digest(leaf.get(), EVP_sha256(), found.fingerprint.data(), &size);
  return found;
}

absl::Status VerifyChain(std::string_view chain_pem, std::string_view roots_pem, bool client) {
  const auto bad = [](std::string_view why) {
    return WithExit(Refuse(absl::StatusCode::kUnauthenticated, "certificate: " + std::string(why)),
                    ExitCode::kConnection);
  };
  const X509StorePtr store(X509_STORE_new());
  const BioPtr roots = MemoryBio(roots_pem);
  while (X509Ptr root{PEM_read_bio_X509(roots.get(), nullptr, nullptr, nullptr)}) {
    X509_STORE_add_cert(store.get(), root.get());
  }
  const BioPtr in = MemoryBio(chain_pem);
  const X509Ptr leaf(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (leaf == nullptr) return bad("not readable");
  CPtr<STACK_OF(X509), [](STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }> above(
      sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) {
    sk_X509_push(above.get(), next);
  }
  const X509StoreContextPtr context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), above.get());
  X509_STORE_CTX_set_purpose(context.get(),
                             client ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER);
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  return bad(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
}

}  // namespace rivulet

#include "privacy/crypto/pki_directory.h"

#include <sys/stat.h>

#include "common/io/file.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using Kind = CertificateProfile::Kind;

constexpr uint64_t kMaxPem = 64 << 10;
constexpr std::chrono::hours kRootLife{24 * 3650};
constexpr std::chrono::hours kIssuingLife{24 * 1095};
constexpr std::chrono::hours kServerLife{24 * 397};
constexpr std::chrono::hours kFirstAdminLife{24 * 90};

struct Holder {
  X509Ptr certificate;
  KeyPtr key;
  std::string pem;
};

absl::StatusOr<Holder> MakeHolder(const CertificateProfile& profile, Holder* issuer) {
  Holder made;
  RV_ASSIGN_OR_RETURN(made.key, NewSigningKey());
  RV_ASSIGN_OR_RETURN(
      made.certificate,
      Issue(profile, *made.key, issuer == nullptr ? nullptr : issuer->certificate.get(),
            issuer == nullptr ? *made.key : *issuer->key));
  RV_ASSIGN_OR_RETURN(made.pem, CertificatePem(*made.certificate));
  return made;
}

absl::Status MakeDirectory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  if (chmod(directory.c_str(), 0700) != 0) return FileError(directory, "chmod", errno);
  return absl::OkStatus();
}

absl::Status WriteHolder(const fs::path& directory, const Holder& holder,
                         const std::string& chain_above, const std::string& root_pem) {
  RV_ASSIGN_OR_RETURN(std::string key, PrivatePem(*holder.key));
  return WriteCredentials(directory, {std::move(key), holder.pem + chain_above, root_pem});
}

absl::Status WriteLeaf(const fs::path& directory, const CertificateProfile& profile,
                       Holder& issuing, const std::string& root_pem) {
  RV_ASSIGN_OR_RETURN(const Holder leaf, MakeHolder(profile, &issuing));
  return WriteHolder(directory, leaf, issuing.pem, root_pem);
}

absl::StatusOr<std::string> FederationOf(X509& issuing) {
  char name[65] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(&issuing), NID_commonName, name, sizeof name);
  RV_RETURN_IF_ERROR(CheckName("issuing authority: federation", name));
  return std::string(name);
}

absl::StatusOr<std::string> ReadPem(const fs::path& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxPem);
  if (!text.ok()) return WithExit(text.status(), ExitCode::kConnection);
  return text;
}

}  // namespace

absl::StatusOr<Credentials> ReadCredentials(const fs::path& directory) {
  Credentials files;
  RV_ASSIGN_OR_RETURN(files.key_pem, ReadPem(directory / "key.pem"));
  RV_ASSIGN_OR_RETURN(files.chain_pem, ReadPem(directory / "cert.pem"));
  RV_ASSIGN_OR_RETURN(files.roots_pem, ReadPem(directory / "ca.pem"));
  return files;
}

absl::StatusOr<Credentials> ReadValidCredentials(const fs::path& directory, bool client) {
  RV_ASSIGN_OR_RETURN(Credentials files, ReadCredentials(directory));
  RV_RETURN_IF_ERROR(Annotate(VerifyChain(files.chain_pem, files.roots_pem, client),
                              (directory / "cert.pem").string()));
  return files;
}

absl::Status WriteCredentials(const fs::path& directory, const Credentials& files) {
  RV_RETURN_IF_ERROR(MakeDirectory(directory));
  RV_RETURN_IF_ERROR(WriteFileAtomically(directory / "key.pem", files.key_pem, 0600));
  RV_RETURN_IF_ERROR(WriteFileAtomically(directory / "cert.pem", files.chain_pem));
  return WriteFileAtomically(directory / "ca.pem", files.roots_pem);
}

absl::StatusOr<std::string> InitPki(const PkiPlan& plan, const fs::path& directory) {
  RV_RETURN_IF_ERROR(CheckName("federation", plan.federation));
  std::error_code ignored;
  if (fs::exists(directory, ignored) && !fs::is_empty(directory, ignored)) {
    return Refuse(absl::StatusCode::kAlreadyExists,
                  directory.string() + ": not empty; a new hierarchy needs a new folder");
  }
  const std::string& name = plan.federation;
  RV_ASSIGN_OR_RETURN(Holder root, MakeHolder({.kind = Kind::kAuthority,
                                               .subject = name + " root",
                                               .path_length = 1,
                                               .life = kRootLife},
                                              nullptr));
  // The issuing authority's subject is the federation: the enrolment process reads it there.
  RV_ASSIGN_OR_RETURN(
      Holder issuing,
      MakeHolder(
          {.kind = Kind::kAuthority, .subject = name, .path_length = 0, .life = kIssuingLife},
          &root));
  RV_RETURN_IF_ERROR(WriteHolder(directory / "root", root, "", root.pem));
  RV_RETURN_IF_ERROR(WriteHolder(directory / "issuing", issuing, "", root.pem));
  for (const char* server : {"coordinator", "enrolment"}) {
    RV_RETURN_IF_ERROR(WriteLeaf(directory / server,
                                 {.kind = Kind::kServer,
                                  .subject = name + " " + server,
                                  .hosts = plan.hosts,
                                  .life = kServerLife},
                                 issuing, root.pem));
  }
  const Identity admin{name, "federation", "admin", Role::kAdmin};
  RV_RETURN_IF_ERROR(WriteLeaf(
      directory / "operator",
      {.kind = Kind::kClient, .subject = "admin", .uri = admin.uri(), .life = kFirstAdminLife},
      issuing, root.pem));
  return FingerprintOf(*root.certificate);
}

absl::StatusOr<std::string> FederationOfChain(std::string_view chain_pem) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
  const size_t second = chain_pem.find(kBegin, chain_pem.find(kBegin) + 1);
  if (second == std::string_view::npos) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "certificate chain: want the leaf and its issuing authority"),
                    ExitCode::kConnection);
  }
  RV_ASSIGN_OR_RETURN(const X509Ptr issuing, ReadCertificate(chain_pem.substr(second)));
  return FederationOf(*issuing);
}

absl::StatusOr<IssuingAuthority> ReadIssuingAuthority(const fs::path& directory) {
  RV_ASSIGN_OR_RETURN(Credentials files, ReadCredentials(directory));
  IssuingAuthority authority;
  RV_ASSIGN_OR_RETURN(authority.certificate, ReadCertificate(files.chain_pem));
  RV_ASSIGN_OR_RETURN(authority.key, ReadPrivateKey(files.key_pem));
  RV_ASSIGN_OR_RETURN(authority.federation, FederationOf(*authority.certificate));
  authority.chain_pem = std::move(files.chain_pem);
  authority.roots_pem = std::move(files.roots_pem);
  return authority;
}

absl::StatusOr<std::string> IssueClient(const IssuingAuthority& authority, const Identity& who,
                                        std::string_view request_pem, std::chrono::seconds life) {
  RV_ASSIGN_OR_RETURN(const KeyPtr key, KeyOfRequest(request_pem));
  RV_ASSIGN_OR_RETURN(
      const X509Ptr leaf,
      Issue({.kind = Kind::kClient, .subject = who.name, .uri = who.uri(), .life = life}, *key,
            authority.certificate.get(), *authority.key));
  RV_ASSIGN_OR_RETURN(const std::string pem, CertificatePem(*leaf));
  return pem + authority.chain_pem;
}

}  // namespace rivulet

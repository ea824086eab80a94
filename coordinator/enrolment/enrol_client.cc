#include "coordinator/enrolment/enrol_client.h"

#include <httplib.h>
#include <openssl/ssl.h>

#include <charconv>
#include <iostream>
#include <thread>

#include "common/host_port.h"
#include "common/io/file.h"
#include "common/io/sha256.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "rivulet/v1/enrolment.pb.h"

namespace rivulet {
namespace {

constexpr std::string_view kPrefix = "rvt1.";
constexpr size_t kHexDigits = 64;
constexpr size_t kProbeBytes = 16 << 10;  // more than key and certificates
constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::milliseconds kPause{200};

absl::Status Stranger(std::string_view what) {
  return WithExit(Refuse(absl::StatusCode::kUnauthenticated, what), ExitCode::kConnection);
}

absl::StatusOr<HostPort> ParseAddress(const std::string& address) {
  absl::StatusOr<HostPort> at = ParseHostPort("--enroll", address);
  if (!at.ok()) return WithExit(at.status(), ExitCode::kUsage);
  if (at->port == 0) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "--enroll: got '" + address + "', want a port of 1..65535"),
                    ExitCode::kUsage);
  }
  return at;
}

std::unique_ptr<httplib::SSLClient> NewClient(const HostPort& to) {
  auto client = std::make_unique<httplib::SSLClient>(to.host, to.port);
  client->set_connection_timeout(std::chrono::seconds(5));
  client->set_read_timeout(std::chrono::seconds(15));
  SSL_CTX_set_min_proto_version(client->ssl_context(), TLS1_3_VERSION);
  return client;
}

absl::Status NoAnswer(const HostPort& to, const httplib::Result& result) {
  return WithExit(Refuse(absl::StatusCode::kUnavailable, "enrolment at " + to.host + ":" +
                                                             std::to_string(to.port) + ": " +
                                                             httplib::to_string(result.error())),
                  ExitCode::kConnection);
}

// Where nobody listens, for some seconds: the process may be starting at this very moment.
httplib::Result GetPatiently(httplib::SSLClient& client, const HostPort& from, const char* path) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (bool first = true;; first = false) {
    httplib::Result result = client.Get(path);
    if (result || result.error() != httplib::Error::Connection ||
        std::chrono::steady_clock::now() > until) {
      return result;
    }
    if (first) {
      std::cerr << "rivulet: nobody listens at " << from.host << ':' << from.port << "; trying for "
                << kPatience.count() << " s\n";
    }
    std::this_thread::sleep_for(kPause);
  }
}

// The root of whoever answers, if it is the one the token names. The connection is not verified:
// the fingerprint is.
absl::StatusOr<std::string> FetchRoot(const HostPort& from, const std::string& fingerprint) {
  const auto client = NewClient(from);
  client->enable_server_certificate_verification(false);
  const httplib::Result result = GetPatiently(*client, from, "/v1/ca");
  if (!result) return NoAnswer(from, result);
  RV_ASSIGN_OR_RETURN(const X509Ptr root, ReadCertificate(result->body));
  if (const std::string got = FingerprintOf(*root); got != fingerprint) {
    return Stranger("root certificate: got fingerprint " + got + ", the token wants " +
                    fingerprint);
  }
  return CertificatePem(*root);
}

void Trust(httplib::SSLClient& client, const std::string& root_pem) {
  X509_STORE* store = X509_STORE_new();
  if (const absl::StatusOr<X509Ptr> root = ReadCertificate(root_pem); root.ok()) {
    X509_STORE_add_cert(store, root->get());
  }
  client.set_ca_cert_store(store);  // takes it over
  client.enable_server_certificate_verification(true);
}

absl::StatusOr<v1::EnrolReply> Ask(const HostPort& to, const std::string& root_pem,
                                   const v1::EnrolRequest& request) {
  const auto client = NewClient(to);
  Trust(*client, root_pem);
  const httplib::Result result =
      client->Post("/v1/enrol", request.SerializeAsString(), "application/x-protobuf");
  if (!result) return NoAnswer(to, result);
  if (result->status != 200) {
    std::string why = result->body.substr(0, 300);
    while (!why.empty() && why.back() == '\n') why.pop_back();
    return WithExit(Refuse(result->status == 400 ? absl::StatusCode::kInvalidArgument
                                                 : absl::StatusCode::kPermissionDenied,
                           "enrolment: " + why),
                    ExitCode::kConnection);
  }
  v1::EnrolReply reply;
  if (!reply.ParseFromString(result->body)) return Stranger("enrolment: the answer is malformed");
  return reply;
}

// The folder is there and takes files of this size.
absl::Status Probe(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  const std::filesystem::path probe = directory / "probe";
  RV_RETURN_IF_ERROR(WriteFileAtomically(probe, std::string(kProbeBytes, '\0'), 0600));
  std::filesystem::remove(probe, error);
  return absl::OkStatus();
}

absl::Status CheckNoIdentity(const std::filesystem::path& directory) {
  const std::filesystem::path key = directory / "key.pem";
  std::error_code ignored;
  if (!std::filesystem::exists(key, ignored)) return absl::OkStatus();
  return WithExit(
      Refuse(absl::StatusCode::kAlreadyExists,
             key.string() + ": exists; give --renew to replace this identity, or another --dir"),
      ExitCode::kUsage);
}

absl::Status PrepareFolder(const std::filesystem::path& directory) {
  const absl::Status status = Probe(directory);
  if (status.ok() || status.code() == absl::StatusCode::kResourceExhausted) return status;
  return WithExit(status, ExitCode::kConfig);
}

absl::StatusOr<std::string> BytesOf(std::string_view hex) {
  std::string bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(hex.data() + at, hex.data() + at + 2, value, 16);
    if (error != std::errc() || end != hex.data() + at + 2) {
      return absl::InvalidArgumentError("not hex");
    }
    bytes += static_cast<char>(value);
  }
  return bytes;
}

}  // namespace

std::string TextOf(const TokenText& token) {
  return std::string(kPrefix) +
         HexOf({reinterpret_cast<const uint8_t*>(token.token.data()), token.token.size()}) + "." +
         token.fingerprint;
}

absl::StatusOr<TokenText> ParseTokenText(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const absl::Status bad = WithExit(  // never repeats what it got: it is a secret
      Refuse(absl::StatusCode::kInvalidArgument,
             "token: want rvt1.<64 hex digits>.<64 hex digits>, as `rivulet node enroll` prints"),
      ExitCode::kConfig);
  if (text.size() != kPrefix.size() + 2 * kHexDigits + 1 || !text.starts_with(kPrefix)) return bad;
  text.remove_prefix(kPrefix.size());
  if (text[kHexDigits] != '.') return bad;
  const absl::StatusOr<std::string> token = BytesOf(text.substr(0, kHexDigits));
  const std::string_view fingerprint = text.substr(kHexDigits + 1);
  if (!token.ok() || !BytesOf(fingerprint).ok()) return bad;
  return TokenText{*token, std::string(fingerprint)};
}

absl::Status RequestCertificate(const CertificateOrder& order, const TokenText& token) {
  RV_RETURN_IF_ERROR(WithExit(CheckName("name", order.name), ExitCode::kUsage));
  RV_ASSIGN_OR_RETURN(const HostPort endpoint, ParseAddress(order.address));
  if (!order.renew) RV_RETURN_IF_ERROR(CheckNoIdentity(order.directory));
  RV_ASSIGN_OR_RETURN(const std::string root_pem, FetchRoot(endpoint, token.fingerprint));
  RV_ASSIGN_OR_RETURN(const KeyPtr key, NewSigningKey());
  v1::EnrolRequest request;
  request.set_token(token.token);
  request.set_name(order.name);
  RV_ASSIGN_OR_RETURN(*request.mutable_request_pem(), RequestPem(*key));
  RV_RETURN_IF_ERROR(PrepareFolder(order.directory));  // before the token is spent
  RV_ASSIGN_OR_RETURN(const v1::EnrolReply reply, Ask(endpoint, root_pem, request));
  RV_RETURN_IF_ERROR(VerifyChain(reply.chain_pem(), root_pem, true));
  RV_ASSIGN_OR_RETURN(std::string key_pem, PrivatePem(*key));
  return WriteCredentials(order.directory, {std::move(key_pem), reply.chain_pem(), root_pem});
}

}  // namespace rivulet

#include "coordinator/enrolment/enrol_server.h"

#include <httplib.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <optional>

#include "common/utf8.h"
#include "coordinator/enrolment/rate_limit.h"
#include "coordinator/http/listen.h"
#include "privacy/crypto/key.h"
#include "rivulet/v1/enrolment.pb.h"

namespace rivulet {
namespace {

constexpr size_t kMaxBody = 8 << 10;

// TLS 1.3 with this key and chain.
bool Prepare(SSL_CTX& context, const Credentials& tls) {
  SSL_CTX_set_min_proto_version(&context, TLS1_3_VERSION);
  SSL_CTX_set_num_tickets(&context, 0);
  const absl::StatusOr<KeyPtr> key = ReadPrivateKey(tls.key_pem);
  const BioPtr in = MemoryBio(tls.chain_pem);
  const X509Ptr leaf(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (!key.ok() || leaf == nullptr || SSL_CTX_use_certificate(&context, leaf.get()) != 1 ||
      SSL_CTX_use_PrivateKey(&context, key->get()) != 1) {
    return false;
  }
  while (X509* above = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) {
    SSL_CTX_add_extra_chain_cert(&context, above);  // takes it over
  }
  return true;
}

int HttpCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    default:
      return 500;
  }
}

// The line of the log that says who got what: "lab/ann, role agent, certificate 0c1f".
std::string Enrolled(const std::string& chain_pem) {
  const absl::StatusOr<Identity> who = IdentityOfLeaf(chain_pem);
  if (!who.ok()) return std::string(who.status().message());  // we have just made it
  return who->organisation + "/" + who->name + ", role " + std::string(NameOf(who->role)) +
         ", certificate " + who->serial;
}

class HttplibServer final : public EnrolServer {
 public:
  HttplibServer(const Credentials& tls, EnrolmentAuthority& authority)
      : authority_(authority), server_([&tls](SSL_CTX& context) { return Prepare(context, tls); }) {
    SetLimits(server_, kMaxBody);
    server_.set_keep_alive_max_count(2);
    server_.Get("/v1/ca", [this](const httplib::Request&, httplib::Response& reply) {
      reply.set_content(authority_.roots_pem(), "application/x-pem-file");
    });
    server_.Post("/v1/enrol", [this](const httplib::Request& request, httplib::Response& reply) {
      Enrol(request, reply);
    });
  }

  absl::Status Listen(const std::string& address) {
    if (!server_.is_valid()) {
      return WithExit(Refuse(absl::StatusCode::kUnauthenticated,
                             "enrolment: its key and certificate are no pair"),
                      ExitCode::kConnection);
    }
    RV_ASSIGN_OR_RETURN(port_, Bind(server_, "listen", address));
    listening_.emplace(server_);
    return absl::OkStatus();
  }
  int port() const override { return port_; }

 private:
  void Enrol(const httplib::Request& request, httplib::Response& reply) {
    if (!limit_.Allow(request.remote_addr, std::chrono::steady_clock::now())) {
      reply.status = 429;
      return reply.set_content("too many requests; try again in a minute\n", "text/plain");
    }
    v1::EnrolRequest body;
    if (!body.ParseFromString(request.body)) {
      reply.status = 400;
      return reply.set_content("the body is no EnrolRequest\n", "text/plain");
    }
    const absl::StatusOr<std::string> chain =
        authority_.Enrol(body.token(), body.name(), body.request_pem(), std::time(nullptr));
    if (!chain.ok()) {
      spdlog::warn("enrolment refused to {}: {}", request.remote_addr,
                   Tidy(std::string(chain.status().message()), kMaxBody));
      reply.status = HttpCode(chain.status());
      return reply.set_content(std::string(chain.status().message()) + "\n", "text/plain");
    }
    spdlog::info("enrolled {}, from {}", Enrolled(*chain), request.remote_addr);
    v1::EnrolReply answer;
    answer.set_chain_pem(*chain);
    answer.set_roots_pem(authority_.roots_pem());
    reply.set_content(answer.SerializeAsString(), "application/x-protobuf");
  }

  EnrolmentAuthority& authority_;
  RateLimit limit_;
  httplib::SSLServer server_;
  int port_ = 0;
  std::optional<Listening> listening_;  // last: it uses the server
};

}  // namespace

absl::StatusOr<std::unique_ptr<EnrolServer>> EnrolServer::Start(const std::string& address,
                                                                const Credentials& tls,
                                                                EnrolmentAuthority& authority) {
  auto server = std::make_unique<HttplibServer>(tls, authority);
  RV_RETURN_IF_ERROR(server->Listen(address));
  return server;
}

}  // namespace rivulet

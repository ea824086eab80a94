#include "coordinator/ops/ops_server.h"

#include <httplib.h>

#include <optional>

#include "coordinator/http/listen.h"

namespace rivulet {
namespace {

constexpr size_t kMaxBody = 1024;

class HttplibServer final : public OpsServer {
 public:
  explicit HttplibServer(OpsQuestions questions) : questions_(std::move(questions)) {
    SetLimits(server_, kMaxBody);
    server_.Get("/livez", [this](const httplib::Request&, httplib::Response& reply) {
      Answer(questions_.alive(), "alive\n", reply);
    });
    server_.Get("/startupz", [](const httplib::Request&, httplib::Response& reply) {
      Answer(true, "started\n", reply);  // this server starts after recovery
    });
    server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& reply) {
      bool ready = true;
      std::string lines;
      for (const auto& [name, holds] : questions_.ready()) {
        ready = ready && holds;
        lines += name + (holds ? ": ok\n" : ": no\n");
      }
      Answer(ready, lines, reply);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& reply) {
      reply.set_content(questions_.metrics(), "text/plain; version=0.0.4; charset=utf-8");
    });
  }

  absl::Status Listen(const std::string& address) {
    RV_ASSIGN_OR_RETURN(port_, Bind(server_, "listen.ops", address));
    listening_.emplace(server_);
    return absl::OkStatus();
  }
  int port() const override { return port_; }

 private:
  static void Answer(bool good, const std::string& text, httplib::Response& reply) {
    reply.status = good ? 200 : 503;
    reply.set_content(text, "text/plain");
  }

  const OpsQuestions questions_;
  httplib::Server server_;
  int port_ = 0;
  std::optional<Listening> listening_;  // last: it uses the server
};

}  // namespace

absl::StatusOr<std::unique_ptr<OpsServer>> OpsServer::Start(const std::string& address,
                                                            OpsQuestions questions) {
  auto server = std::make_unique<HttplibServer>(std::move(questions));
  RV_RETURN_IF_ERROR(server->Listen(address));
  return server;
}

}  // namespace rivulet

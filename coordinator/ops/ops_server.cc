#include "coordinator/ops/ops_server.h"

#include <httplib.h>

#include <charconv>
#include <thread>

namespace rivulet {
namespace {

constexpr size_t kThreads = 4;
constexpr size_t kMaxBody = 1024;

class HttplibServer final : public OpsServer {
 public:
  explicit HttplibServer(OpsQuestions questions) : questions_(std::move(questions)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_payload_max_length(kMaxBody);
    server_.set_read_timeout(std::chrono::seconds(5));
    // No SO_REUSEPORT: a taken port must be an error. Connections of the last run that are still
    // timing out are none.
    server_.set_socket_options([](socket_t fd) {
      const int on = 1;
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
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
  ~HttplibServer() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Listen(const std::string& address) {
    const size_t colon = address.rfind(':');
    const std::string host = address.substr(0, colon);
    int port = -1;
    if (colon != std::string::npos) {
      std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
    }
    if (port < 0 || port > 65535) return Cannot(address, "want host:port");
    port_ = port == 0 ? server_.bind_to_any_port(host.c_str())
                      : (server_.bind_to_port(host.c_str(), port) ? port : -1);
    if (port_ <= 0) return Cannot(address, std::strerror(errno));
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    return absl::OkStatus();
  }
  int port() const override { return port_; }

 private:
  static absl::Status Cannot(const std::string& address, const std::string& why) {
    return WithExit(Refuse(absl::StatusCode::kUnavailable, "listen.ops: " + address + ": " + why),
                    ExitCode::kConnection);
  }
  static void Answer(bool good, const std::string& text, httplib::Response& reply) {
    reply.status = good ? 200 : 503;
    reply.set_content(text, "text/plain");
  }

  const OpsQuestions questions_;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<OpsServer>> OpsServer::Start(const std::string& address,
                                                            OpsQuestions questions) {
  auto server = std::make_unique<HttplibServer>(std::move(questions));
  RV_RETURN_IF_ERROR(server->Listen(address));
  return server;
}

}  // namespace rivulet

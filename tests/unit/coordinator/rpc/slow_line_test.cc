#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <thread>
#include <vector>

#include "common/rpc/credentials.h"
#include "rivulet/v1/federation.grpc.pb.h"

namespace rivulet {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Passes bytes between whoever connects and `port`, each piece `delay` late: a line of that length.
class SlowLine {
 public:
  SlowLine(int port, std::chrono::milliseconds delay)
      : target_(port), delay_(delay), listener_(Keep(socket(AF_INET, SOCK_STREAM, 0))) {
    const sockaddr_in any = Loopback(0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~SlowLine() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      for (const int fd : sockets_) shutdown(fd, SHUT_RDWR);
    }
    acceptor_.join();
    for (std::thread& pump : pumps_) pump.join();
    for (const int fd : sockets_) close(fd);
  }

  int port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }

 private:
  int Keep(int fd) {
    const std::lock_guard lock(mutex_);
    sockets_.push_back(fd);
    if (ending_) shutdown(fd, SHUT_RDWR);
    return fd;
  }

  void Accept() {
    while (true) {
      const int near = accept(listener_, nullptr, nullptr);
      if (near < 0) return;
      const int far = Keep(socket(AF_INET, SOCK_STREAM, 0));
      Keep(near);
      const sockaddr_in address = Loopback(target_);
      if (connect(far, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) continue;
      pumps_.emplace_back([this, near, far] { Pump(near, far); });
      pumps_.emplace_back([this, near, far] { Pump(far, near); });
    }
  }

  void Pump(int from, int to) const {
    std::vector<char> piece(1 << 16);
    ssize_t got = 0;
    while ((got = recv(from, piece.data(), piece.size(), 0)) > 0) {
      std::this_thread::sleep_for(delay_);
      if (send(to, piece.data(), static_cast<size_t>(got), MSG_NOSIGNAL) != got) break;
    }
    shutdown(to, SHUT_WR);
  }

  const int target_;
  const std::chrono::milliseconds delay_;
  std::mutex mutex_;
  bool ending_ = false;
  std::vector<int> sockets_;
  const int listener_;
  std::vector<std::thread> pumps_;  // grown by the acceptor alone
  std::thread acceptor_;
};

TEST(ChannelLimits, LetAPeerBehindALongLineConnect) {
  v1::Federation::CallbackService service;  // a server needs one; nothing is called
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  SlowLine line(port, std::chrono::milliseconds(400));
  const auto channel =
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(line.port()),
                                grpc::InsecureChannelCredentials(), ChannelLimits());
  EXPECT_TRUE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)));
}

}  // namespace
}  // namespace rivulet

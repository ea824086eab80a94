#include "common/rpc/status_mapping.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "rivulet/v1/operations.grpc.pb.h"

namespace rivulet {
namespace {

// Answers every List with the status it was given.
class Refuser final : public v1::Operations::Service {
 public:
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest*, v1::ListReply*) override {
    return ToGrpc(status, *context);
  }
  absl::Status status;
};

TEST(StatusMapping, CodeMessageRemedyAndExitSurviveTheTrip) {
  Refuser refuser;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&refuser);
  const auto server = builder.BuildAndStart();
  const auto stub = v1::Operations::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  const auto trip = [&](const absl::Status& status) {
    refuser.status = status;
    grpc::ClientContext context;
    v1::ListReply reply;
    return FromGrpc(stub->List(&context, v1::ListRequest(), &reply), context);
  };
  EXPECT_TRUE(trip(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    for (const Remedy remedy :
         {Remedy::kNone, Remedy::kRetryLater, Remedy::kResync, Remedy::kLeaveRun}) {
      const absl::Status sent = Refuse(static_cast<absl::StatusCode>(code), "rank: got 0", remedy);
      EXPECT_EQ(trip(sent), sent) << code;
    }
  }
  const absl::Status stopped =
      WithExit(Refuse(absl::StatusCode::kFailedPrecondition, "model"), ExitCode::kPolicy);
  EXPECT_EQ(ExitCodeOf(trip(stopped)), ExitCode::kPolicy);
  EXPECT_EQ(trip(absl::InternalError(std::string(10000, 'x'))).message().size(), 2048u);
}

}  // namespace
}  // namespace rivulet

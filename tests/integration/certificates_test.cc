// Who is let in: certificates that are expired, foreign, of another federation or of another role,
// at each of the three doors (coordinator, agent, operator).
#include "tests/integration/certificates.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/io/file.h"
#include "rivulet/v1/operations.grpc.pb.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::AnyOf;
using testing::HasSubstr;

constexpr seconds kLongOver{-60};
const Identity kAgent{"demo", "demo-org", "ada", Role::kAgent};
const Identity kAdmin{"demo", "federation", "admin", Role::kAdmin};

class Certificates : public testing::Test {
 protected:
  std::filesystem::path Client(const Identity& who, seconds life) {
    return WriteClientCredentials(deployment_.pki(), who, life, deployment_.folder() / "odd");
  }
  Finished ListWith(const std::filesystem::path& credentials) {
    return deployment_.Rivulet({"job", "list", "--coordinator", deployment_.operators_address(),
                                "--tls-dir", credentials.string()});
  }
  Finished ListNodes() { return deployment_.Operate({"node", "list"}); }
  Finished RunAgentWith(const std::filesystem::path& credentials) {
    return deployment_.Run(deployment_.AgentCommand("ada", {TOY_AGENT}, "/dev/null",
                                                    {{"--tls-dir", credentials.string()}}));
  }
  // Calls without the checks that our own programs make before they dial.
  grpc::Status Call(const std::filesystem::path& credentials) {
    const auto channel = grpc::CreateChannel(deployment_.operators_address(),
                                             MutualTlsClient(ReadTlsFiles(credentials)));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    v1::ListReply reply;
    return v1::Operations::NewStub(channel)->List(&context, v1::ListRequest(), &reply);
  }

  Deployment deployment_;
};

TEST_F(Certificates, ACoordinatorWithAnExpiredCertificateDoesNotStart) {
  const auto expired =
      WriteServerCredentials(deployment_.pki(), kLongOver, deployment_.folder() / "expired");
  const Finished run =
      deployment_.Run(deployment_.CoordinatorCommand({{"--tls-dir", expired.string()}}));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr(expired.string() + "/cert.pem: "));
  EXPECT_THAT(run.err, HasSubstr("certificate has expired"));
}

TEST_F(Certificates, AnAgentWithAnExpiredCertificateDoesNotStart) {
  deployment_.StartCoordinator();
  const Finished run = RunAgentWith(Client(kAgent, kLongOver));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("odd/cert.pem: "));
  EXPECT_THAT(run.err, HasSubstr("certificate has expired"));
}

TEST_F(Certificates, AnOperatorWithAnExpiredCertificateIsTold) {
  deployment_.StartCoordinator();
  const Finished run = ListWith(Client(kAdmin, kLongOver));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("odd/cert.pem: "));
  EXPECT_THAT(run.err, HasSubstr("certificate has expired"));
}

TEST_F(Certificates, TheHandshakeTakesAValidOneAndNoExpiredOne) {
  deployment_.StartCoordinator();
  const grpc::Status valid = Call(Client(kAdmin, hours(1)));
  EXPECT_TRUE(valid.ok()) << valid.error_message();
  EXPECT_EQ(Call(Client(kAdmin, kLongOver)).error_code(), grpc::StatusCode::UNAVAILABLE);
}

// It trusts our root, so it would talk to us; we do not talk to it.
TEST_F(Certificates, ALeafOfAnotherAuthorityIsRefusedByHandshakeAndByOurOwnPrograms) {
  Deployment other;
  deployment_.StartCoordinator();
  const auto theirs = WriteClientCredentials(other.pki(), kAdmin, hours(1), other.folder() / "odd");
  const auto foreign =
      MixCredentials(theirs, deployment_.pki() / "operator", deployment_.folder() / "foreign");
  EXPECT_EQ(Call(foreign).error_code(), grpc::StatusCode::UNAVAILABLE);
  for (const Finished& run : {ListWith(foreign), RunAgentWith(foreign)}) {
    EXPECT_EQ(run.code, 4);
    EXPECT_THAT(run.err, HasSubstr("foreign/cert.pem: "));
    // Both authorities have the same name; OpenSSL says the one or the other.
    EXPECT_THAT(run.err, AnyOf(HasSubstr("unable to get local issuer certificate"),
                               HasSubstr("certificate signature failure")));
  }
}

TEST_F(Certificates, ACoordinatorOfAnotherAuthorityIsNotTrusted) {
  Deployment other;
  deployment_.StartCoordinator();
  const Finished run = ListWith(other.pki() / "operator");
  EXPECT_EQ(run.code, 4) << run.err;
  EXPECT_THAT(run.err, HasSubstr("coordinator " + deployment_.operators_address() + ": "));
}

TEST_F(Certificates, AnotherFederationUnderTheSameRootIsNamed) {
  deployment_.StartCoordinator();
  Identity other = kAgent;
  other.federation = "elsewhere";
  const Finished agent = RunAgentWith(Client(other, hours(1)));
  EXPECT_EQ(agent.code, 4);
  EXPECT_THAT(agent.err, HasSubstr("federation 'elsewhere', want 'demo'"));
  Identity admin = kAdmin;
  admin.federation = "elsewhere";
  const Finished listed = ListWith(Client(admin, hours(1)));
  EXPECT_EQ(listed.code, 4);
  EXPECT_THAT(listed.err, HasSubstr("federation 'elsewhere', want 'demo'"));
}

TEST_F(Certificates, EachRoleHasItsOwnDoor) {
  deployment_.StartCoordinator();
  const Finished listed = ListWith(Client(kAgent, hours(1)));
  EXPECT_EQ(listed.code, 4);
  EXPECT_THAT(listed.err, HasSubstr("Operations.List: role agent lacks the right"));
  const Finished agent = RunAgentWith(Client(kAdmin, hours(1)));
  EXPECT_EQ(agent.code, 4);
  EXPECT_THAT(agent.err, HasSubstr("Federation.Connect: role admin lacks the right"));
}

std::string Slurp(const std::filesystem::path& path) {
  return ReadFile(path, 1 << 16).value_or("");
}

TEST_F(Certificates, EnrollingAgainUnderTheSameNameReplacesThem) {
  const std::filesystem::path pki = deployment_.Enrol("ada");
  const std::string first = Slurp(pki / "cert.pem");
  const auto enrol = [&](const std::string& organisation) {
    const std::string token = (deployment_.folder() / "token").string();
    std::ofstream(token) << deployment_
                                .Rivulet({"node", "enroll", "--org", organisation, "--pki",
                                          deployment_.pki().string(), "--store",
                                          (deployment_.folder() / "enrolment").string()})
                                .out;
    return deployment_.Rivulet({"pki", "request", "--enroll", deployment_.StartEnrolment(),
                                "--token-file", token, "--dir", pki.string(), "--name", "ada",
                                "--renew"});
  };
  const Finished stranger = enrol("another-org");
  EXPECT_EQ(stranger.code, 4);
  EXPECT_THAT(stranger.err, HasSubstr("name: 'ada' belongs to another organisation"));
  EXPECT_EQ(Slurp(pki / "cert.pem"), first);
  EXPECT_EQ(enrol("demo-org").code, 0);
  EXPECT_NE(Slurp(pki / "cert.pem"), first);
  deployment_.StartCoordinator();
  deployment_.StartAgent("ada", {TOY_AGENT}, "/dev/null");
  EXPECT_TRUE(WaitUntil([&] { return ListNodes().out.find("ada ") != std::string::npos; }));
}

TEST_F(Certificates, AMissingFileIsNamed) {
  const Finished run = ListWith(deployment_.folder() / "nowhere");
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("nowhere/key.pem: open: No such file"));
}

}  // namespace
}  // namespace rivulet

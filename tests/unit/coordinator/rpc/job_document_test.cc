// The document of a job goes out once a connection.
#include "service_fixture.h"

namespace rivulet {
namespace {

class JobDocumentTest : public ServiceTest {
 protected:
  // An agent's stream, from Hello to Welcome.
  struct Agent {
    explicit Agent(v1::Federation::Stub& stub) : stream(stub.Connect(&context)) {
      stream->Write(Hello());
      v1::CoordinatorMessage welcome;
      EXPECT_TRUE(stream->Read(&welcome) && welcome.has_welcome());
    }
    ~Agent() {
      context.TryCancel();
      stream->Finish();
    }
    v1::Task Next() {
      v1::CoordinatorMessage message;
      while (stream->Read(&message)) {
        if (message.has_task()) return message.task();
      }
      ADD_FAILURE() << "the stream ended";
      return {};
    }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::CoordinatorMessage>> stream;
  };

  void Send(const std::string& client, const std::string& document) {
    ClientTask task;
    task.job_id = "job of " + document;
    task.job_document = document;
    task.job_sha256 = Sha256Hex(document);
    task.state_sha256 = std::string(64, 'a');
    streams_.Send(client, task);
  }

  void Await(size_t agents) const {
    while (streams_.size() < agents) std::this_thread::yield();
  }
};

TEST_F(JobDocumentTest, ComesWithTheFirstTaskOfAStreamAndWhenItIsAnother) {
  const auto stub = StubOf("ann");
  {
    Agent ann(*stub);
    Await(1);
    for (const char* document : {"A", "A", "B", "B", "A", "B"}) Send("ann", document);
    for (const char* want : {"A", "", "B", "", "A", "B"}) {
      EXPECT_EQ(ann.Next().job_document(), want);
    }
    Send("ann", "B");
    const v1::Task last = ann.Next();
    EXPECT_EQ(last.job_document(), "");
    EXPECT_EQ(HexOfBytes(last.job_sha256()), Sha256Hex("B"));
  }
  while (streams_.size() > 0) std::this_thread::yield();
  Agent again(*stub);
  Await(1);
  Send("ann", "B");
  EXPECT_EQ(again.Next().job_document(), "B") << "a new stream starts with nothing";
}

TEST_F(JobDocumentTest, OfOneAgentSaysNothingOfAnother) {
  const auto anns = StubOf("ann"), bobs = StubOf("bob");
  Agent ann(*anns), bob(*bobs);
  Await(2);
  for (const char* client : {"ann", "bob"}) Send(client, "A");
  EXPECT_EQ(ann.Next().job_document(), "A");
  EXPECT_EQ(bob.Next().job_document(), "A");
}

TEST_F(JobDocumentTest, OfTheFederationsTasksHasItsHash) {
  const Assignment first = FirstTask();  // the second task of its stream: the first was to evaluate
  EXPECT_EQ(first.job_document, "toy");
  const auto stub = StubOf("ann");
  Agent again(*stub);
  const v1::Task task = again.Next();
  EXPECT_EQ(task.job_document(), "toy");
  EXPECT_EQ(HexOfBytes(task.job_sha256()), Sha256Hex("toy"));
}

}  // namespace
}  // namespace rivulet

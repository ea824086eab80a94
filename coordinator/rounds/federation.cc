#include "coordinator/rounds/federation.h"

#include <utility>

#include "coordinator/rounds/federation_impl.h"

namespace rivulet {

Federation::Federation(FederationConfig config, StateStore& states, BlobStore& blobs,
                       ClientGateway& gateway, const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(config), states, blobs, gateway, clock)) {}
Federation::~Federation() = default;

absl::Status Federation::Recover() { return impl_->Recover(); }
uint64_t Federation::epoch() const { return impl_->epoch(); }
absl::StatusOr<std::string> Federation::Submit(const JobSubmission& submission) {
  return impl_->Submit(submission);
}
absl::StatusOr<SubmitNeeds> Federation::NeedsOf(const JobSubmission& submission) const {
  return impl_->NeedsOf(submission);
}
absl::Status Federation::Stop(const std::string& job, bool now) { return impl_->Stop(job, now); }
std::vector<JobView> Federation::List() const { return impl_->List(); }
absl::StatusOr<std::string> Federation::Resolve(const std::string& job) const {
  return impl_->Resolve(job);
}
absl::StatusOr<JobView> Federation::Show(const std::string& job) const { return impl_->Show(job); }
absl::StatusOr<bool> Federation::Ended(const std::string& job) const { return impl_->Ended(job); }
absl::StatusOr<std::vector<NamedBlob>> Federation::Downloads(const std::string& job) const {
  return impl_->Downloads(job);
}
absl::StatusOr<std::unique_ptr<BlobReader>> Federation::OpenDownload(
    const std::string& job, const std::string& sha256, const std::function<bool()>& gone) {
  return impl_->OpenDownload(job, sha256, gone);
}
std::vector<ClientView> Federation::Clients() const { return impl_->Clients(); }
void Federation::Connected(const ClientFacts& facts) { impl_->Connected(facts); }
void Federation::Disconnected(const std::string& client) { impl_->Disconnected(client); }
absl::StatusOr<std::unique_ptr<BlobReader>> Federation::OpenState(const std::string& client,
                                                                  const std::string& sha256,
                                                                  uint64_t offset) {
  return impl_->OpenState(client, sha256, offset);
}
absl::StatusOr<std::shared_ptr<UploadSession>> Federation::BeginUpload(const std::string& client,
                                                                       const UpdateHeader& header) {
  return impl_->BeginUpload(client, header);
}
absl::Status Federation::ReportFailure(const std::string& client, const std::string& job,
                                       uint64_t round, uint32_t attempt, const std::string& code,
                                       const std::string& text) {
  return Report({FailureRecord{job, round, attempt, client, code, text}}).front();
}
absl::Status Federation::ReportEvaluation(const std::string& client, const std::string& job,
                                          uint64_t round, const EvaluationReport& report) {
  return Report({EvaluationReportRecord{job, round, client, report.loss_fixed, report.counted,
                                        report.correct}})
      .front();
}
std::vector<absl::Status> Federation::Report(const std::vector<ClientReport>& reports) {
  return impl_->Report(reports);
}
absl::Status Federation::Masking(const std::string& client, const MaskingMessage& message) {
  return impl_->Masking(client, message);
}
absl::StatusOr<std::vector<ReleaseView>> Federation::Ledger(const std::string& job) const {
  return impl_->Ledger(job);
}
void Federation::Tick() { impl_->Tick(); }
std::optional<std::chrono::milliseconds> Federation::NextDeadline() const {
  return impl_->NextDeadline();
}
uint64_t Federation::Subscribe(const std::string& job, Watcher watcher) {
  return impl_->Subscribe(job, std::move(watcher));
}
void Federation::Unsubscribe(uint64_t subscription) { impl_->Unsubscribe(subscription); }
absl::StatusOr<JobView> Federation::WaitForEnd(const std::string& job,
                                               std::chrono::milliseconds patience) {
  return impl_->WaitForEnd(job, patience);
}

}  // namespace rivulet

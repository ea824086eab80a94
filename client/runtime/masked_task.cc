#include "client/runtime/masked_task.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "common/scalars/scalar_form.h"
#include "privacy/masking/direction_root.h"
#include "privacy/masking/signature_verifier.h"
#include "privacy/masking/task_terms.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet {
namespace {

constexpr uint8_t kTaskVersion = 3;
constexpr double kManyClamped = 1e-5;  // of the coordinates, beside those meant to be

absl::StatusOr<MaskedForm> FormOf(const std::string& text) {
  RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(text));
  if (!document.spec.secure_aggregation.enabled) {
    return secagg::RefuseFor(secagg::Reason::kParams, "the job asks for no masks, the task does");
  }
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(document));
  return MaskedForm::Of(document.spec, UpdateManifestOf(document.spec, model.plan.wire()));
}

MaskedAttempt AttemptOf(const MaskedTaskFacts& facts) {
  MaskedAttempt attempt;
  attempt.job = facts.job;
  attempt.round = facts.round;
  attempt.attempt = facts.attempt;
  attempt.state_sha256 = facts.state_sha256;
  attempt.document = facts.document;
  return attempt;
}

// A second pass says of an update what the first has not said. One that came in another round would
// go by another Q, and of two sums that overlap a coordinator could learn one client's part.
absl::StatusOr<TaskTerms> TermsOf(const MaskedForm& form, const MaskedTaskFacts& facts) {
  if (!form.two_passes()) return ReadTaskTerms(form, AttemptOf(facts), facts.parameters);
  const bool second = facts.round % 2 == 0;
  if (second == facts.log_sha256.empty()) {
    return secagg::RefuseFor(secagg::Reason::kParams,
                             std::string("power-sgd: got ") + (second ? "no" : "a") +
                                 " mean of a first pass in round " + std::to_string(facts.round) +
                                 ", want one in even rounds alone");
  }
  return ReadTaskTerms(form.OfSecondPass(facts.log_sha256), AttemptOf(facts), facts.parameters);
}

// Of the sum that the client will be in; where groups are still to be drawn, of the largest that
// there is when everybody comes.
absl::Status CheckSum(const TaskTerms& terms, const MaskedTaskFacts& facts,
                      const secagg::ClientPolicy& policy) {
  secagg::Params params = terms.params;
  if (terms.form.grouped()) {
    MaskedAttempt largest = AttemptOf(facts);
    const uint32_t groups = terms.form.GroupsOf(params.n_max);
    largest.cohort = params.n_max / groups + (params.n_max % groups != 0);
    params = terms.form.ParamsOf(largest);
  }
  RV_RETURN_IF_ERROR(secagg::Check(params));
  return secagg::CheckPolicy(policy, params);
}

secagg::ClientContext ContextOf(const MaskingSelf& self) {
  return {self.certificate, self.signer,  SignatureVerifier(), self.directory,
          self.ledger,      self.entropy, self.policy,         1};
}

}  // namespace

MaskedTask::MaskedTask(const MaskingSelf& self, MaskedForm form)
    : self_(self), form_(std::move(form)), session_(ContextOf(self)) {
  if (form_.grouped()) draw_.emplace(ContextOf(self));
}

absl::Status MaskedTask::TakeParameters(const MaskedTaskFacts& facts) {
  RV_ASSIGN_OR_RETURN(TaskTerms terms, TermsOf(form_, facts));
  form_ = std::move(terms.form);
  params_ = terms.params;
  upload_ = {facts.job, self_.name, facts.round, facts.attempt};
  attempt_ = AttemptOf(facts);
  return absl::OkStatus();
}

absl::Status MaskedTask::Check(const MaskedTaskFacts& facts, const secagg::ClientPolicy& policy) {
  RV_ASSIGN_OR_RETURN(const MaskedForm form, FormOf(facts.document));
  RV_ASSIGN_OR_RETURN(const TaskTerms terms, TermsOf(form, facts));
  return CheckSum(terms, facts, policy);
}

absl::StatusOr<std::unique_ptr<MaskedTask>> MaskedTask::Begin(const MaskingSelf& self,
                                                              const MaskedTaskFacts& facts) {
  RV_ASSIGN_OR_RETURN(MaskedForm form, FormOf(facts.document));
  return Begin(self, facts, std::move(form));
}

absl::StatusOr<std::unique_ptr<MaskedTask>> MaskedTask::Begin(const MaskingSelf& self,
                                                              const MaskedTaskFacts& facts,
                                                              MaskedForm form) {
  std::unique_ptr<MaskedTask> task(new MaskedTask(self, std::move(form)));
  RV_RETURN_IF_ERROR(task->TakeParameters(facts));
  if (task->draw_) {
    RV_RETURN_IF_ERROR(CheckSum({task->form_, task->params_}, facts, self.policy));
    RV_RETURN_IF_ERROR(task->Commit());
  } else {
    RV_RETURN_IF_ERROR(task->Advertise());
  }
  return task;
}

absl::Status MaskedTask::Commit() {
  Bytes32 nonce{};
  if (self_.nonce) {
    nonce = self_.nonce(upload_, form_.seed());
  } else {
    self_.entropy.Fill(nonce);
  }
  RV_ASSIGN_OR_RETURN(advertisement_, draw_->Commit(params_, form_.fewest_drawn(), nonce));
  return absl::OkStatus();
}

absl::Status MaskedTask::Advertise() {
  secagg::LocalRound local;
  local.job_id = params_.job_id;
  local.round = params_.round;
  local.model_sha256 = params_.model_sha256;
  local.config_sha256 = params_.config_sha256;
  local.d = params_.d;
  local.d_aux = params_.d_aux;
  if (draw_) local.group = draw_->group().members;
  RV_ASSIGN_OR_RETURN(advertisement_, session_.Advertise(params_, local));
  return absl::OkStatus();
}

// From here on the attempt is about the sum of its own group, whose parameters nobody has to say.
void MaskedTask::EnterGroup() {
  const secagg::DrawnGroup& group = draw_->group();
  attempt_.cohort = static_cast<uint32_t>(group.members.size());
  attempt_.group = group.index;
  attempt_.drawn = group.drawn;
  params_ = form_.ParamsOf(attempt_);
}

std::string MaskedTask::advertisement() const {
  const std::lock_guard lock(mutex_);
  return advertisement_;
}

std::string MaskedTask::Serialise() const {
  const std::lock_guard lock(mutex_);
  std::string draw = draw_ ? draw_->Serialise() : "";
  std::string session = session_.Serialise();
  // Reserved at once: a text that grows leaves copies of secrets behind.
  secagg::ByteWriter out(64 + draw.size() + session.size() + advertisement_.size() + file_.size() +
                         rest_.size());
  out.U8(kTaskVersion).Lp(draw).Lp(session).Lp(advertisement_).Lp(file_).Lp(rest_);
  OPENSSL_cleanse(draw.data(), draw.size());
  OPENSSL_cleanse(session.data(), session.size());
  return out.Take();
}

absl::StatusOr<std::unique_ptr<MaskedTask>> MaskedTask::Restore(const MaskingSelf& self,
                                                                const MaskedTaskFacts& facts,
                                                                std::string_view state) {
  RV_ASSIGN_OR_RETURN(MaskedForm form, FormOf(facts.document));
  std::unique_ptr<MaskedTask> task(new MaskedTask(self, std::move(form)));
  RV_RETURN_IF_ERROR(task->TakeParameters(facts));
  secagg::ByteReader in(state);
  const uint8_t version = in.U8();
  const std::string_view draw = in.Lp(), session = in.Lp();
  task->advertisement_ = in.Lp();
  task->file_ = in.Lp();
  task->rest_ = in.Lp();
  if (version != kTaskVersion || !in.Done()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "masked task: the stored state is damaged");
  }
  if (task->draw_) {
    RV_RETURN_IF_ERROR(task->draw_->Restore(draw));
    if (task->draw_->phase() == secagg::ClientDraw::Phase::kDrawn) task->EnterGroup();
  }
  RV_RETURN_IF_ERROR(task->session_.Restore(session));
  return task;
}

absl::StatusOr<std::string> MaskedTask::On(std::string_view message) {
  const std::lock_guard lock(mutex_);
  if (!draw_) return session_.Handle(message);
  RV_ASSIGN_OR_RETURN(const secagg::Message decoded, secagg::DecodeMessage(message));
  const auto* nonces = std::get_if<secagg::Nonces>(&decoded);  // of the draw, or of a ring
  const bool drawn = draw_->phase() == secagg::ClientDraw::Phase::kDrawn;
  const bool of_draw = !drawn || std::holds_alternative<secagg::Pool>(decoded) ||
                       (nonces != nullptr && nonces->sid == draw_->draw());
  return of_draw ? OnDraw(decoded) : session_.Handle(message);
}

absl::StatusOr<std::string> MaskedTask::OnDraw(const secagg::Message& message) {
  if (const auto* pool = std::get_if<secagg::Pool>(&message)) return draw_->OnPool(*pool);
  if (const auto* abort = std::get_if<secagg::Abort>(&message)) return draw_->OnAbort(*abort);
  if (const auto* nonces = std::get_if<secagg::Nonces>(&message)) {
    const uint32_t members = draw_->size();
    RV_RETURN_IF_ERROR(draw_->OnNonces(*nonces, members > 0 ? form_.GroupsOf(members) : 0));
    if (session_.phase() == secagg::ClientSession::Phase::kNew) {
      EnterGroup();
      RV_RETURN_IF_ERROR(Advertise());
    }
    return advertisement_;
  }
  return Refuse(absl::StatusCode::kFailedPrecondition, "message: groups are not drawn yet");
}

bool MaskedTask::agreed() const {
  const std::lock_guard lock(mutex_);
  const auto phase = session_.phase();
  return phase >= secagg::ClientSession::Phase::kForwarded &&
         phase <= secagg::ClientSession::Phase::kUnmasked;
}

uint64_t MaskedTask::direction_root() const {
  const std::lock_guard lock(mutex_);
  return DirectionRootOf(session_.sid0(), session_.sid());
}

std::string MaskedTask::abort_message() const {
  const std::lock_guard lock(mutex_);
  const std::string of_draw = draw_ ? draw_->AbortMessage() : "";
  return of_draw.empty() ? session_.AbortMessage() : of_draw;
}

// What was trained again may be another update, made from the remainder of before: what counts is
// what the file that the coordinator gets leaves.
absl::StatusOr<std::string> MaskedTask::FileOfBefore(LocalUpdate& update) const {
  update.masked.residual.reset();
  if (rest_.empty()) return file_;
  const Manifest& manifest = form_.manifest();
  RV_ASSIGN_OR_RETURN(update.masked.residual, ReadParameterSet(rest_, &manifest));
  return file_;
}

absl::StatusOr<std::string> MaskedTask::File(LocalUpdate& update) {
  const std::lock_guard lock(mutex_);
  if (!file_.empty()) return FileOfBefore(update);
  if (session_.phase() != secagg::ClientSession::Phase::kForwarded) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "masked task: no masks are agreed");
  }
  const Manifest& manifest = form_.manifest();
  RV_ASSIGN_OR_RETURN(const ParameterSet delta, ReadParameterSet(update.file, &manifest));
  std::vector<float> storage;
  std::span<const float> previous;
  if (update.masked.movement) previous = Flatten(*update.masked.movement, storage);
  if (update.masked.first_pass != nullptr) previous = *update.masked.first_pass;
  RV_ASSIGN_OR_RETURN(const MaskedForm::Maps maps,
                      form_.MapsOf(params_.round, session_.sid0(), session_.sid(), previous));
  ParameterSet* const residual = update.masked.residual ? &*update.masked.residual : nullptr;
  EntropyRounding own(self_.entropy);
  const auto given = self_.rounding ? self_.rounding(upload_, form_.seed()) : nullptr;
  RoundingSource& rounding = given != nullptr ? *given : own;
  const MaskedFigures figures{update.examples, update.tokens, update.steps, update.loss};
  RV_ASSIGN_OR_RETURN(EncodedUpdate encoded,
                      EncodeUpdate(form_, maps, params_, delta, form_.WeightOf(update.tokens),
                                   figures, self_.entropy, rounding, residual));
  if (encoded.norm > form_.range()) {
    spdlog::info("update: L2 norm {:.4g} scaled down to {:.4g}", encoded.norm, form_.range());
  }
  constexpr double kFarBelow = 1.0 / 3;  // there noise is nine tenths of what signs say
  if (form_.signs() && encoded.norm < kFarBelow * form_.range()) {
    spdlog::warn(
        "update: L2 norm {:.4g}, far below secure-aggregation.range = {:.4g}, to which "
        "compression.codec = \"drive\" fills it up with noise; want a range near the norms",
        encoded.norm, form_.range());
  }
  const double meant = form_.rotated() ? ShareBeyond(LatticeDeviations(form_.value_bits())) : 0;
  if (static_cast<double>(encoded.clamped) >
      (2 * meant + kManyClamped) * static_cast<double>(form_.values())) {
    spdlog::warn("update: {} of {} masked values were clamped", encoded.clamped, form_.values());
  }
  RV_ASSIGN_OR_RETURN(const secagg::MaskedUpload masked, session_.Mask(std::move(encoded.vector)));
  file_ = masked.packed + masked.trailer;
  if (residual != nullptr) rest_ = SafetensorsBytes(*residual);
  return file_;
}

}  // namespace rivulet

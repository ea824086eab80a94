#include "simulations/engine/fleet.h"

#include <algorithm>
#include <cmath>

#include "common/random.h"

namespace rivulet {

namespace {

absl::StatusOr<std::string> Proven(std::string state, const std::string& sha256) {
  const std::string got = Sha256Hex(state);
  if (got == sha256) return state;
  return Refuse(absl::StatusCode::kDataLoss, "log: replayed to state " + got + ", want " + sha256);
}

}  // namespace

int WorkersOf(int asked, int threads) {
  if (asked > 0) return asked;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, threads));
}

Fleet::Fleet(FleetConfig config, TaskRunner& runner) : config_(config), runner_(runner) {}

Fleet::~Fleet() { Stop(); }

void Fleet::Start(Federation& federation) {
  federation_ = &federation;
  for (int worker = 0; worker < config_.workers; ++worker)
    threads_.emplace_back([this] { Work(); });
}

void Fleet::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& order : running_) order->cancelled = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Fleet::Send(const std::string& client, const ClientTask& task) {
  if (task.masking.empty()) return PostTask(client, task);
  // Keys first, for all of the cohort: training takes its time. Begin() goes on.
  auto begin = std::make_shared<Order>();
  begin->kind = Kind::kBegin;
  begin->client = client;
  begin->task = task;
  Post(std::move(begin));
}

void Fleet::PostTask(const std::string& client, const ClientTask& task,
                     std::optional<uint64_t> session_root) {
  auto order = std::make_shared<Order>();
  order->client = client;
  order->task = task;
  order->session_root = session_root;
  Post(std::move(order));
}

void Fleet::Tell(const std::vector<std::string>& clients, const MaskingMessage& message) {
  const auto shared = std::make_shared<const MaskingMessage>(message);
  for (const std::string& client : clients) {
    auto order = std::make_shared<Order>();
    order->kind = Kind::kMessage;
    order->client = client;
    order->message = shared;
    Post(std::move(order));
  }
}

void Fleet::Post(std::shared_ptr<Order> order) {
  {
    const std::lock_guard lock(mutex_);
    (order->kind == Kind::kTask ? queue_ : messages_).push_back(std::move(order));
  }
  wake_.notify_one();
}

void Fleet::Mask(std::vector<std::string> clients) {
  masked_ = std::make_unique<MaskedClients>(
      std::move(clients), runner_,
      [this](const std::string& client, const ClientTask& task, const LocalUpdate& update) {
        return Upload(client, task, update);
      },
      [this](const std::string& client, const ClientTask& task, DropPoint at) {
        const bool gone = DropPointOf(client, task) == at;
        if (gone && at <= DropPoint::kUpdate) ReportDrop(client, task);
        return gone;
      });
}

void Fleet::Introduce(ClientFacts& facts) const {
  if (masked_ != nullptr) masked_->Introduce(facts);
}

void Fleet::Cancel(const std::string& client, const std::string& job_id, uint64_t round,
                   uint32_t attempt, const std::string& reason) {
  const auto meant = [&](const std::shared_ptr<Order>& order) {
    return order->client == client && order->task.job_id == job_id && order->task.round == round &&
           order->task.attempt == attempt;
  };
  if (masked_ != nullptr) masked_->Forget(client, job_id, round, attempt);
  const std::lock_guard lock(mutex_);
  std::erase_if(queue_, meant);
  std::erase_if(messages_, meant);
  for (const auto& order : running_) {
    if (meant(order)) order->cancelled = true;
  }
}

std::shared_ptr<Fleet::Order> Fleet::Next() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stopping_ || !queue_.empty() || !messages_.empty(); });
  if (stopping_) return nullptr;
  std::deque<std::shared_ptr<Order>>& next = messages_.empty() ? queue_ : messages_;
  std::shared_ptr<Order> order = std::move(next.front());
  next.pop_front();
  running_.push_back(order);
  return order;
}

void Fleet::Work() {
  while (const std::shared_ptr<Order> order = Next()) {
    Perform(*order);
    const std::lock_guard lock(mutex_);
    std::erase(running_, order);
  }
}

void Fleet::Perform(Order& order) {
  if (Drops(order)) return;
  const absl::Status status = Do(order);
  if (status.ok() || order.cancelled) return;
  const auto report = [&](const auto& of) {  // of an attempt that is over: nobody minds
    (void)federation_->ReportFailure(order.client, of.job_id, of.round, of.attempt,
                                     absl::StatusCodeToString(status.code()),
                                     std::string(status.message()));
  };
  // What was trained may be masked, and sent, where the last message comes.
  order.kind == Kind::kMessage ? report(*order.message) : report(order.task);
}

absl::Status Fleet::Do(Order& order) {
  if (order.kind == Kind::kBegin) return Begin(order);
  if (order.kind == Kind::kMessage) return Hear(order);
  RV_ASSIGN_OR_RETURN(const auto state, StateOf(order));
  return order.task.kind == ClientTask::Kind::kTrain ? Train(order, state) : Evaluate(order, state);
}

// What is trained, perhaps in no time at all, belongs to masks that have begun.
absl::Status Fleet::Begin(Order& order) {
  RV_RETURN_IF_ERROR(masked_->Begin(*federation_, order.client, order.task));
  if (!config_.of_session && !order.cancelled) PostTask(order.client, order.task);  // else Hear()
  return absl::OkStatus();
}

absl::Status Fleet::Hear(Order& order) {
  RV_RETURN_IF_ERROR(masked_->On(*federation_, order.client, *order.message));
  if (!config_.of_session) return absl::OkStatus();
  const auto agreed = masked_->TakeAgreed(order.client, *order.message);
  if (agreed) PostTask(order.client, agreed->first, agreed->second);
  return absl::OkStatus();
}

absl::Status Fleet::Train(Order& order, const StateFile& state) {
  const ClientTask& task = order.task;
  const LocalTask local = LocalOf(order);
  if (runner_.LacksLog(local)) {
    RV_ASSIGN_OR_RETURN(const std::string log, ReadUncounted(order, task.log->sha256));
    RV_RETURN_IF_ERROR(runner_.TakeLog(local, log));
  }
  RV_ASSIGN_OR_RETURN(LocalUpdate update,
                      runner_.Train(local, state, [&order] { return order.cancelled.load(); }));
  trained_tokens_ += static_cast<uint64_t>(update.tokens);
  if (!task.masking.empty()) return masked_->Trained(order.client, task, std::move(update));
  RV_RETURN_IF_ERROR(Upload(order.client, task, update));
  runner_.Accepted(local);
  return absl::OkStatus();
}

absl::Status Fleet::Upload(const std::string& client, const ClientTask& task,
                           const LocalUpdate& update) {
  UpdateHeader header;
  header.job_id = task.job_id;
  header.round = task.round;
  header.attempt = task.attempt;
  header.sha256 = Sha256Hex(update.file);
  header.bytes = update.file.size();
  header.examples = update.examples;
  header.tokens = update.tokens;
  header.steps = update.steps;
  header.loss = update.loss;
  header.grad_norm = update.grad_norm;
  RV_ASSIGN_OR_RETURN(const std::shared_ptr<UploadSession> upload,
                      federation_->BeginUpload(client, header));
  RV_RETURN_IF_ERROR(upload->Append(
      upload->committed(), std::as_bytes(std::span(update.file)).subspan(upload->committed())));
  return upload->Finish().status();
}

absl::Status Fleet::Evaluate(Order& order, const StateFile& state) {
  const ClientTask& task = order.task;
  RV_ASSIGN_OR_RETURN(const EvaluationSums sums, runner_.Evaluate(LocalOf(order), state));
  EvaluationReport report;
  report.loss_fixed = std::llround(sums.loss * 0x1p20);
  report.counted = sums.counted;
  report.correct = sums.correct;
  return federation_->ReportEvaluation(order.client, task.job_id, task.round, report);
}

LocalTask Fleet::LocalOf(const Order& order) const {
  const ClientTask& task = order.task;
  LocalTask local{order.client, task.job_document, task.round, task.job_id,
                  task.attempt, task.state_sha256, task.log,   task.state_bytes};
  RandomCursor cursor(RandomStream(RootOf(config_.seed, 0, order.client), Purpose::kPartition, 0));
  local.project_gradient = cursor.Unit() < config_.backprop_share;
  local.session_root = order.session_root;
  local.choice = task.choice;
  return local;
}

// From which byte of the log on this client would ask for it, were it a process of its own.
std::optional<uint64_t> Fleet::MissingLog(const Order& order) {
  if (!order.task.log) return std::nullopt;
  const StateLog& log = *order.task.log;
  const auto at = [&order](const std::map<std::string, uint64_t>& places) {
    const auto found = places.find(order.client);
    return found != places.end() ? std::optional(found->second) : std::nullopt;
  };
  const bool of_average = config_.averages && order.task.kind == ClientTask::Kind::kEvaluate;
  const std::lock_guard lock(mutex_);
  std::optional<uint64_t> held = at(positions_);
  const bool both = !held || held == at(averages_);  // what it makes of round 0 is both
  if (of_average && !both) held.reset();
  const std::optional<uint64_t> first =
      MissingFrom(log, held, config_.pooled, order.task.state_bytes);
  if (first || !of_average) positions_[order.client] = log.end();
  if (of_average || (first && both)) averages_[order.client] = log.end();
  return first;
}

absl::StatusOr<std::shared_ptr<const std::string>> Fleet::StateOf(const Order& order) {
  // Opened for every client, so that the bytes each would download are counted; read once.
  const ClientTask& task = order.task;
  if (config_.two_passes && task.log) {  // the state is there from the first pass
    RV_RETURN_IF_ERROR(federation_->OpenState(order.client, task.log->sha256).status());
    return std::make_shared<const std::string>();
  }
  const std::optional<uint64_t> missing = MissingLog(order);
  std::unique_ptr<BlobReader> reader;
  if (!missing && task.log && task.log->snapshot) {
    const StateLog& log = *task.log;
    RV_RETURN_IF_ERROR(federation_->OpenState(order.client, log.snapshot->sha256).status());
    if (!log.Brought(log.bytes - log.tail())) {
      RV_RETURN_IF_ERROR(
          federation_->OpenState(order.client, log.sha256, log.bytes - log.tail()).status());
    }
  } else if (!missing) {
    RV_ASSIGN_OR_RETURN(reader, federation_->OpenState(order.client, task.state_sha256));
    const bool draws = config_.by_amplitude && task.kind == ClientTask::Kind::kTrain;
    if (draws && !task.log->Brought(0)) {  // and beside the state what it draws by
      RV_RETURN_IF_ERROR(federation_->OpenState(order.client, task.log->sha256).status());
    }
  } else if (!task.log->Brought(*missing)) {
    RV_ASSIGN_OR_RETURN(reader, federation_->OpenState(order.client, task.log->sha256, *missing));
  }
  const std::lock_guard alone(reading_);
  {
    const std::lock_guard lock(mutex_);
    if (state_.first == task.state_sha256) return state_.second;
  }
  RV_ASSIGN_OR_RETURN(std::string state, ReadState(order, missing.has_value(), reader.get()));
  const std::lock_guard lock(mutex_);
  state_ = {task.state_sha256, std::make_shared<const std::string>(std::move(state))};
  return state_.second;
}

// What a client would make for itself, where the runner cannot: it works on a round that was over,
// or the work is more than the bytes are worth.
absl::StatusOr<std::string> Fleet::ReadUncounted(const Order& order, const std::string& sha256) {
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader,
                      federation_->OpenState(order.client, sha256, UINT64_MAX));
  std::string bytes(reader->size(), '\0');
  RV_RETURN_IF_ERROR(reader->Read(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

// Every client of a simulation stands where the runner does: one replay serves all.
absl::StatusOr<std::string> Fleet::ReadState(const Order& order, bool by_log,
                                             const BlobReader* reader) {
  const LocalTask local = LocalOf(order);
  const std::optional<uint64_t> from =
      by_log ? runner_.MissingLog(local) : std::optional<uint64_t>(0);
  const bool by_snapshot = order.task.log && order.task.log->snapshot && (!from || !by_log);
  if (by_snapshot) return MakeFromSnapshot(order);
  if (!from) return ReadUncounted(order, order.task.state_sha256);
  std::string bytes;
  if (std::optional<std::string> brought = by_log ? order.task.log->Brought(*from) : std::nullopt) {
    bytes = *std::move(brought);
  } else if (reader != nullptr) {
    bytes.resize(reader->size() - *from);
    RV_RETURN_IF_ERROR(reader->Read(*from, std::as_writable_bytes(std::span(bytes))));
  } else {  // the runner lacks more than this client
    RV_ASSIGN_OR_RETURN(bytes, ReadUncounted(order, order.task.log->sha256));
    bytes.erase(0, *from);
  }
  if (!by_log) return bytes;
  RV_ASSIGN_OR_RETURN(std::string state, runner_.CatchUp(local, bytes));
  return Proven(std::move(state), order.task.state_sha256);
}

absl::StatusOr<std::string> Fleet::MakeFromSnapshot(const Order& order) {
  const StateLog& log = *order.task.log;
  RV_ASSIGN_OR_RETURN(const std::string snapshot, ReadUncounted(order, log.snapshot->sha256));
  std::string rest;
  if (log.tail() > 0) {
    RV_ASSIGN_OR_RETURN(rest, ReadUncounted(order, log.sha256));
    rest.erase(0, log.bytes - log.tail());
  }
  RV_ASSIGN_OR_RETURN(std::string state, runner_.CatchUp(LocalOf(order), rest, {}, snapshot));
  return Proven(std::move(state), order.task.state_sha256);
}

std::optional<DropPoint> Fleet::DropPointOf(const std::string& client,
                                            const ClientTask& task) const {
  return rivulet::DropPointOf(config_.drop_rate, !task.masking.empty(), config_.seed, task.round,
                              client, task.attempt);
}

// Messages are the business of MaskedClients, which knows what would be answered.
bool Fleet::Drops(const Order& order) {
  const ClientTask& task = order.task;
  if (order.kind == Kind::kMessage || task.kind != ClientTask::Kind::kTrain) return false;
  const std::optional<DropPoint> point = DropPointOf(order.client, task);
  // Under masks an update is due once masks are agreed: who vanishes then has trained.
  const DropPoint here = order.kind == Kind::kBegin ? DropPoint::kKeys
                         : task.masking.empty()     ? DropPoint::kUpdate
                                                    : DropPoint::kShares;
  const bool due = order.kind == Kind::kBegin || task.masking.empty();
  if (due && point == here) ReportDrop(order.client, task);
  return point && *point <= here;
}

// So that nobody waits for it.
void Fleet::ReportDrop(const std::string& client, const ClientTask& task) {
  (void)federation_->ReportFailure(client, task.job_id, task.round, task.attempt, "dropped",
                                   "simulated drop-out");
}

}  // namespace rivulet

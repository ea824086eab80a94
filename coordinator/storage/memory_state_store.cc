#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "coordinator/storage/state_store.h"
#include "coordinator/storage/write_errors.h"

namespace rivulet {
namespace {

using RoundKey = std::tuple<std::string, uint64_t, uint32_t>;
using ClientKey = std::tuple<std::string, uint64_t, uint32_t, std::string>;
using ModelKey = std::pair<std::string, uint64_t>;

class MemoryStateStore : public StateStore {
 public:
  absl::StatusOr<uint64_t> NextEpoch() override {
    const std::lock_guard lock(mutex_);
    return ++epoch_;
  }

  absl::Status Commit(const std::vector<Write>& writes) override {
    const std::lock_guard lock(mutex_);
    undo_.clear();
    for (const Write& write : writes) {
      absl::Status done = std::visit([this](const auto& w) { return Apply(w); }, write);
      if (done.ok()) continue;
      while (!undo_.empty()) {
        undo_.back()();
        undo_.pop_back();
      }
      return done;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<StoredState> Load() override {
    const std::lock_guard lock(mutex_);
    StoredState all;
    all.jobs.assign(jobs_.begin(), jobs_.end());
    Copy(rounds_, all.rounds);
    std::map<std::string, uint64_t> last_done;  // in order of rounds: the last one stays
    for (const auto& [key, round] : rounds_) {
      if (round.state == RoundState::kDone) last_done[round.job] = round.round;
    }
    for (const auto& [key, update] : updates_) {
      const RoundState state = rounds_.at({update.job, update.round, update.attempt}).state;
      const bool wanted = state == RoundState::kDone ? last_done[update.job] == update.round
                                                     : state != RoundState::kAbandoned;
      if (wanted) all.updates.push_back(update);
    }
    Copy(models_, all.models);
    Copy(evaluations_, all.evaluations);
    Copy(reports_, all.reports);
    Copy(failures_, all.failures);
    Copy(secrets_, all.secrets);
    Copy(ledger_, all.ledger);
    return all;
  }

 private:
  template <typename Map, typename Row>
  static void Copy(const Map& from, std::vector<Row>& to) {
    for (const auto& [key, row] : from) to.push_back(row);
  }

  template <typename Map>
  absl::Status Insert(Map& map, const typename Map::key_type& key,
                      const typename Map::mapped_type& row, const std::string& what) {
    if (!map.emplace(key, row).second) return Taken(what);
    undo_.push_back([&map, key] { map.erase(key); });
    return absl::OkStatus();
  }

  // Remembers `row` as it is, so that a failing transaction leaves no trace.
  template <typename Row>
  void Remember(Row& row) {
    undo_.push_back([&row, old = row] { row = old; });
  }

  absl::Status Apply(const PutJob& write) {
    for (const JobRecord& job : jobs_) {
      const bool same_token =
          !write.job.submit_token.empty() && job.submit_token == write.job.submit_token;
      if (job.id == write.job.id || same_token) return Taken("job " + write.job.id);
    }
    jobs_.push_back(write.job);
    undo_.push_back([this] { jobs_.pop_back(); });
    return absl::OkStatus();
  }

  absl::Status Apply(const MoveJob& write) {
    for (JobRecord& job : jobs_) {
      if (job.id != write.id) continue;
      if (job.state != write.from) {
        return WrongState("job " + job.id, NameOf(job.state), NameOf(write.from));
      }
      Remember(job);
      job.state = write.to;
      job.exit_code = write.exit_code;
      job.reason = write.reason;
      job.ended_ms = write.ended_ms;
      job.stop_now = write.stop_now;
      return absl::OkStatus();
    }
    return Missing("job " + write.id);
  }

  absl::Status Apply(const SetWaiting& write) {
    for (JobRecord& job : jobs_) {
      if (job.id != write.job) continue;
      Remember(job);
      job.waiting_ms = write.waiting_ms;
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const PutRound& write) {
    const RoundRecord& r = write.round;
    return Insert(rounds_, {r.job, r.round, r.attempt}, r, RoundName(r.job, r.round, r.attempt));
  }

  absl::Status Apply(const MoveRound& write) {
    const std::string what = RoundName(write.job, write.round, write.attempt);
    const auto found = rounds_.find({write.job, write.round, write.attempt});
    if (found == rounds_.end()) return Missing(what);
    RoundRecord& round = found->second;
    if (round.state != write.from) {
      return WrongState(what, NameOf(round.state), NameOf(write.from));
    }
    Remember(round);
    round.state = write.to;
    if (write.to == RoundState::kClosed) round.counted = write.counted;
    if (write.to == RoundState::kAbandoned) round.reason = write.reason;
    if (write.to == RoundState::kDone) round.figures = write.figures;
    return absl::OkStatus();
  }

  absl::Status Apply(const PutUpdate& write) {
    const UpdateRecord& u = write.update;
    const std::string what = RoundName(u.job, u.round, u.attempt);
    const auto round = rounds_.find({u.job, u.round, u.attempt});
    if (round == rounds_.end()) return Missing(what);
    if (round->second.state != RoundState::kOpen) {
      return WrongState(what, NameOf(round->second.state), NameOf(RoundState::kOpen));
    }
    return Insert(updates_, {u.job, u.round, u.attempt, u.client}, u,
                  what + " update of " + u.client);
  }

  absl::Status Apply(const PutModel& write) {
    const ModelRecord& m = write.model;
    return Insert(models_, {m.job, m.round}, m,
                  "job " + m.job + " model " + std::to_string(m.round));
  }

  absl::Status Apply(const PutEvaluation& write) {
    const EvaluationRecord& e = write.evaluation;
    return Insert(evaluations_, {e.job, e.round}, e,
                  "job " + e.job + " evaluation " + std::to_string(e.round));
  }

  absl::Status Apply(const CloseEvaluation& write) {
    const std::string what = "job " + write.job + " evaluation " + std::to_string(write.round);
    const auto found = evaluations_.find({write.job, write.round});
    if (found == evaluations_.end()) return Missing(what);
    if (found->second.done) return WrongState(what, "done", "open");
    Remember(found->second);
    found->second.done = true;
    return absl::OkStatus();
  }

  absl::Status Apply(const PutEvaluationReport& write) {
    const EvaluationReportRecord& r = write.report;
    return Insert(reports_, {r.job, r.round, 0, r.client}, r,
                  "job " + r.job + " evaluation " + std::to_string(r.round) + " of " + r.client);
  }

  absl::Status Apply(const PutFailure& write) {
    const FailureRecord& f = write.failure;
    const auto known = failures_.find({f.job, f.round, f.attempt, f.client});
    if (write.replaces && known != failures_.end()) {
      Remember(known->second);
      known->second = f;
      return absl::OkStatus();
    }
    return Insert(failures_, {f.job, f.round, f.attempt, f.client}, f,
                  RoundName(f.job, f.round, f.attempt) + " failure of " + f.client);
  }

  absl::Status Apply(const SetRemaining& write) {
    if (const auto round = rounds_.find({write.job, write.round, write.attempt});
        round != rounds_.end()) {
      Remember(round->second);
      round->second.remaining_ms = write.remaining_ms;
    }
    const auto evaluation = evaluations_.find({write.job, write.round});
    if (write.attempt == 0 && evaluation != evaluations_.end()) {
      Remember(evaluation->second);
      evaluation->second.remaining_ms = write.remaining_ms;
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const SetSecret& write) {
    const SecretRecord& s = write.secret;
    const ClientKey key{s.job, s.round, s.attempt, s.name};
    const auto old = secrets_.find(key);
    if (old != secrets_.end()) {
      Remember(old->second);
      old->second = s;
      return absl::OkStatus();
    }
    return Insert(secrets_, key, s, s.name);
  }

  absl::Status Apply(const DropSecrets& write) {
    const RoundKey round{write.job, write.round, write.attempt};
    for (auto row = secrets_.begin(); row != secrets_.end();) {
      const SecretRecord& s = row->second;
      if (RoundKey{s.job, s.round, s.attempt} != round) {
        ++row;
        continue;
      }
      undo_.push_back([this, old = *row] { secrets_.insert(old); });
      row = secrets_.erase(row);
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const PutLedger& write) {
    const LedgerRecord& r = write.entry;
    return Insert(ledger_, {r.job, r.round, r.attempt}, r,
                  "ledger of " + RoundName(r.job, r.round, r.attempt));
  }

  std::mutex mutex_;
  uint64_t epoch_ = 0;
  std::deque<JobRecord> jobs_;  // keeps references while it grows
  std::map<RoundKey, RoundRecord> rounds_;
  std::map<ClientKey, UpdateRecord> updates_;
  std::map<ModelKey, ModelRecord> models_;
  std::map<ModelKey, EvaluationRecord> evaluations_;
  std::map<ClientKey, EvaluationReportRecord> reports_;
  std::map<ClientKey, FailureRecord> failures_;
  std::map<ClientKey, SecretRecord> secrets_;
  std::map<RoundKey, LedgerRecord> ledger_;
  std::vector<std::function<void()>> undo_;
};

}  // namespace

std::unique_ptr<StateStore> MakeMemoryStateStore() { return std::make_unique<MemoryStateStore>(); }

}  // namespace rivulet

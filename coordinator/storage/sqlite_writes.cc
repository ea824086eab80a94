#include "coordinator/storage/sqlite_rows.h"
#include "coordinator/storage/write_errors.h"

namespace rivulet {
namespace {

int64_t Int(uint64_t value) { return static_cast<int64_t>(value); }
int64_t Int(RoundState state) { return static_cast<int64_t>(state); }
int64_t Int(JobState state) { return static_cast<int64_t>(state); }

// An insert whose key is taken says which.
absl::Status RunInsert(Statement& insert, const std::string& what) {
  absl::Status done = insert.Run();
  return done.code() == absl::StatusCode::kAlreadyExists ? Taken(what) : done;
}

absl::Status Apply(Database& db, const PutJob& write) {
  const JobRecord& job = write.job;
  Statement& insert = db.Prepared(
      "INSERT INTO job(id, name, submit_token, document, state, exit_code, reason, submitted_ms, "
      "ended_ms, stop_now, waiting_ms) VALUES(?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?)");
  insert.Bind(job.id).Bind(job.name).Bind(job.submit_token).Bind(job.document);
  insert.Bind(Int(job.state)).Bind(int64_t{job.exit_code}).Bind(job.reason);
  insert.Bind(job.submitted_ms).Bind(job.ended_ms).Bind(int64_t{job.stop_now});
  insert.Bind(job.waiting_ms);
  return RunInsert(insert, "job " + job.id);
}

// Why a compare-and-set of a job changed nothing.
absl::Status ExplainJob(Database& db, const MoveJob& write) {
  Statement& read = db.Prepared("SELECT state FROM job WHERE id = ?");
  RV_ASSIGN_OR_RETURN(const bool row, read.Bind(write.id).Next());
  const auto state = static_cast<JobState>(row ? read.Int() : 0);
  read.Reset();
  return row ? WrongState("job " + write.id, NameOf(state), NameOf(write.from))
             : Missing("job " + write.id);
}

absl::Status Apply(Database& db, const MoveJob& write) {
  Statement& update = db.Prepared(
      "UPDATE job SET state = ?, exit_code = ?, reason = ?, ended_ms = ?, stop_now = ? "
      "WHERE id = ? AND state = ?");
  update.Bind(Int(write.to)).Bind(int64_t{write.exit_code}).Bind(write.reason);
  update.Bind(write.ended_ms).Bind(int64_t{write.stop_now});
  RV_RETURN_IF_ERROR(update.Bind(write.id).Bind(Int(write.from)).Run());
  return db.Changes() == 1 ? absl::OkStatus() : ExplainJob(db, write);
}

absl::Status Apply(Database& db, const PutRound& write) {
  const RoundRecord& round = write.round;
  Statement& insert = db.Prepared(
      "INSERT INTO round(job, round, attempt, state, eligible, cohort, needed, counted, "
      "remaining_ms, opened_ms, reason, loss, examples, tokens, bytes_up, protocol_bytes_up, "
      "bytes_down, bias, milliseconds, left_out) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, '', ?, ?, '', 0, 0, 0, 0, 0, 0, -1, 0, "
      "'')");
  insert.Bind(round.job).Bind(Int(round.round)).Bind(int64_t{round.attempt});
  insert.Bind(Int(round.state)).BindNames(round.eligible).BindNames(round.cohort);
  insert.Bind(int64_t{round.needed}).Bind(round.remaining_ms).Bind(round.opened_ms);
  return RunInsert(insert, RoundName(round.job, round.round, round.attempt));
}

// Why an attempt is not in the state that a write needs.
absl::Status ExplainRound(Database& db, const std::string& job, uint64_t round, uint32_t attempt,
                          RoundState want) {
  Statement& read =
      db.Prepared("SELECT state FROM round WHERE job = ? AND round = ? AND attempt = ?");
  RV_ASSIGN_OR_RETURN(const bool row,
                      read.Bind(job).Bind(Int(round)).Bind(int64_t{attempt}).Next());
  const auto state = static_cast<RoundState>(row ? read.Int() : 0);
  read.Reset();
  const std::string what = RoundName(job, round, attempt);
  return row ? WrongState(what, NameOf(state), NameOf(want)) : Missing(what);
}

// A bias of -1 in the table: not computed.
absl::Status WriteFigures(Database& db, const MoveRound& write) {
  const RoundFigures& figures = write.figures;
  Statement& update = db.Prepared(
      "UPDATE round SET loss = ?, examples = ?, tokens = ?, bytes_up = ?, "
      "protocol_bytes_up = ?, bytes_down = ?, bias = ?, milliseconds = ?, left_out = ? WHERE job = "
      "? AND round = ? AND attempt = ?");
  update.Bind(figures.loss).Bind(figures.examples).Bind(figures.tokens).Bind(figures.bytes_up);
  update.Bind(figures.protocol_bytes_up);
  update.Bind(figures.bytes_down).Bind(figures.bias.value_or(-1)).Bind(figures.milliseconds);
  update.BindNames(figures.left_out);
  return update.Bind(write.job).Bind(Int(write.round)).Bind(int64_t{write.attempt}).Run();
}

absl::Status WriteDetail(Database& db, const MoveRound& write) {
  if (write.to == RoundState::kDone) return WriteFigures(db, write);
  if (write.to == RoundState::kClosed) {
    Statement& update =
        db.Prepared("UPDATE round SET counted = ? WHERE job = ? AND round = ? AND attempt = ?");
    update.BindNames(write.counted).Bind(write.job).Bind(Int(write.round));
    return update.Bind(int64_t{write.attempt}).Run();
  }
  Statement& update =
      db.Prepared("UPDATE round SET reason = ? WHERE job = ? AND round = ? AND attempt = ?");
  update.Bind(write.reason).Bind(write.job).Bind(Int(write.round));
  return update.Bind(int64_t{write.attempt}).Run();
}

absl::Status Apply(Database& db, const MoveRound& write) {
  Statement& move = db.Prepared(
      "UPDATE round SET state = ? WHERE job = ? AND round = ? AND attempt = ? AND state = ?");
  move.Bind(Int(write.to)).Bind(write.job).Bind(Int(write.round)).Bind(int64_t{write.attempt});
  RV_RETURN_IF_ERROR(move.Bind(Int(write.from)).Run());
  if (db.Changes() != 1) {
    return ExplainRound(db, write.job, write.round, write.attempt, write.from);
  }
  return WriteDetail(db, write);
}

absl::Status Apply(Database& db, const PutUpdate& write) {
  const UpdateRecord& row = write.update;
  Statement& insert = db.Prepared(
      "INSERT INTO update_received(job, round, attempt, client, sha256, bytes, weight, examples, "
      "tokens, steps, loss, grad_norm) "
      "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 "
      "FROM round WHERE job = ?1 AND round = ?2 AND attempt = ?3 AND state = 1");
  insert.Bind(row.job).Bind(Int(row.round)).Bind(int64_t{row.attempt}).Bind(row.client);
  insert.Bind(row.sha256).Bind(Int(row.bytes)).Bind(row.weight).Bind(row.examples);
  insert.Bind(row.tokens).Bind(row.steps).Bind(row.loss).Bind(row.grad_norm);
  const std::string what = RoundName(row.job, row.round, row.attempt);
  RV_RETURN_IF_ERROR(RunInsert(insert, what + " update of " + row.client));
  if (db.Changes() == 1) return absl::OkStatus();
  return ExplainRound(db, row.job, row.round, row.attempt, RoundState::kOpen);
}

absl::Status Apply(Database& db, const PutModel& write) {
  const ModelRecord& model = write.model;
  Statement& insert = db.Prepared(
      "INSERT INTO model(job, round, parent_sha256, sha256, bytes, state_hash, optimizer_sha256, "
      "log_sha256, log_bytes, log_from) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  insert.Bind(model.job).Bind(Int(model.round)).Bind(model.parent_sha256).Bind(model.sha256);
  insert.Bind(Int(model.bytes)).Bind(model.state_hash).Bind(model.optimizer_sha256);
  insert.Bind(model.log_sha256).Bind(Int(model.log_bytes)).Bind(Int(model.log_from));
  return RunInsert(insert, "job " + model.job + " model " + std::to_string(model.round));
}

std::string EvaluationName(const std::string& job, uint64_t round) {
  return "job " + job + " evaluation " + std::to_string(round);
}

absl::Status Apply(Database& db, const PutEvaluation& write) {
  const EvaluationRecord& row = write.evaluation;
  Statement& insert = db.Prepared(
      "INSERT INTO evaluation(job, round, done, clients, remaining_ms) VALUES(?, ?, ?, ?, ?)");
  insert.Bind(row.job).Bind(Int(row.round)).Bind(int64_t{row.done}).BindNames(row.clients);
  insert.Bind(row.remaining_ms);
  return RunInsert(insert, EvaluationName(row.job, row.round));
}

absl::Status Apply(Database& db, const CloseEvaluation& write) {
  Statement& update =
      db.Prepared("UPDATE evaluation SET done = 1 WHERE job = ? AND round = ? AND done = 0");
  RV_RETURN_IF_ERROR(update.Bind(write.job).Bind(Int(write.round)).Run());
  if (db.Changes() == 1) return absl::OkStatus();
  Statement& read = db.Prepared("SELECT done FROM evaluation WHERE job = ? AND round = ?");
  RV_ASSIGN_OR_RETURN(const bool row, read.Bind(write.job).Bind(Int(write.round)).Next());
  read.Reset();
  const std::string what = EvaluationName(write.job, write.round);
  return row ? WrongState(what, "done", "open") : Missing(what);
}

absl::Status Apply(Database& db, const PutEvaluationReport& write) {
  const EvaluationReportRecord& row = write.report;
  Statement& insert = db.Prepared(
      "INSERT INTO evaluation_report(job, round, client, loss_fixed, counted, correct) "
      "VALUES(?, ?, ?, ?, ?, ?)");
  insert.Bind(row.job).Bind(Int(row.round)).Bind(row.client).Bind(row.loss_fixed);
  insert.Bind(row.counted).Bind(row.correct);
  return RunInsert(insert, EvaluationName(row.job, row.round) + " of " + row.client);
}

absl::Status Apply(Database& db, const PutFailure& write) {
  const FailureRecord& row = write.failure;
  Statement& insert =
      write.replaces
          ? db.Prepared(
                "INSERT OR REPLACE INTO failure(job, round, attempt, client, code, text) "
                "VALUES(?, ?, ?, ?, ?, ?)")
          : db.Prepared(
                "INSERT INTO failure(job, round, attempt, client, code, text) "
                "VALUES(?, ?, ?, ?, ?, ?)");
  insert.Bind(row.job).Bind(Int(row.round)).Bind(int64_t{row.attempt}).Bind(row.client);
  insert.Bind(row.code).Bind(row.text);
  return RunInsert(insert,
                   RoundName(row.job, row.round, row.attempt) + " failure of " + row.client);
}

absl::Status Apply(Database& db, const SetRemaining& write) {
  if (write.attempt == 0) {
    Statement& update =
        db.Prepared("UPDATE evaluation SET remaining_ms = ? WHERE job = ? AND round = ?");
    return update.Bind(write.remaining_ms).Bind(write.job).Bind(Int(write.round)).Run();
  }
  Statement& update =
      db.Prepared("UPDATE round SET remaining_ms = ? WHERE job = ? AND round = ? AND attempt = ?");
  update.Bind(write.remaining_ms).Bind(write.job).Bind(Int(write.round));
  return update.Bind(int64_t{write.attempt}).Run();
}

absl::Status Apply(Database& db, const SetWaiting& write) {
  Statement& update = db.Prepared("UPDATE job SET waiting_ms = ? WHERE id = ?");
  return update.Bind(write.waiting_ms).Bind(write.job).Run();
}

absl::Status Apply(Database& db, const SetSecret& write) {
  const SecretRecord& row = write.secret;
  Statement& put = db.Prepared(
      "INSERT OR REPLACE INTO secret(job, round, attempt, name, bytes) VALUES(?, ?, ?, ?, ?)");
  put.Bind(row.job).Bind(Int(row.round)).Bind(int64_t{row.attempt}).Bind(row.name);
  return put.BindBytes(row.bytes).Run();
}

absl::Status Apply(Database& db, const DropSecrets& write) {
  Statement& drop = db.Prepared("DELETE FROM secret WHERE job = ? AND round = ? AND attempt = ?");
  return drop.Bind(write.job).Bind(Int(write.round)).Bind(int64_t{write.attempt}).Run();
}

absl::Status Apply(Database& db, const PutLedger& write) {
  const LedgerRecord& row = write.entry;
  Statement& insert =
      db.Prepared("INSERT INTO ledger(job, round, attempt, entry) VALUES(?, ?, ?, ?)");
  insert.Bind(row.job).Bind(Int(row.round)).Bind(int64_t{row.attempt}).Bind(row.row);
  return RunInsert(insert, "ledger of " + RoundName(row.job, row.round, row.attempt));
}

}  // namespace

absl::Status ApplyWrite(Database& db, const Write& write) {
  return std::visit([&db](const auto& one) { return Apply(db, one); }, write);
}

}  // namespace rivulet

#include "coordinator/storage/sqlite_rows.h"

namespace rivulet {
namespace {

// Reads every row of `sql` by `read`, which takes the columns in order.
template <typename Row>
absl::Status ReadAll(Database& db, const char* sql, Row (*read)(Statement&),
                     std::vector<Row>& out) {
  Statement& rows = db.Prepared(sql);
  while (true) {
    RV_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return absl::OkStatus();
    out.push_back(read(rows));
  }
}

JobRecord ReadJob(Statement& row) {
  JobRecord job;
  job.id = row.Text();
  job.name = row.Text();
  job.submit_token = row.Text();
  job.document = row.Text();
  job.state = static_cast<JobState>(row.Int());
  job.exit_code = static_cast<int>(row.Int());
  job.reason = row.Text();
  job.submitted_ms = row.Int();
  job.ended_ms = row.Int();
  job.stop_now = row.Int() != 0;
  job.waiting_ms = row.Int();
  return job;
}

RoundRecord ReadRound(Statement& row) {
  RoundRecord round;
  round.job = row.Text();
  round.round = static_cast<uint64_t>(row.Int());
  round.attempt = static_cast<uint32_t>(row.Int());
  round.state = static_cast<RoundState>(row.Int());
  round.eligible = row.Names();
  round.cohort = row.Names();
  round.needed = static_cast<int>(row.Int());
  round.counted = row.Names();
  round.remaining_ms = row.Int();
  round.opened_ms = row.Int();
  round.reason = row.Text();
  round.figures.loss = row.Real();
  round.figures.examples = row.Int();
  round.figures.tokens = row.Int();
  round.figures.bytes_up = row.Int();
  round.figures.protocol_bytes_up = row.Int();
  round.figures.bytes_down = row.Int();
  if (const double bias = row.Real(); bias >= 0) round.figures.bias = bias;
  round.figures.milliseconds = row.Int();
  round.figures.left_out = row.Names();
  return round;
}

UpdateRecord ReadUpdate(Statement& row) {
  UpdateRecord update;
  update.job = row.Text();
  update.round = static_cast<uint64_t>(row.Int());
  update.attempt = static_cast<uint32_t>(row.Int());
  update.client = row.Text();
  update.sha256 = row.Text();
  update.bytes = static_cast<uint64_t>(row.Int());
  update.weight = row.Int();
  update.examples = row.Int();
  update.tokens = row.Int();
  update.steps = row.Int();
  update.loss = row.Real();
  update.grad_norm = row.Real();
  return update;
}

ModelRecord ReadModel(Statement& row) {
  ModelRecord model;
  model.job = row.Text();
  model.round = static_cast<uint64_t>(row.Int());
  model.parent_sha256 = row.Text();
  model.sha256 = row.Text();
  model.bytes = static_cast<uint64_t>(row.Int());
  model.state_hash = row.Text();
  model.optimizer_sha256 = row.Text();
  model.log_sha256 = row.Text();
  model.log_bytes = static_cast<uint64_t>(row.Int());
  model.log_from = static_cast<uint64_t>(row.Int());
  return model;
}

EvaluationRecord ReadEvaluation(Statement& row) {
  EvaluationRecord evaluation;
  evaluation.job = row.Text();
  evaluation.round = static_cast<uint64_t>(row.Int());
  evaluation.done = row.Int() != 0;
  evaluation.clients = row.Names();
  evaluation.remaining_ms = row.Int();
  return evaluation;
}

EvaluationReportRecord ReadReport(Statement& row) {
  EvaluationReportRecord report;
  report.job = row.Text();
  report.round = static_cast<uint64_t>(row.Int());
  report.client = row.Text();
  report.loss_fixed = row.Int();
  report.counted = row.Int();
  report.correct = row.Int();
  return report;
}

FailureRecord ReadFailure(Statement& row) {
  FailureRecord failure;
  failure.job = row.Text();
  failure.round = static_cast<uint64_t>(row.Int());
  failure.attempt = static_cast<uint32_t>(row.Int());
  failure.client = row.Text();
  failure.code = row.Text();
  failure.text = row.Text();
  return failure;
}

SecretRecord ReadSecret(Statement& row) {
  SecretRecord secret;
  secret.job = row.Text();
  secret.round = static_cast<uint64_t>(row.Int());
  secret.attempt = static_cast<uint32_t>(row.Int());
  secret.name = row.Text();
  secret.bytes = row.Bytes();
  return secret;
}

LedgerRecord ReadLedger(Statement& row) {
  LedgerRecord entry;
  entry.job = row.Text();
  entry.round = static_cast<uint64_t>(row.Int());
  entry.attempt = static_cast<uint32_t>(row.Int());
  entry.row = row.Text();
  return entry;
}

}  // namespace

absl::StatusOr<StoredState> LoadRows(Database& db) {
  StoredState all;
  RV_RETURN_IF_ERROR(
      ReadAll(db,
              "SELECT id, name, submit_token, document, state, exit_code, reason, submitted_ms, "
              "ended_ms, stop_now, waiting_ms FROM job ORDER BY position",
              ReadJob, all.jobs));
  RV_RETURN_IF_ERROR(ReadAll(
      db,
      "SELECT job, round, attempt, state, eligible, cohort, needed, counted, remaining_ms, "
      "opened_ms, reason, loss, examples, tokens, bytes_up, protocol_bytes_up, bytes_down, bias, "
      "milliseconds, left_out "
      "FROM round ORDER BY job, round, attempt",
      ReadRound, all.rounds));
  RV_RETURN_IF_ERROR(ReadAll(
      db,
      "WITH last AS (SELECT job, max(round) AS round FROM round WHERE state = 3 GROUP BY job) "
      "SELECT u.job, u.round, u.attempt, u.client, u.sha256, u.bytes, u.weight, "
      "u.examples, u.tokens, u.steps, u.loss, u.grad_norm "
      "FROM round AS r JOIN update_received AS u USING(job, round, attempt) "
      "LEFT JOIN last ON last.job = r.job "
      "WHERE r.state IN (1, 2) OR (r.state = 3 AND r.round = last.round) ORDER BY u.job, u.round, "
      "u.attempt, u.client",
      ReadUpdate, all.updates));
  RV_RETURN_IF_ERROR(ReadAll(db,
                             "SELECT job, round, parent_sha256, sha256, bytes, state_hash, "
                             "optimizer_sha256, log_sha256, log_bytes, log_from FROM model "
                             "ORDER BY job, round",
                             ReadModel, all.models));
  RV_RETURN_IF_ERROR(ReadAll(
      db, "SELECT job, round, done, clients, remaining_ms FROM evaluation ORDER BY job, round",
      ReadEvaluation, all.evaluations));
  RV_RETURN_IF_ERROR(ReadAll(db,
                             "SELECT job, round, client, loss_fixed, counted, correct "
                             "FROM evaluation_report ORDER BY job, round, client",
                             ReadReport, all.reports));
  RV_RETURN_IF_ERROR(ReadAll(db,
                             "SELECT job, round, attempt, client, code, text FROM failure "
                             "ORDER BY job, round, attempt, client",
                             ReadFailure, all.failures));
  RV_RETURN_IF_ERROR(ReadAll(db,
                             "SELECT job, round, attempt, name, bytes FROM secret "
                             "ORDER BY job, round, attempt, name",
                             ReadSecret, all.secrets));
  RV_RETURN_IF_ERROR(
      ReadAll(db, "SELECT job, round, attempt, entry FROM ledger ORDER BY job, round, attempt",
              ReadLedger, all.ledger));
  return all;
}

absl::StatusOr<uint64_t> IncrementEpoch(Database& db) {
  RV_RETURN_IF_ERROR(db.Prepared("UPDATE meta SET value = value + 1 WHERE key = 'epoch'").Run());
  Statement& read = db.Prepared("SELECT value FROM meta WHERE key = 'epoch'");
  RV_ASSIGN_OR_RETURN(const bool row, read.Next());
  const int64_t epoch = row ? read.Int() : 0;
  read.Reset();
  if (epoch > 0) return static_cast<uint64_t>(epoch);
  return WithExit(Refuse(absl::StatusCode::kDataLoss, "state database: the epoch is missing"),
                  ExitCode::kState);
}

}  // namespace rivulet

#include "coordinator/rpc/views_to_wire.h"

#include <algorithm>
#include <utility>

namespace rivulet {
namespace {

template <typename Names, typename Field>
void CopyNames(const Names& names, Field& field) {
  field.Assign(names.begin(), names.end());
}

void Fill(const RoundView& view, v1::Round& wire) {
  wire.set_round(view.round);
  wire.set_attempt(view.attempt);
  wire.set_state(std::string(NameOf(view.state)));
  CopyNames(view.cohort, *wire.mutable_cohort());
  CopyNames(view.reported, *wire.mutable_reported());
  CopyNames(view.failed, *wire.mutable_failed());
  CopyNames(view.missing, *wire.mutable_missing());
  wire.set_needed(view.needed);
  wire.set_loss(view.figures.loss);
  wire.set_examples(view.figures.examples);
  wire.set_tokens(view.figures.tokens);
  wire.set_bytes_up(view.figures.bytes_up);
  wire.set_bytes_down(view.figures.bytes_down);
  if (view.figures.bias) wire.set_bias(*view.figures.bias);
  wire.set_milliseconds(view.figures.milliseconds);
  wire.set_state_hash(view.state_hash);
  wire.set_reason(view.reason);
  wire.set_raw_bytes_up(view.raw_bytes_up);
  wire.set_protocol_bytes_up(view.figures.protocol_bytes_up);
  CopyNames(view.figures.left_out, *wire.mutable_left_out());
}

void Fill(const EvaluationView& view, v1::EvaluationResult& wire) {
  wire.set_round(view.round);
  wire.set_done(view.done);
  wire.set_loss(view.loss);
  wire.set_accuracy(view.accuracy);
  wire.set_counted(view.counted);
  CopyNames(view.missing, *wire.mutable_missing());
  for (const ClientEvaluation& client : view.clients) {
    v1::EvaluationResult::Client& row = *wire.add_clients();
    row.set_name(client.client);
    row.set_loss(client.loss);
    row.set_accuracy(client.accuracy);
    row.set_counted(client.counted);
  }
}

void FillSummary(const JobView& view, v1::Job& wire) {
  wire.set_id(view.id);
  wire.set_name(view.name);
  wire.set_state(std::string(NameOf(view.state)));
  wire.set_exit_code(view.exit_code);
  wire.set_reason(view.reason);
  wire.set_waiting(view.waiting);
  wire.set_round(view.round);
  wire.set_num_rounds(view.num_rounds);
  wire.set_attempt(view.attempt);
  wire.set_eligible_connected(view.eligible_connected);
  wire.set_submitted_ms(view.submitted_ms);
  wire.set_ended_ms(view.ended_ms);
  wire.set_elapsed_ms(view.elapsed_ms);
  wire.set_bytes_up(view.bytes_up);
  wire.set_bytes_down(view.bytes_down);
  wire.set_state_hash(view.state_hash);
  wire.set_state_bytes(view.state_bytes);
  wire.set_document(view.document);
  wire.set_ended(view.ended());
  wire.set_raw_bytes_up(view.raw_bytes_up);
  wire.set_protocol_bytes_up(view.protocol_bytes_up);
  wire.set_epsilon(view.epsilon);
  wire.set_delta(view.delta);
  wire.set_target_epsilon(view.target_epsilon);
  wire.set_evaluates_in_clear(view.evaluates_in_clear);
  for (const std::string& client : view.excluded) wire.add_excluded(client);
}

void Fill(const JobEvent::Value& value, v1::JobEvent::Value& wire) {
  if (const auto* integer = std::get_if<int64_t>(&value)) wire.set_integer(*integer);
  if (const auto* real = std::get_if<double>(&value)) wire.set_real(*real);
  if (const auto* text = std::get_if<std::string>(&value)) wire.set_text(*text);
}

// Fills `to` with the last of `rows` that fit into `max_bytes`, in their order. Returns how many
// were left out.
template <typename Rows, typename FillRow, typename Field>
uint64_t AddNewest(const Rows& rows, size_t max_bytes, const FillRow& fill, Field& to) {
  constexpr size_t kTagAndLength = 6;
  size_t bytes = 0;
  auto oldest = rows.rbegin();
  for (; oldest != rows.rend(); ++oldest) {
    typename Field::value_type wire;
    fill(*oldest, wire);
    bytes += wire.ByteSizeLong() + kTagAndLength;
    if (bytes > max_bytes) break;
    to.Add(std::move(wire));
  }
  std::reverse(to.pointer_begin(), to.pointer_end());
  return static_cast<uint64_t>(rows.rend() - oldest);
}

}  // namespace

v1::Job ToWire(const JobView& view, size_t max_bytes) {
  v1::Job wire;
  FillSummary(view, wire);
  for (const FailureCount& failure : view.failures) {
    v1::FailureCount& row = *wire.add_failures();
    row.set_code(failure.code);
    row.set_text(failure.text);
    row.set_count(failure.count);
  }
  const auto fill = [](const auto& row, auto& to) { Fill(row, to); };
  wire.set_evaluations_left_out(
      AddNewest(view.evaluations, max_bytes / 3, fill, *wire.mutable_evaluations()));
  wire.set_rounds_left_out(
      AddNewest(view.rounds, max_bytes - max_bytes / 3, fill, *wire.mutable_rounds()));
  return wire;
}

v1::ListReply ToWire(const std::vector<JobView>& views, size_t max_bytes) {
  v1::ListReply wire;
  const auto fill = [](const JobView& view, v1::Job& to) { to = ToWire(view); };
  wire.set_left_out(AddNewest(views, max_bytes, fill, *wire.mutable_jobs()));
  return wire;
}

v1::JobEvent ToWire(const JobEvent& event) {
  v1::JobEvent wire;
  wire.set_type(event.type);
  wire.set_job(event.job);
  wire.set_round(event.round);
  wire.set_unix_ms(event.unix_ms);
  for (const auto& [key, value] : event.data) {
    v1::JobEvent::Value& row = *wire.add_data();
    row.set_key(key);
    Fill(value, row);
  }
  return wire;
}

}  // namespace rivulet

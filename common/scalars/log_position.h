#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace rivulet {

// A global state that the coordinator has stored, older than the one that a log ends at.
struct StateSnapshot {
  std::string sha256;  // blob of its file, 64 hex digits
  uint64_t bytes = 0;
  uint64_t at =
      0;  // where in all that was ever logged it stands; of a pool 0, the state of round 0
  bool operator==(const StateSnapshot&) const = default;
};

// The coordinator's log of coefficients (aggregation/scalars): all that was ever logged of a job is
// one sequence of bytes, of which this is the end. At byte 0 stands the state of round 0, after the
// last one that of today.
struct StateLog {
  std::string sha256;  // blob of these bytes, 64 hex digits; empty while there are none
  uint64_t bytes = 0;
  uint64_t from = 0;  // where in the sequence they begin
  // Within these bytes or at one of their ends: what is stored where today's state itself is not.
  std::optional<StateSnapshot> snapshot = {};
  std::string rest = {};  // the last of these bytes, where they came with the task
  // From byte `first` on, where `rest` goes back so far.
  std::optional<std::string> Brought(uint64_t first) const {
    const uint64_t missing = bytes - first;
    if (missing > rest.size()) return std::nullopt;
    return rest.substr(rest.size() - missing);
  }
  uint64_t end() const { return from + bytes; }
  uint64_t tail() const { return snapshot ? end() - snapshot->at : 0; }  // logged since then
  bool operator==(const StateLog&) const = default;
};

// From which byte of the blob on a client needs it whose state stands at `held` of the sequence, if
// it has one; nothing where what is stored is what it must fetch, or is the shortest: the state, or
// a snapshot with what was logged since. A client makes the state of round 0 for itself. A pool has
// but one record, of all rounds, and is replayed from there.
inline std::optional<uint64_t> MissingFrom(const StateLog& log, std::optional<uint64_t> held,
                                           bool pooled, uint64_t state_bytes) {
  std::optional<uint64_t> first;
  if (log.from == 0) first = 0;
  if (held && !pooled && *held >= log.from && *held <= log.end()) first = *held - log.from;
  const uint64_t stored = log.snapshot ? log.snapshot->bytes + log.tail() : state_bytes;
  if (first && log.bytes - *first >= stored) return std::nullopt;
  return first;
}

}  // namespace rivulet

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

// TensorBoard event files, scalars only. A record is u64 length, u32 masked CRC-32C of the length,
// payload, u32 masked CRC-32C of the payload, all little-endian; the payload is a protobuf Event
// (docs/formats/tensorboard.md).

namespace rivulet {

struct ScalarEvent {
  double wall_time = 0;  // seconds since 1970
  int64_t step = 0;      // the round for figures of rounds; never mix two meanings in one tag
  std::string tag;       // "train/loss"
  float value = 0;
  bool operator==(const ScalarEvent&) const = default;
};

// Writes one stream (`train`, `eval`): a folder with one file, appended to, flushed once a round.
// Movable. Not thread safe.
class EventWriter {
 public:
  // Creates folders and file `events.out.tfevents.<unix seconds>.<host>.<pid>.<n>`; never touches a
  // file that is there. `wall_time` stands in the first record. Errors: NotFound,
  // PermissionDenied, ResourceExhausted.
  static absl::StatusOr<EventWriter> Create(const std::filesystem::path& directory,
                                            double wall_time);
  ~EventWriter();
  EventWriter(EventWriter&& other) noexcept;
  EventWriter& operator=(EventWriter&& other) noexcept;

  // Kept in memory until Flush. A value that is not finite is written as it is: TensorBoard shows
  // it.
  void Add(const ScalarEvent& event);
  // Errors: ResourceExhausted when the disk is full. What could not be written is tried again by
  // the next Flush from where it stopped.
  absl::Status Flush();

  const std::filesystem::path& path() const { return path_; }

 private:
  EventWriter() = default;
  std::filesystem::path path_;
  std::string pending_;
  int fd_ = -1;
};

// The record that opens every file: file version "brain.Event:2", step 0.
std::string VersionRecord(double wall_time);
std::string ScalarRecord(const ScalarEvent& event);

// The scalars of a whole file, for tests and for `--format json` of our own files. Records of other
// kinds are passed over. Errors: InvalidArgument for a wrong checksum, a truncated record, a record
// above 1 MiB or a malformed payload.
absl::StatusOr<std::vector<ScalarEvent>> ParseEvents(std::string_view file);

}  // namespace rivulet

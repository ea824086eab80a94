#include "common/formats/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "common/io/crc32c.h"
#include "common/io/file.h"

namespace rivulet {
namespace {

constexpr uint64_t kMaxRecordBytes = 1 << 20;

// ---- writing: protobuf by hand, five fields in all

void PutFixed(std::string& out, uint64_t value, int bytes) {
  for (int byte = 0; byte < bytes; ++byte) out += static_cast<char>(value >> (8 * byte));
}

void PutVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void PutBytes(std::string& out, int tag, std::string_view bytes) {
  out += static_cast<char>(tag);
  PutVarint(out, bytes.size());
  out += bytes;
}

uint32_t Masked(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string Record(const std::string& payload) {
  std::string record;
  PutFixed(record, payload.size(), 8);
  PutFixed(record, Masked(record), 4);
  record += payload;
  PutFixed(record, Masked(payload), 4);
  return record;
}

// Event.wall_time = 1 (double), Event.step = 2 (varint, left out when 0).
std::string EventStart(double wall_time, int64_t step) {
  std::string event = "\x09";
  PutFixed(event, std::bit_cast<uint64_t>(wall_time), 8);
  if (step == 0) return event + std::string("\x10\0", 2);
  event += '\x10';
  PutVarint(event, static_cast<uint64_t>(step));
  return event;
}

// ---- reading

// Takes little-endian numbers and protobuf fields off the front of a text.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  bool done() const { return text_.empty(); }
  bool failed() const { return failed_; }

  std::string_view Take(uint64_t bytes) {
    if (bytes > text_.size()) {
      failed_ = true;
      text_ = {};
      return {};
    }
    const std::string_view taken = text_.substr(0, bytes);
    text_.remove_prefix(bytes);
    return taken;
  }
  uint64_t Fixed(int bytes) {
    uint64_t value = 0;
    int shift = 0;
    for (unsigned char byte : Take(bytes))
      value |= uint64_t{byte} << std::exchange(shift, shift + 8);
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = Fixed(1);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }
  // Passes over the value of an unknown field.
  void Skip(uint64_t tag) {
    switch (tag & 7) {
      case 0:
        Varint();
        return;
      case 1:
        Take(8);
        return;
      case 2:
        Take(Varint());
        return;
      case 5:
        Take(4);
        return;
      default:
        failed_ = true;
    }
  }

 private:
  std::string_view text_;
  bool failed_ = false;
};

// Summary.Value: tag = 1, simple_value = 2. False when it is no scalar.
bool ParseValue(std::string_view text, ScalarEvent& event, bool& failed) {
  Cursor cursor(text);
  bool scalar = false;
  while (!cursor.done()) {
    const uint64_t tag = cursor.Varint();
    if (tag == 0x0a) {
      event.tag = cursor.Take(cursor.Varint());
    } else if (tag == 0x15) {
      event.value = std::bit_cast<float>(static_cast<uint32_t>(cursor.Fixed(4)));
      scalar = true;
    } else {
      cursor.Skip(tag);
    }
  }
  failed |= cursor.failed();
  return scalar;
}

bool ParseEvent(std::string_view payload, std::vector<ScalarEvent>& events) {
  Cursor cursor(payload);
  ScalarEvent head;
  std::vector<std::string_view> summaries;
  while (!cursor.done()) {
    const uint64_t tag = cursor.Varint();
    if (tag == 0x09)
      head.wall_time = std::bit_cast<double>(cursor.Fixed(8));
    else if (tag == 0x10)
      head.step = static_cast<int64_t>(cursor.Varint());
    else if (tag == 0x2a)
      summaries.push_back(cursor.Take(cursor.Varint()));
    else
      cursor.Skip(tag);
  }
  bool failed = cursor.failed();
  for (std::string_view summary : summaries) {
    Cursor values(summary);
    while (!values.done()) {
      const uint64_t tag = values.Varint();
      if (tag != 0x0a) {
        values.Skip(tag);
        continue;
      }
      ScalarEvent event = head;
      if (ParseValue(values.Take(values.Varint()), event, failed)) events.push_back(event);
    }
    failed |= values.failed();
  }
  return !failed;
}

std::string HostName() {
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

std::string VersionRecord(double wall_time) {
  std::string event = EventStart(wall_time, 0);
  PutBytes(event, 0x1a, "brain.Event:2");
  return Record(event);
}

std::string ScalarRecord(const ScalarEvent& scalar) {
  std::string value;
  PutBytes(value, 0x0a, scalar.tag);
  value += '\x15';
  PutFixed(value, std::bit_cast<uint32_t>(scalar.value), 4);
  std::string summary;
  PutBytes(summary, 0x0a, value);
  std::string event = EventStart(scalar.wall_time, scalar.step);
  PutBytes(event, 0x2a, summary);
  return Record(event);
}

absl::StatusOr<std::vector<ScalarEvent>> ParseEvents(std::string_view file) {
  std::vector<ScalarEvent> events;
  Cursor cursor(file);
  for (size_t record = 0; !cursor.done(); ++record) {
    const auto bad = [&](const std::string& what) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "event record " + std::to_string(record) + ": " + what);
    };
    const std::string_view length = cursor.Take(8);
    if (cursor.Fixed(4) != Masked(length) || cursor.failed())
      return bad("wrong checksum of the length, or truncated");
    const uint64_t bytes = Cursor(length).Fixed(8);
    if (bytes > kMaxRecordBytes)
      return bad("got " + std::to_string(bytes) + " bytes, want <= 1 MiB");
    const std::string_view payload = cursor.Take(bytes);
    if (cursor.Fixed(4) != Masked(payload) || cursor.failed())
      return bad("wrong checksum of the payload, or truncated");
    if (!ParseEvent(payload, events)) return bad("malformed event");
  }
  return events;
}

absl::StatusOr<EventWriter> EventWriter::Create(const std::filesystem::path& directory,
                                                double wall_time) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  const std::string stem = "events.out.tfevents." +
                           std::to_string(static_cast<int64_t>(wall_time)) + "." + HostName() +
                           "." + std::to_string(getpid()) + ".";
  EventWriter writer;
  for (int number = 0; writer.fd_ < 0; ++number) {
    writer.path_ = directory / (stem + std::to_string(number));
    writer.fd_ =
        open(writer.path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (writer.fd_ < 0 && errno != EEXIST) return FileError(writer.path_, "create", errno);
  }
  writer.pending_ = VersionRecord(wall_time);
  RV_RETURN_IF_ERROR(writer.Flush());
  return writer;
}

EventWriter::~EventWriter() {
  if (fd_ >= 0) close(fd_);
}

EventWriter::EventWriter(EventWriter&& other) noexcept
    : path_(std::move(other.path_)),
      pending_(std::move(other.pending_)),
      fd_(std::exchange(other.fd_, -1)) {}

EventWriter& EventWriter::operator=(EventWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(pending_, other.pending_);
  std::swap(fd_, other.fd_);
  return *this;
}

void EventWriter::Add(const ScalarEvent& event) { pending_ += ScalarRecord(event); }

absl::Status EventWriter::Flush() {
  while (!pending_.empty()) {
    const ssize_t put = write(fd_, pending_.data(), pending_.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FileError(path_, "write", errno);
    pending_.erase(0, static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

}  // namespace rivulet

#include <algorithm>
#include <utility>
#include <vector>

#include "coordinator/rounds/federation_impl.h"
#include "coordinator/rounds/masked_upload.h"

namespace rivulet {

std::string PartialKeyPrefix(const std::string& job, uint64_t round, uint32_t attempt) {
  const std::string key = job + "\n" + std::to_string(round) + "\n" + std::to_string(attempt);
  return Sha256Hex(key).substr(0, 32) + "-";
}

namespace {

constexpr uint64_t kTogetherBytes = uint64_t{256} << 10;

// Names of clients and hashes of their updates make one more part of the key.
std::string PartialKey(const UpdateHeader& header, const std::string& client) {
  return PartialKeyPrefix(header.job_id, header.round, header.attempt) +
         Sha256Hex(client + "\n" + header.sha256).substr(0, 32);
}

}  // namespace

IncomingUpdate::IncomingUpdate(Federation::Impl& owner, std::string client, UpdateHeader header,
                               int64_t weight, std::shared_ptr<const JobPlan> plan,
                               std::shared_ptr<const CodedRound> coded,
                               std::optional<secagg::Params> masked, BlobStore& blobs)
    : owner_(owner),
      blobs_(blobs),
      client_(std::move(client)),
      header_(std::move(header)),
      weight_(weight),
      plan_(std::move(plan)),
      masked_(std::move(masked)),
      coded_(std::move(coded)) {}

IncomingUpdate::IncomingUpdate(Federation::Impl& owner, const UpdateRecord& accepted,
                               BlobStore& blobs)
    : owner_(owner),
      blobs_(blobs),
      client_(accepted.client),
      weight_(accepted.weight),
      receipt_(Receipt{accepted.job, accepted.round, accepted.attempt, accepted.sha256,
                       accepted.bytes}) {}

IncomingUpdate::~IncomingUpdate() {
  if (writer_ != nullptr && !over_) writer_->Keep();
}

std::optional<Receipt> IncomingUpdate::receipt() const {
  const std::lock_guard lock(mutex_);
  return receipt_;
}

uint64_t IncomingUpdate::committed() {
  const std::lock_guard lock(mutex_);
  if (receipt_) return receipt_->bytes;
  if (over_ || !OpenWriter().ok()) return 0;  // Append says why
  return writer_->size();
}

absl::Status IncomingUpdate::OpenWriter() {
  if (writer_ != nullptr) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(writer_, blobs_.Resume(PartialKey(header_, client_), header_.bytes));
  checker_ = masked_             ? NewMaskedUploadCheck(*masked_, header_.bytes)
             : coded_ != nullptr ? CheckOfPayload(*coded_, *writer_, header_.bytes)
                                 : MakeUploadCheck(*plan_, header_.bytes);
  absl::Status adopted = CheckAdopted();
  if (!adopted.ok()) StartOver();
  return adopted;
}

// What an earlier session left.
absl::Status IncomingUpdate::CheckAdopted() {
  if (writer_->size() == 0) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, writer_->Reread());
  std::vector<std::byte> buffer(std::min(writer_->size(), kTogetherBytes));
  for (uint64_t done = 0; done < writer_->size();) {
    const auto piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), writer_->size() - done));
    RV_RETURN_IF_ERROR(reader->Read(done, piece));
    checker_->Feed(piece);
    done += piece.size();
  }
  return absl::OkStatus();
}

void IncomingUpdate::StartOver() {
  checker_.reset();  // which may refer to the writer
  writer_.reset();
}

absl::Status IncomingUpdate::CheckOver() const {
  if (!over_) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition,
                "job " + header_.job_id + " round " + std::to_string(header_.round) + " attempt " +
                    std::to_string(header_.attempt) + ": takes no more updates",
                Remedy::kResync);
}

absl::Status IncomingUpdate::AppendPieces(uint64_t offset, ByteSpans pieces) {
  const std::lock_guard lock(mutex_);
  if (receipt_) return absl::OkStatus();
  RV_RETURN_IF_ERROR(CheckOver());
  RV_RETURN_IF_ERROR(OpenWriter());
  if (offset != writer_->size()) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "upload: got offset " + std::to_string(offset) + ", want " +
                      std::to_string(writer_->size()),
                  Remedy::kResync);
  }
  // Not too many at a time, so that they are still in the cache when they are checked.
  while (!pieces.empty()) {
    size_t count = 0;
    for (uint64_t bytes = 0; count < pieces.size() && bytes < kTogetherBytes; ++count) {
      bytes += pieces[count].size();
    }
    RV_RETURN_IF_ERROR(writer_->AppendPieces(pieces.first(count)));
    for (const std::span<const std::byte> piece : pieces.first(count)) checker_->Feed(piece);
    pieces = pieces.subspan(count);
  }
  return absl::OkStatus();
}

// The bytes are as declared, and an update that may be summed.
absl::Status IncomingUpdate::Check() {
  if (writer_ == nullptr || writer_->size() < header_.bytes) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "upload: got " + std::to_string(writer_ == nullptr ? 0 : writer_->size()) +
                      " bytes, want " + std::to_string(header_.bytes),
                  Remedy::kResync);
  }
  absl::Status checked = writer_->Seal(header_.sha256).status();
  if (checked.ok()) checked = checker_->Finish();
  // Nothing of it is worth keeping: what comes next starts at offset 0.
  if (!checked.ok()) StartOver();
  return checked;
}

absl::Status IncomingUpdate::Store() {
  UpdateRecord update{header_.job_id, header_.round, header_.attempt, client_,
                      header_.sha256, header_.bytes, weight_,         header_.examples,
                      header_.tokens, header_.steps, header_.loss,    header_.grad_norm};
  RV_RETURN_IF_ERROR(owner_.StartCommit(client_, header_, checker_->trailer()));
  absl::Status stored = writer_->Commit(header_.sha256).status();
  if (stored.ok()) stored = owner_.states().Commit({PutUpdate{update}});
  const ReceivedUpdate received{std::move(update), checker_->digest(), checker_->zero()};
  StartOver();
  owner_.FinishCommit(received, stored);
  return stored;
}

absl::StatusOr<Receipt> IncomingUpdate::Finish() {
  const std::lock_guard lock(mutex_);
  if (receipt_) return *receipt_;
  RV_RETURN_IF_ERROR(CheckOver());
  absl::Status done = Check();
  if (done.ok()) done = Store();
  if (!done.ok()) {
    // An incomplete upload goes on where it stopped; any other one starts over.
    if (writer_ == nullptr) owner_.DropUpload(header_.job_id, client_, this);
    return done;
  }
  receipt_ = Receipt{header_.job_id, header_.round, header_.attempt, header_.sha256, header_.bytes};
  return *receipt_;
}

}  // namespace rivulet

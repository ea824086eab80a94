#include "coordinator/storage/secret_pieces.h"

#include <algorithm>

namespace rivulet {
namespace {

std::string NameOfPiece(const std::string& name, size_t piece) {
  return piece == 0 ? name : name + "/" + std::to_string(piece);
}

}  // namespace

std::vector<Write> WritesOf(const SecretRecord& whole, size_t piece_bytes) {
  std::vector<Write> writes;
  for (size_t piece = 0; piece <= whole.bytes.size() / piece_bytes; ++piece) {
    writes.push_back(
        SetSecret{{whole.job, whole.round, whole.attempt, NameOfPiece(whole.name, piece),
                   whole.bytes.view().substr(piece * piece_bytes, piece_bytes)}});
  }
  return writes;
}

absl::StatusOr<SecretText> JoinedSecret(std::span<const SecretRecord> secrets,
                                        const SecretRecord& which, size_t piece_bytes) {
  size_t bytes = 0;  // reserved at once: a text that grows leaves copies behind
  for (const SecretRecord& secret : secrets) bytes += secret.bytes.size();
  std::string joined;
  joined.reserve(bytes);
  for (size_t piece = 0;; ++piece) {
    const std::string name = NameOfPiece(which.name, piece);
    const auto found = std::find_if(secrets.begin(), secrets.end(), [&](const auto& secret) {
      return secret.job == which.job && secret.round == which.round &&
             secret.attempt == which.attempt && secret.name == name;
    });
    if (found == secrets.end()) {
      return Refuse(piece == 0 ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss,
                    "secret '" + name + "' of job " + which.job + " round " +
                        std::to_string(which.round) + ": is missing");
    }
    joined += found->bytes.view();
    if (found->bytes.size() < piece_bytes) return SecretText(std::move(joined));
  }
}

}  // namespace rivulet

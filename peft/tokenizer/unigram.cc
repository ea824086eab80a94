#include <algorithm>
#include <limits>
#include <string>

#include "peft/tokenizer/model.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the lowest score of the vocabulary
constexpr size_t kMaxPieceBytes = 1024;

// The most likely segmentation under independent pieces: Viterbi over bytes in double precision.
class Unigram final : public Model {
 public:
  Unigram(Vocabulary vocabulary, std::vector<double> scores, std::optional<int32_t> unk_id,
          bool byte_fallback)
      : Model(std::move(vocabulary)),
        scores_(std::move(scores)),
        unk_id_(unk_id),
        byte_fallback_(byte_fallback) {
    lowest_ = *std::min_element(scores_.begin(), scores_.end());
  }

  absl::Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    RV_ASSIGN_OR_RETURN(const std::vector<Node> path, BestPath(piece));
    for (std::string_view part : Trace(piece, path)) RV_RETURN_IF_ERROR(Append(part, ids));
    return absl::OkStatus();
  }

 private:
  // The best way to reach one byte position.
  struct Node {
    static constexpr size_t kUnreached = std::numeric_limits<size_t>::max();
    size_t start = kUnreached;  // of the piece that ends here
    double score = 0;
    bool unknown = false;

    void Offer(size_t from, double value, bool is_unknown) {
      if (start == kUnreached || value > score) *this = {from, value, is_unknown};
    }
  };

  absl::StatusOr<std::vector<Node>> BestPath(std::string_view text) const {
    std::vector<Node> nodes(text.size() + 1);
    for (size_t at = 0; at < text.size();) {
      size_t after = at;
      NextCode(text, after);
      const double here = nodes[at].score;
      bool whole_character = false;
      const size_t longest = std::min(vocabulary().longest_bytes(), text.size() - at);
      for (size_t length = 1; length <= longest; ++length) {
        const auto id = vocabulary().IdOf(text.substr(at, length));
        if (!id.has_value()) continue;
        nodes[at + length].Offer(at, here + scores_[static_cast<size_t>(*id)], *id == unk_id_);
        whole_character |= at + length == after;
      }
      if (!whole_character) {
        if (!unk_id_.has_value()) {
          return Refuse(absl::StatusCode::kFailedPrecondition,
                        "tokenizer: the text needs an unknown token, but model.unk_id is null");
        }
        nodes[after].Offer(at, here + lowest_ - kUnknownPenalty, true);
      }
      at = after;
    }
    return nodes;
  }

  // Pieces from left to right; neighbouring unknown ones are one.
  static std::vector<std::string_view> Trace(std::string_view text,
                                             const std::vector<Node>& nodes) {
    std::vector<std::string_view> parts;
    for (size_t end = text.size(); end > 0;) {
      size_t start = nodes[end].start;
      if (nodes[end].unknown) {
        while (start > 0 && nodes[start].unknown) start = nodes[start].start;
      }
      parts.push_back(text.substr(start, end - start));
      end = start;
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
  }

  absl::Status Append(std::string_view part, std::vector<int32_t>& ids) const {
    if (const auto id = vocabulary().IdOf(part)) {
      ids.push_back(*id);
      return absl::OkStatus();
    }
    if (byte_fallback_ && AppendBytes(part, ids)) return absl::OkStatus();
    if (!unk_id_.has_value()) {
      return Refuse(absl::StatusCode::kFailedPrecondition,
                    "tokenizer: the text needs an unknown token, but model.unk_id is null");
    }
    ids.push_back(*unk_id_);
    return absl::OkStatus();
  }

  bool AppendBytes(std::string_view part, std::vector<int32_t>& ids) const {
    constexpr char kHex[] = "0123456789ABCDEF";
    std::vector<int32_t> bytes;
    for (unsigned char byte : part) {
      const auto id =
          vocabulary().IdOf(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
      if (!id.has_value()) return false;
      bytes.push_back(*id);
    }
    ids.insert(ids.end(), bytes.begin(), bytes.end());
    return true;
  }

  std::vector<double> scores_;  // by id
  std::optional<int32_t> unk_id_;
  bool byte_fallback_;
  double lowest_ = 0;
};

bool IsScoredPiece(const Json& row) {
  return row.is_array() && row.size() == 2 && row[0].is_string() && row[1].is_number() &&
         row[0].get_ref<const std::string&>().size() <= kMaxPieceBytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(const JsonMembers& fields) {
  RV_ASSIGN_OR_RETURN(const Json* const rows, fields.Array("vocab"));
  Vocabulary vocabulary;
  std::vector<double> scores;
  for (const Json& row : *rows) {
    if (!IsScoredPiece(row)) return fields.Wrong("vocab", "rows [piece of <= 1024 bytes, score]");
    RV_RETURN_IF_ERROR(vocabulary.Add(row[0].get<std::string>(), int64_t(scores.size())));
    scores.push_back(row[1].get<double>());
  }
  if (scores.empty()) return fields.Wrong("vocab", "at least one piece");
  std::optional<int32_t> unk_id;
  if (fields.Find("unk_id") != nullptr) {
    RV_ASSIGN_OR_RETURN(const int64_t id, fields.Integer("unk_id", 0, int64_t(scores.size()) - 1));
    unk_id = static_cast<int32_t>(id);
  }
  RV_ASSIGN_OR_RETURN(const bool byte_fallback, fields.Bool("byte_fallback", false));
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), unk_id, byte_fallback);
}

}  // namespace rivulet

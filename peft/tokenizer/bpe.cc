#include <algorithm>
#include <mutex>
#include <queue>
#include <shared_mutex>
#include <string>

#include "peft/tokenizer/model.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

constexpr size_t kCachedPieces = 50'000;
constexpr size_t kCachedPieceBytes = 128;

struct Merge {
  int32_t rank = 0;  // lower is applied first
  int32_t id = 0;    // of the joined piece
};

// (left id, right id) -> merge.
class MergeTable {
 public:
  void Set(int32_t left, int32_t right, Merge merge) { merges_[KeyOf(left, right)] = merge; }
  const Merge* Find(int32_t left, int32_t right) const {
    const auto found = merges_.find(KeyOf(left, right));
    return found == merges_.end() ? nullptr : &found->second;
  }
  void Reserve(size_t count) { merges_.reserve(count); }

 private:
  struct Mix {
    size_t operator()(uint64_t key) const {
      key *= 0x9E3779B97F4A7C15u;
      return key ^ key >> 32;
    }
  };
  static uint64_t KeyOf(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  std::unordered_map<uint64_t, Merge, Mix> merges_;
};

// The pieces of a word as a linked list, merged lowest rank first, leftmost first on ties, in
// O(n log n).
class Word {
 public:
  Word(const std::vector<int32_t>& ids, const MergeTable& merges) : merges_(merges) {
    symbols_.reserve(ids.size());
    for (size_t at = 0; at < ids.size(); ++at) {
      const int32_t here = static_cast<int32_t>(at);
      symbols_.push_back({ids[at], here - 1, at + 1 < ids.size() ? here + 1 : -1, true});
    }
  }

  void MergeAll() {
    for (size_t at = 0; at + 1 < symbols_.size(); ++at) Propose(static_cast<int32_t>(at));
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      Apply(top);
    }
  }

  void AppendTo(std::vector<int32_t>& ids) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.alive) ids.push_back(symbol.id);
    }
  }

 private:
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;  // -1 at the end
    bool alive;
  };
  struct Candidate {
    Merge merge;
    int32_t left;
    bool operator<(const Candidate& other) const {  // the queue yields the largest
      if (merge.rank != other.merge.rank) return merge.rank > other.merge.rank;
      return left > other.left;
    }
  };

  void Propose(int32_t left) {
    const int32_t right = symbols_[left].next;
    if (right < 0) return;
    if (const Merge* merge = merges_.Find(symbols_[left].id, symbols_[right].id)) {
      queue_.push({*merge, left});
    }
  }

  void Apply(const Candidate& candidate) {
    Symbol& left = symbols_[candidate.left];
    if (!left.alive || left.next < 0) return;
    Symbol& right = symbols_[left.next];
    // The neighbours may have been merged since this was proposed.
    const Merge* merge = merges_.Find(left.id, right.id);
    if (merge == nullptr || merge->id != candidate.merge.id) return;
    left.id = merge->id;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) symbols_[left.next].previous = candidate.left;
    if (left.previous >= 0) Propose(left.previous);
    Propose(candidate.left);
  }

  const MergeTable& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

// Ids of short pieces met before. Thread safe; stops growing when full.
class PieceCache {
 public:
  bool Find(std::string_view piece, std::vector<int32_t>& ids) const {
    const std::shared_lock lock(mutex_);
    const auto found = ids_.find(piece);
    if (found == ids_.end()) return false;
    ids.insert(ids.end(), found->second.begin(), found->second.end());
    return true;
  }
  void Keep(std::string_view piece, std::vector<int32_t> ids) {
    const std::unique_lock lock(mutex_);
    if (ids_.size() < kCachedPieces) ids_.emplace(std::string(piece), std::move(ids));
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> ids_;
};

struct BpeOptions {
  std::string unk_token;
  std::string prefix;  // of every character but the first
  std::string suffix;  // of the last character
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token as a whole stays whole
};

class Bpe final : public Model {
 public:
  Bpe(Vocabulary vocabulary, BpeOptions options)
      : Model(std::move(vocabulary)), options_(std::move(options)) {
    for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = IdOfByte(byte);
  }

  absl::Status ReadMerges(const JsonMembers& fields);

  absl::Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    if (options_.ignore_merges) {
      if (const auto whole = vocabulary().IdOf(piece)) {
        ids.push_back(*whole);
        return absl::OkStatus();
      }
    }
    const bool cached = piece.size() <= kCachedPieceBytes;
    if (cached && cache_.Find(piece, ids)) return absl::OkStatus();
    std::vector<int32_t> merged;
    RV_RETURN_IF_ERROR(MergePiece(piece, merged));
    ids.insert(ids.end(), merged.begin(), merged.end());
    if (cached) cache_.Keep(piece, std::move(merged));
    return absl::OkStatus();
  }

 private:
  std::optional<int32_t> IdOfByte(int byte) const {
    constexpr char kHex[] = "0123456789ABCDEF";
    return vocabulary().IdOf(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">");
  }

  absl::Status AddMerge(std::string_view left, std::string_view right, int32_t rank);
  absl::Status MergePiece(std::string_view piece, std::vector<int32_t>& ids) const;
  absl::Status Characters(std::string_view piece, std::vector<int32_t>& ids) const;
  bool AppendBytes(std::string_view character, std::vector<int32_t>& ids) const;

  BpeOptions options_;
  MergeTable merges_;
  std::optional<int32_t> byte_ids_[256];
  mutable PieceCache cache_;
};

absl::Status Bpe::AddMerge(std::string_view left, std::string_view right, int32_t rank) {
  const auto missing = [](std::string_view piece) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "'" + std::string(piece) + "' is not in the vocabulary");
  };
  const auto left_id = vocabulary().IdOf(left);
  if (!left_id.has_value()) return missing(left);
  const auto right_id = vocabulary().IdOf(right);
  if (!right_id.has_value()) return missing(right);
  if (right.size() < options_.prefix.size()) return missing(right);
  const std::string joined = std::string(left) + std::string(right.substr(options_.prefix.size()));
  const auto joined_id = vocabulary().IdOf(joined);
  if (!joined_id.has_value()) return missing(joined);
  merges_.Set(*left_id, *right_id, {rank, *joined_id});
  return absl::OkStatus();
}

// "a b" with exactly one space, or ["a", "b"]; nothing when it is neither.
std::optional<std::pair<std::string, std::string>> ReadPair(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (!merge.is_string()) return std::nullopt;
  const auto& text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    return std::nullopt;
  }
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

absl::Status Bpe::ReadMerges(const JsonMembers& fields) {
  RV_ASSIGN_OR_RETURN(const Json* const list, fields.Array("merges"));
  if (list->size() > Vocabulary::kMaxPieces) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  fields.where() + ".merges: got " + std::to_string(list->size()) +
                      ", want at most " + std::to_string(Vocabulary::kMaxPieces));
  }
  merges_.Reserve(list->size());
  int32_t rank = 0;
  for (const Json& merge : *list) {
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const std::string where = fields.where() + ".merges[" + std::to_string(rank) + "]";
    const auto pair = ReadPair(merge);
    if (!pair.has_value()) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    where + ": want \"a b\" with one space or [\"a\", \"b\"]");
    }
    const absl::Status added = AddMerge(pair->first, pair->second, rank++);
    if (!added.ok()) return Annotate(added, where);
  }
  return absl::OkStatus();
}

bool Bpe::AppendBytes(std::string_view character, std::vector<int32_t>& ids) const {
  if (!options_.byte_fallback) return false;
  const auto known = [this](char c) { return byte_ids_[static_cast<uint8_t>(c)].has_value(); };
  if (!std::all_of(character.begin(), character.end(), known)) return false;
  for (char c : character) ids.push_back(*byte_ids_[static_cast<uint8_t>(c)]);
  return true;
}

// One id per character before any merge. An unknown token waits in `pending`: it may fuse with the
// next one, and bytes of a fall-back overtake it, as in the reference.
absl::Status Bpe::Characters(std::string_view piece, std::vector<int32_t>& ids) const {
  int32_t pending = -1;
  const auto flush = [&] {
    if (pending >= 0) ids.push_back(pending);
    pending = -1;
  };
  for (size_t position = 0; position < piece.size();) {
    const size_t start = position;
    NextCode(piece, position);
    std::string symbol(piece.substr(start, position - start));
    if (start > 0) symbol.insert(0, options_.prefix);
    if (position == piece.size()) symbol += options_.suffix;
    if (const auto id = vocabulary().IdOf(symbol)) {
      flush();
      ids.push_back(*id);
    } else if (!AppendBytes(symbol, ids) && !options_.unk_token.empty()) {
      if (!options_.fuse_unk) flush();
      pending = vocabulary().IdOf(options_.unk_token).value_or(-1);
      if (pending < 0) {
        return Refuse(absl::StatusCode::kFailedPrecondition,
                      "tokenizer: unk_token '" + options_.unk_token +
                          "' is not in the vocabulary, but the text needs it");
      }
    }
  }
  flush();
  return absl::OkStatus();
}

absl::Status Bpe::MergePiece(std::string_view piece, std::vector<int32_t>& ids) const {
  std::vector<int32_t> characters;
  RV_RETURN_IF_ERROR(Characters(piece, characters));
  Word word(characters, merges_);
  word.MergeAll();
  word.AppendTo(ids);
  return absl::OkStatus();
}

absl::Status RefuseDropout(const JsonMembers& fields) {
  const Json* dropout = fields.Find("dropout");
  if (dropout == nullptr || (dropout->is_number() && dropout->get<double>() == 0)) {
    return absl::OkStatus();
  }
  return fields.Wrong("dropout", "null or 0: random merges are not supported");
}

absl::StatusOr<BpeOptions> ReadOptions(const JsonMembers& fields) {
  BpeOptions options;
  RV_ASSIGN_OR_RETURN(options.unk_token, fields.String("unk_token", ""));
  RV_ASSIGN_OR_RETURN(options.prefix, fields.String("continuing_subword_prefix", ""));
  RV_ASSIGN_OR_RETURN(options.suffix, fields.String("end_of_word_suffix", ""));
  RV_ASSIGN_OR_RETURN(options.fuse_unk, fields.Bool("fuse_unk", false));
  RV_ASSIGN_OR_RETURN(options.byte_fallback, fields.Bool("byte_fallback", false));
  RV_ASSIGN_OR_RETURN(options.ignore_merges, fields.Bool("ignore_merges", false));
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeBpe(const JsonMembers& fields) {
  RV_RETURN_IF_ERROR(RefuseDropout(fields));
  RV_ASSIGN_OR_RETURN(BpeOptions options, ReadOptions(fields));
  RV_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Read(fields));
  auto bpe = std::make_unique<Bpe>(std::move(vocabulary), std::move(options));
  RV_RETURN_IF_ERROR(bpe->ReadMerges(fields));
  return bpe;
}

}  // namespace rivulet

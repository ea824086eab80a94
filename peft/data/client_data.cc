#include "peft/data/client_data.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "peft/data/template.h"

namespace rivulet {
namespace {

constexpr int32_t kNoLoss = -100;

absl::Status At(const Record& record, const absl::Status& status) {
  return Annotate(status, record.Where());
}

// A tokenised record; `targets` as long as `ids`.
struct Tokens {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;
};

bool HasSomethingToPredict(const Example& example) {
  if (example.ids.size() < 2) return false;
  if (example.targets.empty()) return true;
  return std::any_of(example.targets.begin() + 1, example.targets.end(),
                     [](int32_t target) { return target != kNoLoss; });
}

// ids[start, end) as an example. Targets that say nothing are left empty.
Example Slice(const Tokens& tokens, size_t start, size_t end) {
  const auto cut = [&](const std::vector<int32_t>& from) {
    return std::vector<int32_t>(from.begin() + static_cast<std::ptrdiff_t>(start),
                                from.begin() + static_cast<std::ptrdiff_t>(end));
  };
  Example example;
  example.ids = cut(tokens.ids);
  example.targets = cut(tokens.targets);
  if (example.targets == example.ids) example.targets.clear();
  return example;
}

class Builder {
 public:
  Builder(const DataSection& data, const Tokenizer& tokenizer, std::vector<std::string> labels)
      : data_(data), tokenizer_(tokenizer), labels_(std::move(labels)) {}

  absl::StatusOr<std::vector<Example>> Build(std::span<const Record> records) const {
    if (data_.task == "classification") return Classify(records);
    return data_.packing ? Pack(records) : OnePerRecord(records);
  }

 private:
  size_t length() const { return static_cast<size_t>(data_.seq_length); }

  absl::StatusOr<std::vector<Example>> Pack(std::span<const Record> records) const {
    Tokens all;
    for (const Record& record : records) {
      RV_ASSIGN_OR_RETURN(const Tokens one, Tokenize(record));
      all.ids.insert(all.ids.end(), one.ids.begin(), one.ids.end());
      all.targets.insert(all.targets.end(), one.targets.begin(), one.targets.end());
    }
    std::vector<Example> blocks;
    for (size_t start = 0; start + length() <= all.ids.size(); start += length()) {
      Example block = Slice(all, start, start + length());
      if (HasSomethingToPredict(block)) blocks.push_back(std::move(block));
    }
    return blocks;
  }

  absl::StatusOr<std::vector<Example>> OnePerRecord(std::span<const Record> records) const {
    std::vector<Example> examples;
    for (const Record& record : records) {
      RV_ASSIGN_OR_RETURN(const Tokens one, Tokenize(record));
      Example example = Slice(one, 0, std::min(length(), one.ids.size()));
      if (HasSomethingToPredict(example)) examples.push_back(std::move(example));
    }
    return examples;
  }

  // The record under its template, and eos behind it.
  absl::StatusOr<Tokens> Tokenize(const Record& record) const {
    const auto segments = Render(record, data_);
    if (!segments.ok()) return At(record, segments.status());
    auto tokens = TokenizeSegments(*segments);
    if (!tokens.ok()) return At(record, tokens.status());
    if (const auto eos = tokenizer_.special_ids().eos) {
      tokens->ids.push_back(*eos);
      tokens->targets.push_back(*eos);
    }
    return tokens;
  }

  // The whole text is tokenised at once, so ids are those of the text however it is divided. A
  // segment without loss covers the tokens that its text and all before it share with the whole: a
  // token across the border belongs to what follows.
  absl::StatusOr<Tokens> TokenizeSegments(const std::vector<Segment>& segments) const {
    std::string text;
    for (const Segment& segment : segments) text += segment.text;
    RV_ASSIGN_OR_RETURN(Encoding whole, tokenizer_.Encode(text));
    Tokens tokens{whole.ids, whole.ids};
    std::string prefix;
    size_t done = 0;
    for (size_t at = 0; at < segments.size(); ++at) {
      prefix += segments[at].text;
      size_t end = whole.ids.size();
      if (at + 1 < segments.size()) {
        RV_ASSIGN_OR_RETURN(end, SharedTokens(prefix, whole.ids));
      }
      if (!segments[at].counted && end > done) {
        std::fill(tokens.targets.begin() + static_cast<std::ptrdiff_t>(done),
                  tokens.targets.begin() + static_cast<std::ptrdiff_t>(end), kNoLoss);
      }
      done = std::max(done, end);
    }
    return tokens;
  }

  absl::StatusOr<size_t> SharedTokens(const std::string& prefix,
                                      const std::vector<int32_t>& whole) const {
    RV_ASSIGN_OR_RETURN(const Encoding encoded, tokenizer_.Encode(prefix));
    const auto differs =
        std::mismatch(encoded.ids.begin(), encoded.ids.end(), whole.begin(), whole.end());
    return static_cast<size_t>(differs.second - whole.begin());
  }

  absl::StatusOr<std::vector<Example>> Classify(std::span<const Record> records) const {
    std::vector<Example> examples;
    for (const Record& record : records) {
      auto example = ClassifyOne(record);
      if (!example.ok()) return At(record, example.status());
      examples.push_back(std::move(*example));
    }
    return examples;
  }

  absl::StatusOr<Example> ClassifyOne(const Record& record) const {
    RV_ASSIGN_OR_RETURN(const std::string text, FieldOf(record, data_.text_field));
    RV_ASSIGN_OR_RETURN(const std::string label, FieldOf(record, data_.label_field));
    RV_ASSIGN_OR_RETURN(Encoding encoding, tokenizer_.Encode(text));
    const auto found = std::find(labels_.begin(), labels_.end(), label);
    if (found == labels_.end()) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    data_.label_field + ": got '" + label + "', want one of data.labels");
    }
    Example example;
    example.label = static_cast<int32_t>(found - labels_.begin());
    example.ids = CutBeforeClosing(encoding);
    return example;
  }

  // Keeps the special tokens at the end ([SEP]) when the text is too long.
  std::vector<int32_t> CutBeforeClosing(const Encoding& encoding) const {
    const std::vector<int32_t>& ids = encoding.ids;
    if (ids.size() <= length()) return ids;
    size_t closing = 0;
    while (closing < length() && encoding.special_mask[ids.size() - 1 - closing] != 0) ++closing;
    std::vector<int32_t> cut(ids.begin(),
                             ids.begin() + static_cast<std::ptrdiff_t>(length() - closing));
    cut.insert(cut.end(), ids.end() - static_cast<std::ptrdiff_t>(closing), ids.end());
    return cut;
  }

  const DataSection& data_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> labels_;
};

absl::Status CheckSection(const DataSection& data, const Tokenizer& tokenizer, int max_position) {
  if (data.task != "causal-lm" && data.task != "classification") {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "data.task: got \"" + data.task + "\", want causal-lm or classification");
  }
  const int most = max_position > 0 ? max_position : 1 << 20;
  if (data.seq_length < 2 || data.seq_length > most) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "data.seq-length: got " + std::to_string(data.seq_length) + ", want 2.." +
                      std::to_string(most) + (max_position > 0 ? " (the model's positions)" : ""));
  }
  const bool packed = data.task == "causal-lm" && data.packing;
  if (packed && !tokenizer.special_ids().eos.has_value()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "data.packing: got true, but the tokenizer names no eos_token to part records; "
                  "want one in tokenizer_config.json, or packing = false");
  }
  return absl::OkStatus();
}

// A file of packed text that nothing divides into records.
bool IsUndivided(std::span<const Record> records, const DataSection& data) {
  return records.size() == 1 && data.format == "text" && data.separator.empty() &&
         data.task == "causal-lm" && data.packing;
}

std::optional<int64_t> IntegerOf(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

size_t HeldOutCount(size_t n, double fraction) {
  if (!(fraction > 0) || n < 2) return 0;
  // 1e-9: a product such as 0.29 * 100 must not lose its last record to rounding.
  const double share = std::floor(static_cast<double>(n) * fraction + 1e-9);
  return std::clamp<size_t>(static_cast<size_t>(share), 1, n - 1);
}

std::vector<std::string> LabelsOf(std::span<const Record> records, const DataSection& data) {
  std::vector<std::string> labels;
  for (const Record& record : records) {
    const auto found = record.fields.find(data.label_field);
    if (found != record.fields.end()) labels.push_back(found->second);
  }
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  const bool numbers = std::all_of(labels.begin(), labels.end(), [](const std::string& label) {
    return IntegerOf(label).has_value();
  });
  if (numbers) {
    std::stable_sort(labels.begin(), labels.end(), [](const auto& left, const auto& right) {
      return *IntegerOf(left) < *IntegerOf(right);
    });
  }
  return labels;
}

absl::StatusOr<ClientData> BuildClientData(std::span<const Record> records, const DataSection& data,
                                           const Tokenizer& tokenizer, int max_position) {
  RV_RETURN_IF_ERROR(CheckSection(data, tokenizer, max_position));
  const Builder builder(data, tokenizer,
                        data.labels.empty() ? LabelsOf(records, data) : data.labels);
  ClientData out;
  if (IsUndivided(records, data)) {
    RV_ASSIGN_OR_RETURN(out.train, builder.Build(records));
    const size_t held_out = HeldOutCount(out.train.size(), data.held_out_fraction);
    const auto first = out.train.end() - static_cast<std::ptrdiff_t>(held_out);
    out.held_out.assign(first, out.train.end());
    out.train.erase(first, out.train.end());
  } else {
    const size_t held_out = HeldOutCount(records.size(), data.held_out_fraction);
    RV_ASSIGN_OR_RETURN(out.train, builder.Build(records.first(records.size() - held_out)));
    RV_ASSIGN_OR_RETURN(out.held_out, builder.Build(records.last(held_out)));
  }
  const auto most = static_cast<size_t>(std::max(data.held_out_max_blocks, 0));
  if (most > 0 && out.held_out.size() > most) out.held_out.resize(most);
  return out;
}

}  // namespace rivulet

#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/data/example.h"
#include "peft/data/record.h"
#include "peft/tokenizer/tokenizer.h"

namespace rivulet {

// One client's records as training and held-out examples, in file order.
//
// Held out are the last max(1, floor(n * data.held-out-fraction)) of n records when the fraction is
// above 0 and n > 1; the examples made of them are cut to the first data.held-out-max-blocks. A
// packed text without data.separator is one record: there n counts its blocks.
//
// causal-lm, packed: every record's ids (special tokens of the tokenizer included) and the eos
// token
//   one after the other, cut into blocks of data.seq-length; the remainder is dropped. With a
//   template that counts only the answer, `targets` goes along.
// causal-lm, not packed: one example per record, ids and eos cut to seq-length.
// classification: the text field's ids with special tokens, cut to seq-length by dropping tokens
//   of the text before the closing special ones; `label` is the position in data.labels, or in
//   LabelsOf(records) when that is empty.
// An example of causal-lm without a token to predict is left out.
//
//   max_position  positions the model has; 0 = not known.
// Errors: InvalidArgument: data.seq-length outside 2..max_position, packing without an eos token in
// tokenizer_config.json, an unknown label or missing field ("<file>:<line>: ..."), an unknown task;
// those of Tokenizer::Encode.
absl::StatusOr<ClientData> BuildClientData(std::span<const Record> records, const DataSection& data,
                                           const Tokenizer& tokenizer, int max_position);

// The distinct labels seen: by value when all are integers, by bytes otherwise. Clients must agree
// on the order, so data.labels should name them wherever one client may miss a class.
std::vector<std::string> LabelsOf(std::span<const Record> records, const DataSection& data);

// How many of `n` records are held out.
size_t HeldOutCount(size_t n, double fraction);

}  // namespace rivulet

#!/usr/bin/env python3
"""Whether HF PEFT reads an adapter of ours and means the same by it. Causal LM: greedy text of `rivulet model generate`
against transformers' on the same prompts, and the loss of `rivulet model evaluate` against theirs. Classification: the
log-probability of every class for some sentences, by `rivulet model evaluate` and by them. Run by hand: needs torch,
transformers and peft, which no part of the build does.
usage: python3 peft_loads_it.py BIN_DIR BASE_MODEL ADAPTER [PROMPT ...]"""
import json
import pathlib
import subprocess
import sys
import tempfile

import peft
import safetensors
import torch
import transformers

BIN, BASE, ADAPTER = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
PROMPTS = sys.argv[4:] or ["Love is", "The law", "A computer", "It was the first of the month, and nothing"]
TOKENS = 48
TEXT = "\n".join(f"It was the {day} of the month, and nothing that mattered had yet been said about the {thing}."
                 for day in ("first", "second", "third", "fourth", "fifth") for thing in ("house", "road", "sea", "war"))
SENTENCES = ["a warm and funny film", "dull , loud and far too long", "it is what it is", "nothing new , but well told"]
SAME_LOSS = 1e-4  # nats: fp32 sums in another order


def ours(verb, *words):
    done = subprocess.run([BIN / "rivulet-model", verb, BASE, *map(str, words), "--format", "json"], capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)


def greedy(model, tokenizer, prompt):
    ids = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**ids, do_sample=False, max_new_tokens=TOKENS)
    return out[0, ids["input_ids"].shape[1]:].tolist()


def loss(model, tokenizer, text):
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids, labels=ids).loss.item()


def causal_lm(tokenizer):
    """The number of differences."""
    base = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    base_texts = [greedy(base, tokenizer, prompt) for prompt in PROMPTS]
    model = peft.PeftModel.from_pretrained(base, ADAPTER).eval()
    theirs = [greedy(model, tokenizer, prompt) for prompt in PROMPTS]
    bad = 0
    for prompt, was, want in zip(PROMPTS, base_texts, theirs):
        got = ours("generate", "--adapter", ADAPTER, "--prompt", prompt, "--max-new-tokens", TOKENS)["ids"]
        got, want = [[i for i in ids if i != tokenizer.eos_token_id] for ids in (got, want)]
        same = got == want
        bad += not same
        print(f"{prompt!r}: {len(want)} tokens, {'the same' if same else 'DIFFERENT'}; "
              f"{'not ' if was != want else ''}the base model's\n  ours   {tokenizer.decode(got)!r}\n"
              f"  theirs {tokenizer.decode(want)!r}")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "text.txt")
        file.write_text(TEXT)
        length = len(tokenizer(TEXT)["input_ids"])
        got = ours("evaluate", "--adapter", ADAPTER, "--data", file, "--seq-length", length, "--no-packing")["loss"]
    want = loss(model, tokenizer, TEXT)
    with model.disable_adapter():
        print(f"loss of one text of {length} tokens: ours {got:.7f}, theirs {want:.7f}, of the base model "
              f"{loss(model, tokenizer, TEXT):.7f}")
    return bad + (abs(got - want) > SAME_LOSS)


def classification(tokenizer):
    """The number of differences. One sentence and one label at a time: its loss is -log of the label's probability."""
    with safetensors.safe_open(pathlib.Path(ADAPTER, "adapter_model.safetensors"), "pt") as file:
        classes = file.get_tensor("base_model.model.classifier.weight").shape[0]
    base = transformers.AutoModelForSequenceClassification.from_pretrained(BASE, dtype=torch.float32, num_labels=classes)
    model = peft.PeftModel.from_pretrained(base, ADAPTER).eval()
    labels = [str(label) for label in range(classes)]
    bad = 0
    for sentence in SENTENCES:
        with torch.no_grad():
            want = model(**tokenizer(sentence, return_tensors="pt")).logits.log_softmax(-1)[0].tolist()
        got = []
        for label in labels:
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder, "one.tsv")
                file.write_text(f"text\tlabel\n{sentence}\t{label}\n")
                got.append(-ours("evaluate", "--adapter", ADAPTER, "--data", file, "--data-format", "tsv", "--labels",
                                 *labels)["loss"])
        most = max(abs(one - other) for one, other in zip(got, want))
        bad += most > SAME_LOSS
        print(f"{sentence!r}: log-probabilities ours {got}, theirs {want}, at most {most:.1e} apart")
    return bad


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    task = json.loads(pathlib.Path(ADAPTER, "adapter_config.json").read_text())["task_type"]
    bad = {"CAUSAL_LM": causal_lm, "SEQ_CLS": classification}[task](tokenizer)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}: "
          f"{'the same' if not bad else f'{bad} differences'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

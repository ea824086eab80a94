#!/usr/bin/env python3
"""The five verbs of `rivulet model` as a user calls them, on the model of the quickstart and on adapters that this file
writes by itself. usage: model_tools_test.py SOURCE_DIR BIN_DIR [WARM_START_LIBRARY]"""
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

from warm_start import Programs

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
SHARED = pathlib.Path(os.environ.get("RIVULET_SHARED", SOURCE / "../shared"))
PROGRAMS = Programs(BIN, *sys.argv[3:])
LLAMA, BERT = SOURCE / "simulations/models/llama-7m", SHARED / "models/bert-7m"
LAYERS, HIDDEN, KV = 8, 256, 128  # of llama-7m
TEXT = "\n".join(f"It was the {day} of the month, and nothing that mattered had yet been said about the {thing}."
                 for day in ("first", "second", "third", "fourth", "fifth") for thing in ("house", "road", "sea", "war"))
# Loss of one model by two routes of the same arithmetic: fp32 sums in another order.
SAME_LOSS = 2e-5
# bf16 keeps 8 bits, so a merged weight is off by up to 2^-9 of itself, at random; seen on this model: 6.5e-4 nats.
BF16_LOSS = 3e-3


def model(*words, code=0):
    done = PROGRAMS.run("rivulet-model", *words)
    assert done.returncode == code, f"{words}: exit {done.returncode}, want {code}\n{done.stdout}{done.stderr}"
    if code:
        assert not done.stdout, done.stdout
    return done


def as_json(*words):
    done = model(*words, "--format", "json")
    value = json.loads(done.stdout)  # one object and nothing else
    assert value["api"] == "rivulet/v1"
    return value


def write_safetensors(path, tensors):
    """tensors: name -> (shape, floats)."""
    header, body = {}, b""
    for name in sorted(tensors):
        shape, values = tensors[name]
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return header


def normal(rng, shape, deviation):
    return shape, [rng.gauss(0, deviation) for _ in range(math.prod(shape))]


def write_lora(folder, hidden=HIDDEN, r=4, patterned=False):
    """A LoRA on q_proj and v_proj whose random factors move the loss."""
    rng, tensors = random.Random(7), {}
    for layer in range(LAYERS):
        for name, out in (("q_proj", hidden), ("v_proj", KV)):
            rank = 2 if patterned and name == "v_proj" else r
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{stem}.lora_A.weight"] = normal(rng, [rank, hidden], 0.06)
            tensors[f"{stem}.lora_B.weight"] = normal(rng, [out, rank], 0.06)
    folder.mkdir(parents=True)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "llama-7m", "r": r,
              "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    if patterned:
        config |= {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.3.self_attn.q_proj": 3}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_bottleneck(folder):
    """An AdapterHub seq_bn adapter, reduction factor 16."""
    rng, tensors = random.Random(8), {}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}.output_adapters.adapters.tiny."
        tensors[stem + "adapter_down.0.weight"] = normal(rng, [HIDDEN // 16, HIDDEN], 0.05)
        tensors[stem + "adapter_down.0.bias"] = normal(rng, [HIDDEN // 16], 0.05)
        tensors[stem + "adapter_up.weight"] = normal(rng, [HIDDEN, HIDDEN // 16], 0.05)
        tensors[stem + "adapter_up.bias"] = normal(rng, [HIDDEN], 0.05)
    folder.mkdir(parents=True)
    write_safetensors(folder / "adapter.safetensors", tensors)
    body = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 16, "non_linearity": "relu",
            "original_ln_before": True, "original_ln_after": True, "residual_before_ln": True, "leave_out": []}
    (folder / "adapter_config.json").write_text(json.dumps(
        {"name": "tiny", "model_type": "llama", "model_name": "llama-7m", "model_class": "LlamaForCausalLM",
         "hidden_size": HIDDEN, "version": "adapters.1.2.0", "config": body}))
    return folder


class ModelTools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.home = pathlib.Path(cls.folder.name)
        cls.lora = write_lora(cls.home / "lora")
        cls.patterned = write_lora(cls.home / "patterned", patterned=True)
        cls.bottleneck = write_bottleneck(cls.home / "bottleneck")
        cls.text = cls.home / "text.txt"
        cls.text.write_text(TEXT)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def loss(self, base, *options):
        return as_json("evaluate", base, "--data", self.text, "--seq-length", 64, *options)["loss"]

    def damaged(self, name, file, size):
        """A copy of the model with one file cut to `size` bytes."""
        folder = self.home / name
        shutil.copytree(LLAMA, folder)
        path = folder / file
        path.write_bytes((LLAMA / file).read_bytes()[:size])
        return folder


class Inspect(ModelTools):
    def test_model_in_json_tells_family_tensors_tokenizer_and_hash(self):
        value = as_json("inspect", LLAMA)
        header = read_safetensors(LLAMA / "model.safetensors")
        self.assertEqual((value["kind"], value["family"], value["architecture"], value["head"]),
                         ("Model", "llama", "LlamaForCausalLM", "causal-lm"))
        self.assertEqual(value["parameters"], sum(math.prod(row["shape"]) for row in header.values()))
        self.assertEqual(value["dtypes"], {"BF16": len(header)})
        self.assertEqual({row["name"]: row["shape"] for row in value["tensors"]},
                         {name: row["shape"] for name, row in header.items()})
        self.assertEqual(value["tokenizer"], {"kind": "BPE", "vocabulary": 4096,
                                              "special": {"bos": 0, "eos": 1, "pad": 2}})
        files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        sums = subprocess.run(["sha256sum", *files], cwd=LLAMA, capture_output=True, check=True).stdout
        want = subprocess.run(["sha256sum"], input=sums, capture_output=True, check=True).stdout.decode().split()[0]
        self.assertEqual(value["hash"], "sha256:" + want)

    def test_model_in_text_says_the_same(self):
        text = model("inspect", LLAMA).stdout
        for pattern in (r"llama model\n", r"class +LlamaForCausalLM", r"layers +8\n", r"vocabulary +4096\n",
                        r"parameters +6951168 in 74 tensors \(BF16\)", r"tokenizer +BPE, 4096 tokens, bos 0, eos 1",
                        r"hash +sha256:[0-9a-f]{64}", r"  model\.norm\.weight BF16 \[256\]"):
            self.assertRegex(text, pattern)

    def test_family_that_is_not_supported(self):
        folder = self.home / "mamba"
        shutil.copytree(LLAMA, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
        value, llama = as_json("inspect", folder), as_json("inspect", LLAMA)
        self.assertEqual(value["family"], "mamba")
        self.assertRegex(value["unsupported"], r'config\.json: model_type: got "mamba", want one of ')
        for key in ("parameters", "bytes", "dtypes", "tensors", "tokenizer"):
            self.assertEqual(value[key], llama[key])
        text = model("inspect", folder).stdout
        for pattern in (r"mamba model, not supported for tuning\n", r"because +.*model_type: got \"mamba\"",
                        r"parameters +6951168 in 74 tensors \(BF16\)", r"  model\.norm\.weight BF16 \[256\]"):
            self.assertRegex(text, pattern)
        self.assertIn("model_type", model("generate", folder, "--prompt", "x", code=3).stderr)

    def test_lora(self):
        value = as_json("inspect", self.patterned)
        self.assertEqual((value["kind"], value["method"], value["r"], value["lora_alpha"], value["task_type"]),
                         ("Adapter", "lora", 4, 8, "CAUSAL_LM"))
        scales = {row["module"]: (row["rank"], row["scale"]) for row in value["modules"]}
        self.assertEqual(len(scales), 2 * LAYERS)
        self.assertEqual(scales["model.layers.0.self_attn.q_proj"], (4, 8 / 4))
        self.assertEqual(scales["model.layers.3.self_attn.q_proj"], (4, 3 / 4))
        self.assertEqual(scales["model.layers.3.self_attn.v_proj"], (2, 8 / 2))
        self.assertRegex(value["hash"], "^[0-9a-f]{64}$")
        text = model("inspect", self.patterned).stdout
        self.assertRegex(text, r"method +LoRA \(PEFT\)\n")
        self.assertRegex(text, r"rank +r 4, alpha 8\n")
        self.assertRegex(text, r"model\.layers\.3\.self_attn\.v_proj +r 2, scale 4\n")
        self.assertIn(value["hash"], text)

    def test_bottleneck_adapter(self):
        value = as_json("inspect", self.bottleneck)
        self.assertEqual((value["kind"], value["method"], value["reduction_factor"], value["non_linearity"]),
                         ("Adapter", "seq_bn", 16, "relu"))
        self.assertEqual(len(value["tensors"]), 4 * LAYERS)
        self.assertRegex(model("inspect", self.bottleneck).stdout, r"width +16 \(256 / 16\), relu\n")

    def test_bert(self):
        if not BERT.is_dir():
            self.skipTest(f"{BERT} is absent")
        value = as_json("inspect", BERT)
        self.assertEqual((value["family"], value["tokenizer"]["kind"]), ("bert", "WordPiece"))
        self.assertEqual(value["tokenizer"]["special"]["mask"], 4)


class Merge(ModelTools):
    def test_merged_model_has_the_loss_of_the_adapter_and_is_a_whole_model(self):
        beside, without = self.loss(LLAMA, "--adapter", self.lora), self.loss(LLAMA)
        self.assertGreater(abs(beside - without), 20 * BF16_LOSS, "the adapter must matter for this test to say anything")
        exact, rounded = self.home / "merged32", self.home / "merged16"
        value = as_json("merge", LLAMA, self.lora, "--out", exact, "--dtype", "float32")
        self.assertEqual((value["kind"], value["merged"], value["largest_rounding"]), ("MergedModel", 2 * LAYERS, 0))
        self.assertAlmostEqual(self.loss(exact), beside, delta=SAME_LOSS)
        self.assertRegex(model("merge", LLAMA, self.lora, "--out", rounded).stdout, r"16 matrices merged, .* in 1 file, ")
        self.assertAlmostEqual(self.loss(rounded), beside, delta=BF16_LOSS)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"):
            self.assertEqual((rounded / name).read_bytes(), (LLAMA / name).read_bytes(), name)
        self.assertEqual(json.loads((exact / "config.json").read_text())["dtype"], "float32")
        provenance = json.loads((rounded / "rivulet_provenance.json").read_text())
        self.assertEqual(provenance["base_model_hash"], as_json("inspect", LLAMA)["hash"])
        self.assertEqual(provenance["adapter_hash"], as_json("inspect", self.lora)["hash"])
        self.assertEqual(as_json("inspect", rounded)["dtypes"], {"BF16": 74})

    def test_ranks_and_alphas_by_pattern(self):
        out = self.home / "merged_patterned"
        model("merge", LLAMA, self.patterned, "--out", out, "--dtype", "float32")
        self.assertAlmostEqual(self.loss(out), self.loss(LLAMA, "--adapter", self.patterned), delta=SAME_LOSS)

    def test_bottleneck_is_refused_by_name_with_a_way_out(self):
        error = model("merge", LLAMA, self.bottleneck, "--out", self.home / "never", code=3).stderr
        self.assertRegex(error, r"got a bottleneck adapter \(seq_bn\), want a LoRA: .*not linear.*--adapter")
        self.assertFalse((self.home / "never").exists())

    def test_existing_model_is_kept_unless_forced(self):
        out = self.home / "twice"
        model("merge", LLAMA, self.lora, "--out", out)
        self.assertIn("holds a model already, want an empty folder or --force",
                      model("merge", LLAMA, self.lora, "--out", out, code=3).stderr)
        model("merge", LLAMA, self.lora, "--out", out, "--force")
        self.assertIn("is the base model itself", model("merge", out, self.lora, "--out", out, code=3).stderr)

    def test_adapter_trained_on_another_base_is_noted(self):
        adapter = self.home / "foreign"
        shutil.copytree(self.lora, adapter)
        (adapter / "rivulet_provenance.json").write_text(json.dumps({"base_model_hash": "sha256:" + "0" * 64}))
        self.assertIn("note: the adapter was trained on base model sha256:000",
                      model("merge", LLAMA, adapter, "--out", self.home / "noted").stderr)


class Export(ModelTools):
    def test_portable_profile_has_one_rank_and_the_same_loss(self):
        out = self.home / "portable"
        value = as_json("export", self.patterned, "--profile", "portable", "--out", out)
        self.assertEqual((value["kind"], value["profile"], value["r"]), ("ExportedAdapter", "portable", 4))
        self.assertLess(value["largest_difference"], 1e-6)
        config = json.loads((out / "adapter_config.json").read_text())
        self.assertEqual((config["r"], config["lora_alpha"], config["rank_pattern"], config["alpha_pattern"]),
                         (4, 4, {}, {}))
        shapes = {tuple(row["shape"]) for name, row in read_safetensors(out / "adapter_model.safetensors").items()
                  if "lora_A" in name}
        self.assertEqual(shapes, {(4, HIDDEN)})
        self.assertAlmostEqual(self.loss(LLAMA, "--adapter", out), self.loss(LLAMA, "--adapter", self.patterned),
                               delta=SAME_LOSS)

    def test_each_method_has_a_profile_of_its_own(self):
        lora, bottleneck = self.home / "peft", self.home / "hub"
        self.assertRegex(model("export", self.lora, "--out", lora).stdout, "profile peft, r 4")
        self.assertEqual((lora / "adapter_model.safetensors").stat().st_size > 0, True)
        self.assertEqual(self.loss(LLAMA, "--adapter", lora), self.loss(LLAMA, "--adapter", self.lora))
        self.assertEqual(as_json("export", self.bottleneck, "--out", bottleneck)["profile"], "adapterhub")
        self.assertEqual(self.loss(LLAMA, "--adapter", bottleneck), self.loss(LLAMA, "--adapter", self.bottleneck))
        self.assertIn("want adapterhub",
                      model("export", self.bottleneck, "--profile", "peft", "--out", self.home / "no", code=3).stderr)

    def test_bad_places_to_write(self):
        out = self.home / "export_twice"
        model("export", self.lora, "--out", out)
        self.assertIn("holds an adapter already", model("export", self.lora, "--out", out, code=3).stderr)
        model("export", self.bottleneck, "--out", out, "--force")
        self.assertFalse((out / "adapter_model.safetensors").exists(), "weights of the other form must not stay")
        self.assertIn("is the adapter itself", model("export", self.lora, "--out", self.lora, code=3).stderr)
        self.assertRegex(model("export", self.lora, "--out", self.text / "x", code=3).stderr, "text.txt/x: create: ")

    def test_unknown_profile_is_a_usage_error(self):
        self.assertIn("portable", model("export", self.lora, "--profile", "gold", "--out", "x", code=2).stderr)


class Generate(ModelTools):
    PROMPT = ("generate", LLAMA, "--prompt", "The old man", "--max-new-tokens", 16)

    def test_greedy_is_deterministic_and_text_equals_json(self):
        first, second = model(*self.PROMPT), model(*self.PROMPT)
        self.assertEqual(first.stdout, second.stdout)
        value = as_json(*self.PROMPT)
        self.assertEqual(first.stdout, value["prompt"] + value["text"] + "\n")
        self.assertEqual((len(value["ids"]), value["stopped_by"]), (16, "length"))

    def test_seed_decides_what_is_drawn(self):
        draw = lambda seed: as_json(*self.PROMPT, "--temperature", 1, "--top-k", 50, "--top-p", 0.95, "--seed", seed)
        self.assertEqual(draw(1)["ids"], draw(1)["ids"])
        self.assertNotEqual(draw(1)["ids"], draw(2)["ids"])
        self.assertEqual(as_json(*self.PROMPT, "--temperature", 1, "--top-k", 1)["ids"], as_json(*self.PROMPT)["ids"])

    def test_adapters_of_every_kind_change_the_text(self):
        plain = as_json(*self.PROMPT)["ids"]
        for adapter in (self.lora, self.patterned, self.bottleneck):
            self.assertNotEqual(as_json(*self.PROMPT, "--adapter", adapter)["ids"], plain, adapter)

    def test_every_eos_token_of_a_list_ends_the_text(self):
        ids = as_json(*self.PROMPT)["ids"]
        folder = self.home / "two_eos"
        shutil.copytree(LLAMA, folder)
        config = json.loads((LLAMA / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [1, ids[4]]}))
        value = as_json("generate", folder, *self.PROMPT[2:])
        self.assertEqual((value["ids"], value["stopped_by"]), (ids[:ids.index(ids[4])], "end-of-text"))

    def test_full_context_is_told(self):
        words = ("generate", LLAMA, "--prompt", "word " * 1020, "--max-new-tokens", 50)
        value = as_json(*words)
        self.assertEqual(value["stopped_by"], "positions")
        self.assertEqual(value["prompt_tokens"] + len(value["ids"]), 1024 + 1)
        self.assertRegex(model(*words).stderr, r"stopped after \d+ of 50 tokens: .* the model's 1024 positions")
        self.assertRegex(model("generate", LLAMA, "--prompt", "word " * 2000, code=3).stderr,
                         r"prompt: got \d+ tokens, want 1\.\.1024")

    def test_options_without_effect_are_told_and_bad_ones_refused(self):
        self.assertIn("give --temperature", model(*self.PROMPT, "--top-k", 5).stderr)
        for option, value in (("--top-p", 0), ("--top-p", 1.5), ("--temperature", -1), ("--max-new-tokens", 0),
                              ("--top-k", -1), ("--seed", "x")):
            self.assertIn(option, model(*self.PROMPT, option, value, code=2).stderr)


class Evaluate(ModelTools):
    def test_text_and_json_agree(self):
        value = as_json("evaluate", LLAMA, "--data", self.text, "--seq-length", 64)
        self.assertAlmostEqual(value["perplexity"], math.exp(value["loss"]), delta=1e-9 * value["perplexity"])
        self.assertEqual((value["counted"], value["accuracy"]),
                         (63 * value["examples"], value["correct"] / value["counted"]))
        self.assertLess(value["loss"], 5)  # of a uniform guess: ln 4096 = 8.3
        text = model("evaluate", LLAMA, "--data", self.text, "--seq-length", 64).stdout
        self.assertEqual(text, f"loss {value['loss']:.4f}, perplexity {value['perplexity']:.2f}, accuracy "
                               f"{value['accuracy']:.4f} over {value['counted']} tokens in {value['examples']} sequences\n")

    def test_instruction_data_counts_the_answers_alone(self):
        data = self.home / "answers.jsonl"
        rows = [{"instruction": "Name a colour.", "input": "", "output": "Blue."},
                {"instruction": "Say it again.", "input": "Good morning", "output": "Good morning"}]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("evaluate", LLAMA, "--data", data, "--data-format", "jsonl", "--template", "alpaca", "--no-packing")
        value = as_json(*words)
        self.assertEqual(value["examples"], 2)
        self.assertLess(value["counted"], 20)  # the two answers and their ends, not the prompts around them
        data.write_text(json.dumps({"instruction": "x"}) + "\n")
        self.assertRegex(model(*words, code=3).stderr, r"answers\.jsonl:1: .*output")

    def test_data_that_cannot_be_used(self):
        short = self.home / "short.txt"
        short.write_text("Too little.")
        self.assertRegex(model("evaluate", LLAMA, "--data", short, code=3).stderr,
                         r"short\.txt: got 1 record, which do not fill one block of 512 tokens; want .*--no-packing")
        self.assertRegex(model("evaluate", LLAMA, "--data", self.home / "none", code=3).stderr, "none: open: No such file")
        self.assertIn("want 2..1024",
                      model("evaluate", LLAMA, "--data", self.text, "--seq-length", 4096, code=3).stderr)

    def test_classification(self):
        if not BERT.is_dir():
            self.skipTest(f"{BERT} is absent")
        data = self.home / "labels.tsv"
        data.write_text("text\tlabel\na fine film\tgood\na dull film\tbad\nvery good\tgood\n")
        words = ("evaluate", BERT, "--data", data, "--data-format", "tsv", "--labels", "bad", "good")
        done = model(*words, "--format", "json")
        value = json.loads(done.stdout)
        self.assertEqual((value["task"], value["counted"]), ("classification", 3))
        self.assertEqual(value["accuracy"], value["correct"] / 3)
        self.assertNotIn("perplexity", value)
        self.assertIn("neither the model nor an adapter has weights for bert.pooler.dense, classifier", done.stderr)
        self.assertRegex(model(*words).stdout, r"loss \d\.\d{4}, accuracy \d\.\d{4} \(\d of 3\)\n")
        data.write_text("text\tlabel\na fine film\t1\na dull film\t0\n")  # numbers do as well
        self.assertEqual(as_json(*words)["counted"], 2)
        data.write_text("text\tlabel\na fine film\tsuperb\n")
        self.assertRegex(model(*words, code=3).stderr, r"got the classes superb, want those of the head \(bad, good\)")


class Damage(ModelTools):
    def test_missing_folders(self):
        self.assertIn("/nonexistent: no such folder", model("inspect", "/nonexistent", code=3).stderr)
        self.assertIn("/nonexistent/config.json", model("generate", "/nonexistent", "--prompt", "x", code=3).stderr)
        self.assertIn("/nonexistent: no adapter_config.json",
                      model("merge", LLAMA, "/nonexistent", "--out", self.home / "x", code=3).stderr)
        self.assertIn("want the folder of a model or an adapter", model("inspect", self.text, code=3).stderr)

    def test_files_cut_short_are_named_with_what_was_seen_and_wanted(self):
        whole = (LLAMA / "model.safetensors").stat().st_size
        folder = self.damaged("cut_weights", "model.safetensors", whole - 1000)
        for verb in (("inspect", folder), ("evaluate", folder, "--data", self.text),
                     ("merge", folder, self.lora, "--out", self.home / "x")):
            self.assertRegex(model(*verb, code=3).stderr,
                             rf"model\.safetensors: .*: got {whole - 1000} bytes, want {whole}\n")
        folder = self.damaged("cut_config", "config.json", 100)
        for verb in (("inspect", folder), ("generate", folder, "--prompt", "x")):
            self.assertRegex(model(*verb, code=3).stderr,
                             r"config\.json: JSON: got the end of the text after 100 bytes, want the rest")
        folder = self.damaged("cut_tokenizer", "tokenizer.json", 5000)
        for verb in (("inspect", folder), ("generate", folder, "--prompt", "x"), ("evaluate", folder, "--data", self.text)):
            self.assertRegex(model(*verb, code=3).stderr,
                             r"tokenizer\.json: JSON: got the end of the text after 5000 bytes, want the rest")

    def test_adapter_of_another_base(self):
        other = write_lora(self.home / "narrow", hidden=64)
        self.assertRegex(model("merge", LLAMA, other, "--out", self.home / "x", code=3).stderr,
                         r"module 'model\.layers\.0\.self_attn\.q_proj': got 64 x 64, want 256 x 256")
        for verb in (("evaluate", LLAMA, "--data", self.text), ("generate", LLAMA, "--prompt", "x")):
            self.assertRegex(model(*verb, "--adapter", other, code=3).stderr,
                             r"lora_A\.weight F32 \[4,64\], want .* \[4,256\]: the adapter is of another base model")
        self.assertFalse((self.home / "x").exists())

    def test_usage(self):
        for words in ((), ("melt",), ("inspect",), ("inspect", LLAMA, "--format", "xml"), ("merge", LLAMA, self.lora)):
            model(*words, code=2)
        self.assertIn("exit codes", model("--help").stdout)


if __name__ == "__main__":
    unittest.addModuleCleanup(PROGRAMS.close)
    unittest.main(argv=sys.argv[:1], verbosity=2)

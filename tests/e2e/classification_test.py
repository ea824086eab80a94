#!/usr/bin/env python3
"""A classification job over a TSV file that is made here: exports key by key, drop-outs, kept rounds, malformed records.
Readers share no code with the program. usage: classification_test.py SOURCE_DIR BIN_DIR"""
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MODEL = SOURCE / "simulations/models/llama-7m"
CONFIG = json.loads((MODEL / "config.json").read_text())
LAYERS, HIDDEN = CONFIG["num_hidden_layers"], CONFIG["hidden_size"]
LABELS = ["neg", "neu", "pos"]
WORDS = {"neg": "bad dull broken", "neu": "plain usual grey", "pos": "good bright kind"}
JOB = """
[job]
name = "classes"
num-rounds = 2
min-clients = 2
seed = 11
[model]
name = "{model}"
{method}
[data]
format = "tsv"
task = "classification"
text-field = "sentence"
label-field = "mood"
seq-length = 16
[train]
max-steps = 1
per-device-train-batch-size = 2
[simulate]
partition = "dirichlet"
num-clients = 6
partition-alpha = 0.5
min-records = 2
dataset-path = "{data}"
"""
LORA = '[lora]\nlora-r = 2\nlora-target-modules = ["q_proj", "v_proj"]'
ADAPTER = '[adapter]\nconfig = "seq_bn"\nreduction-factor = 32'


def safetensors(path):
    """name -> (dtype, shape, values), read from the layout alone."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body, tensors = data[8 + length:], {}
    for name, row in header.items():
        raw = body[slice(*row["data_offsets"])]
        tensors[name] = (row["dtype"], row["shape"], struct.unpack(f"<{len(raw) // 4}f", raw))
    return tensors


class Classification(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.rows = [f"{WORDS[LABELS[at % 3]]} thing {at}\t{LABELS[at % 3]}" for at in range(90)]
        self.write(self.rows)

    def write(self, rows):
        (self.folder / "data.tsv").write_text("sentence\tmood\n" + "\n".join(rows) + "\n")

    def simulate(self, method, *sets, out="runs", code=0):
        job = self.folder / "job.toml"
        job.write_text(JOB.format(model=MODEL, method=method, data=self.folder / "data.tsv"))
        words = [word for one in sets for word in ("--set", one)]
        done = subprocess.run([BIN / "rivulet-simulate", job, "--out", self.folder / out, "--no-progress", *words],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        self.done = done
        return self.folder / out / "latest"

    def summary(self, run):
        return json.loads((run / "summary.json").read_text())

    def assert_tensors(self, path, want, untrained=()):
        got = safetensors(path)
        self.assertEqual({name: list(row[1]) for name, row in got.items()}, want)
        for name, (dtype, _, values) in got.items():
            self.assertEqual(dtype, "F32", name)
            self.assertTrue(all(math.isfinite(value) for value in values), name)
            self.assertTrue(any(values) or name in untrained, f"{name} was never trained")

    def test_lora_export_has_the_factors_and_the_trained_head(self):
        run = self.simulate(LORA)
        kv = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
        want = {"base_model.model.score.weight": [3, HIDDEN]}
        for layer in range(LAYERS):
            for module, outputs in (("q_proj", HIDDEN), ("v_proj", kv)):
                stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
                want[f"{stem}.lora_A.weight"] = [2, HIDDEN]
                want[f"{stem}.lora_B.weight"] = [outputs, 2]
        self.assert_tensors(run / "adapter/adapter_model.safetensors", want)
        config = json.loads((run / "adapter/adapter_config.json").read_text())
        for key, value in {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2,
                           "modules_to_save": ["classifier", "score"],
                           "target_modules": ["q_proj", "v_proj"]}.items():
            self.assertEqual(config[key], value, key)
        self.assertIn('labels = ["neg", "neu", "pos"]', (run / "job.toml").read_text())
        # B starts at 0, so A does not move in the one step of round 1 and nothing is lost there.
        self.assertEqual([row["bias"] > 0 for row in self.summary(run)["rounds_detail"]], [False, True])
        self.assertIn("factor averaging bias", self.done.stdout)

    def test_adapter_export_has_every_layer_and_the_trained_head(self):
        run = self.simulate(ADAPTER)
        width = HIDDEN // 32
        want = {}
        for layer in range(LAYERS):
            stem = f"model.layers.{layer}.output_adapters.adapters.rivulet"
            want[f"{stem}.adapter_down.0.weight"] = [width, HIDDEN]
            want[f"{stem}.adapter_down.0.bias"] = [width]
            want[f"{stem}.adapter_up.weight"] = [HIDDEN, width]
            want[f"{stem}.adapter_up.bias"] = [HIDDEN]
        self.assert_tensors(run / "adapter/adapter.safetensors", want)
        self.assert_tensors(run / "adapter/model_head.safetensors", {"score.weight": [3, HIDDEN]})
        config = json.loads((run / "adapter/adapter_config.json").read_text())
        self.assertEqual(config["config"]["reduction_factor"], 32)
        head = json.loads((run / "adapter/head_config.json").read_text())
        self.assertEqual(head["label2id"], {"neg": 0, "neu": 1, "pos": 2})
        self.assertTrue(all(row["bias"] is None for row in self.summary(run)["rounds_detail"]))
        self.assertNotIn("factor averaging bias", self.done.stdout)

    def test_dropped_clients_are_reported_and_the_result_is_the_same_again(self):
        sets = ["simulate.drop-rate=0.3", "job.max-failures=1.0", "job.num-rounds=3"]
        first = self.summary(self.simulate(LORA, *sets))
        table = self.done.stdout
        again = self.summary(self.simulate(LORA, *sets, "simulate.max-parallel-clients=1", out="again"))
        self.assertEqual(first["state_hash"], again["state_hash"])
        kept = self.summary(self.simulate(LORA, "job.num-rounds=3", out="kept"))
        self.assertNotEqual(first["state_hash"], kept["state_hash"])
        dropped = [name for row in first["rounds_detail"] for name in row["failed"]]
        self.assertEqual([sorted(row["failed"]) for row in first["rounds_detail"]],
                         [sorted(row["failed"]) for row in again["rounds_detail"]])
        self.assertTrue(dropped)
        for row in first["rounds_detail"]:
            self.assertEqual(sorted(row["reported"] + row["failed"] + row["missing"]), row["cohort"])
        self.assertRegex(table, rf"dropped +{len(dropped)} of 18 invitations")
        events = [json.loads(line) for line in (self.folder / "runs/latest/metrics.ndjson").read_text().splitlines()]
        told = [event["data"]["client"] for event in events
                if event["type"] == "client.dropped" and "simulated drop-out" in event["data"]["reason"]]
        self.assertEqual(sorted(told), sorted(dropped))

    def test_kept_rounds_are_exported_each(self):
        run = self.simulate(LORA, "job.num-rounds=3", "export.save-every-round=2")
        self.assertEqual(sorted(path.name for path in run.glob("adapter*")), ["adapter", "adapter-2"])
        last, second = (safetensors(run / name / "adapter_model.safetensors") for name in ("adapter", "adapter-2"))
        self.assertEqual(last.keys(), second.keys())
        self.assertNotEqual(last, second)
        two = self.simulate(LORA, out="two")
        self.assertEqual(safetensors(two / "adapter/adapter_model.safetensors"), second)
        notes = [json.loads((run / name / "rivulet_provenance.json").read_text())["round"]
                 for name in ("adapter", "adapter-2")]
        self.assertEqual(notes, [3, 2])

    def test_malformed_records_are_counted_in_all(self):
        broken = ["no tab in this line"] * 30
        self.write(self.rows + broken)
        self.simulate(LORA, code=3)
        self.simulate(LORA, "data.skip-malformed=true", "job.num-rounds=1")
        self.assertIn("skipped: 30 malformed records in all\n", self.done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

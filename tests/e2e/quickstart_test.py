#!/usr/bin/env python3
"""The quickstart's federation at reduced size: what a run leaves behind, checked with readers that share no code with
the program. usage: quickstart_test.py SOURCE_DIR BIN_DIR; exit 77 = skipped."""
import json
import math
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
FORTUNES = pathlib.Path("/usr/share/games/fortunes")
JOB = "simulations/scenarios/quickstart.toml"
SMALL = ["job.num-rounds=2", "job.clients-per-round=3", "job.min-clients=3", "train.max-steps=2",
         "data.held-out-max-blocks=1", "evaluate.every=0"]


def simulate(out, sets, *options):
    sets = [word for one in sets for word in ("--set", one)]
    return subprocess.run([BIN / "rivulet-simulate", JOB, "--out", out, "--no-progress", *sets, *options], cwd=SOURCE,
                          capture_output=True, text=True)


def safetensors(path):
    """name -> (dtype, shape, bytes), read from the layout alone."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    body = data[8 + length:]
    return {name: (row["dtype"], row["shape"], body[slice(*row["data_offsets"])]) for name, row in header.items()}


class Quickstart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name)
        cls.done = simulate(cls.out, SMALL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.run_folder = self.out / "latest"

    def test_adapter_has_exactly_the_keys_and_shapes_peft_expects(self):
        config = json.loads((SOURCE / "simulations/models/llama-7m/config.json").read_text())
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        kv = config["num_key_value_heads"] * config["head_dim"]
        shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, kv),
                  "self_attn.v_proj": (hidden, kv), "self_attn.o_proj": (hidden, hidden),
                  "mlp.gate_proj": (hidden, inner), "mlp.up_proj": (hidden, inner), "mlp.down_proj": (inner, hidden)}
        want = {}
        for layer in range(config["num_hidden_layers"]):
            for module, (inputs, outputs) in shapes.items():
                stem = f"base_model.model.model.layers.{layer}.{module}"
                want[f"{stem}.lora_A.weight"] = ("F32", [8, inputs])
                want[f"{stem}.lora_B.weight"] = ("F32", [outputs, 8])
        got = safetensors(self.run_folder / "adapter/adapter_model.safetensors")
        self.assertEqual({name: row[:2] for name, row in got.items()}, want)
        for name, (_, shape, raw) in got.items():
            values = struct.unpack(f"<{math.prod(shape)}f", raw)
            self.assertTrue(all(math.isfinite(value) for value in values), name)
            self.assertTrue(any(values), f"{name} was never trained")

    def test_adapter_config_is_complete(self):
        text = (self.run_folder / "adapter/adapter_config.json").read_text()
        config = json.loads(text)
        self.assertRegex(config.pop("peft_version"), r"^\d+\.\d+\.\d+$")
        self.assertEqual(config, {
            "peft_type": "LORA", "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "simulations/models/llama-7m", "revision": None, "inference_mode": True,
            "r": 8, "lora_alpha": 16, "lora_dropout": 0.0,
            "target_modules": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
            "exclude_modules": None, "fan_in_fan_out": False, "bias": "none", "use_rslora": False, "use_dora": False,
            "modules_to_save": None, "init_lora_weights": True, "rank_pattern": {}, "alpha_pattern": {},
            "layers_to_transform": None, "layers_pattern": None, "auto_mapping": None})
        # As PEFT writes it: sorted keys, indent 2, no newline at the end.
        self.assertEqual(text, json.dumps(json.loads(text), indent=2, sort_keys=True))

    def test_run_folder_holds_metrics_plot_events_and_configuration(self):
        events = [json.loads(line) for line in (self.run_folder / "metrics.ndjson").read_text().splitlines()]
        kinds = [event["type"] for event in events]
        self.assertEqual(kinds.count("round.completed"), 2)
        self.assertEqual(kinds[-1], "job.completed")
        summary = json.loads((self.run_folder / "summary.json").read_text())
        self.assertEqual(len(summary["evaluations"]), 2)
        self.assertEqual(len(summary["evaluations"][0]["clients"]), 34)
        self.assertLess(summary["evaluations"][1]["perplexity"], summary["evaluations"][0]["perplexity"])
        # Every update is the whole manifest, 299,008 floats, so bytes up are known to the header.
        state = 299008 * 4
        self.assertGreaterEqual(summary["bytes_up"], 2 * 3 * state)
        # Each of the 3 that train and of the 34 that evaluate fetches it, twice, with a header of some 15 kB.
        fetched = 2 * 3 + 2 * 34
        self.assertGreaterEqual(summary["bytes_down"], fetched * state)
        self.assertLess(summary["bytes_down"], fetched * state * 1.02)
        self.assertIn("<svg", (self.run_folder / "plot.svg").read_text())
        for stream in ("train", "eval"):
            self.assertTrue(list((self.run_folder / stream).glob("events.out.tfevents.*")))
        self.assertIn('max-steps = 2', (self.run_folder / "job.toml").read_text())
        self.assertRegex(self.done.stdout, r"all clients +\d+\.\d+ -> +\d+\.\d+")
        self.assertIn("34 clients, 3 a round, 2 rounds", self.done.stderr)

    def test_same_job_again_gives_the_same_state_with_one_worker(self):
        again = simulate(self.out / "again", SMALL + ["simulate.max-parallel-clients=1"], "--format", "json")
        self.assertEqual(again.returncode, 0, again.stderr)
        hashes = [json.loads((folder / "latest/summary.json").read_text())["state_hash"]
                  for folder in (self.out, self.out / "again")]
        self.assertEqual(hashes[0], hashes[1])
        for line in again.stdout.splitlines():
            self.assertEqual(json.loads(line)["kind"], "Event")

    def test_an_interrupt_ends_the_job_and_keeps_what_is_published(self):
        out = self.out / "interrupted"
        sets = [word for one in SMALL[1:] + ["job.num-rounds=10000"] for word in ("--set", one)]
        for stop in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=stop.name):
                shutil.rmtree(out, ignore_errors=True)
                run = subprocess.Popen([BIN / "rivulet-simulate", JOB, "--out", out, "--no-progress", *sets],
                                       cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                self.addCleanup(run.kill)
                deadline = time.monotonic() + 200
                while time.monotonic() < deadline and run.poll() is None and not any(
                        "round.completed" in path.read_text() for path in out.glob("*/metrics.ndjson")):
                    time.sleep(0.05)
                run.send_signal(stop)
                stdout, stderr = run.communicate()
                self.assertEqual(run.returncode, 130, stderr)
                self.assertRegex(stderr, r"interrupted: ending after round \d+ of 10000; again to end at once")
                self.assertRegex(stdout, r"stopped after round \d+ of 10000")
                summary = json.loads((out / "latest/summary.json").read_text())
                self.assertGreaterEqual(summary["rounds"], 1)
                provenance = json.loads((out / "latest/adapter/rivulet_provenance.json").read_text())
                self.assertEqual(provenance["round"], summary["rounds"])
                self.assertEqual(provenance["adapter_hash"], summary["state_hash"])
                self.assertIn("<svg", (out / "latest/plot.svg").read_text())
                last = json.loads((out / "latest/metrics.ndjson").read_text().splitlines()[-1])
                self.assertEqual(last["type"], "job.stopped")

    def test_bad_input_names_thing_value_and_remedy(self):
        for sets, code, pattern in [
            (["lora.lora-r=0"], 3, r"lora\.lora-r: got 0 \(flag --set\), want an integer 1\.\.1024"),
            (["train.learning-rat=1"], 3, r"did you mean 'train\.learning-rate'"),
            (["lora.lora-target-modules=[\"q_prj\"]"], 3, r"q_proj"),
            (["model.hash=sha256:" + "0" * 64], 9, r"model\.hash: .* want sha256:000"),
            (["model.name=no-such-model"], 3, r"no config\.json in no-such-model"),
            (["simulate.dataset-path=/nonexistent"], 3, r"/nonexistent"),
            (["job.min-available-clients=0", "job.clients-per-round=0", "job.min-clients=35"], 3,
             r"job\.min-clients: got 35, want at most the 34 clients of this simulation"),
            (["job.min-available-clients=40"], 3,
             r"job\.min-available-clients: got 40, want at most the 34 clients"),
        ]:
            with self.subTest(sets=sets):
                done = simulate(self.out / "bad", sets)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertRegex(done.stderr, pattern)
        done = subprocess.run([BIN / "rivulet-simulate", "--no-such-flag"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    if not FORTUNES.is_dir():
        print("skipped: the Debian package fortunes is not installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)

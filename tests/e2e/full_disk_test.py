#!/usr/bin/env python3
"""Writes that fail midway: every program ends with 10, names the file and why, and leaves nothing half-written under a
name that readers look for. A limit on file sizes stands for the full disk. usage: full_disk_test.py SOURCE_DIR BIN_DIR"""
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MODEL = SOURCE / "simulations/models/llama-7m"
JOB = """
[job]
name = "full"
num-rounds = 1
min-clients = 2
[model]
name = "{model}"
[lora]
lora-r = 2
lora-target-modules = ["q_proj"]
[data]
separator = "\\n%\\n"
seq-length = 16
held-out-max-blocks = 1
[train]
max-steps = 1
per-device-train-batch-size = 1
[simulate]
partition = "iid"
num-clients = 2
dataset-path = "{data}"
[track]
tensorboard = false
"""


def run(*words, limit=resource.RLIM_INFINITY):
    """limit: the longest file in bytes that it may write. Its output goes to pipes, which have no length."""
    return subprocess.run([BIN / words[0], *map(str, words[1:])], capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))


class FullDisk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        (cls.folder / "data.txt").write_text("\n%\n".join(f"The {at}th of many short lines." for at in range(60)))
        (cls.folder / "job.toml").write_text(JOB.format(model=MODEL, data=cls.folder / "data.txt"))
        done = cls.simulate("whole")
        assert done.returncode == 0, done.stderr
        cls.run_folder = (cls.folder / "whole/latest").resolve()
        cls.adapter = cls.run_folder / "adapter"

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @classmethod
    def simulate(cls, out, **options):
        return run("rivulet-simulate", cls.folder / "job.toml", "--out", cls.folder / out, "--no-progress", **options)

    def sizes(self, *names):
        return [(self.run_folder / name).stat().st_size for name in names]

    def assert_full(self, done, file):
        self.assertEqual(done.returncode, 10, f"{done.returncode}: {done.stderr}")
        self.assertIn(f"{file}: write: File too large\n", done.stderr)

    def assert_only(self, folder, *whole):
        """The folder holds these files, and not even a temporary one beside them."""
        self.assertEqual(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
                         sorted(whole))

    def one_run(self, out):
        runs = list((self.folder / out).iterdir())  # one, and no link `latest` to it
        self.assertEqual(len(runs), 1, runs)
        self.assertFalse(runs[0].is_symlink())
        return runs[0]

    def test_simulate_that_cannot_keep_its_configuration_does_not_start(self):
        done = self.simulate("configuration", limit=100)
        folder = self.one_run("configuration")
        self.assert_full(done, folder / "job.toml")
        self.assert_only(folder, "metrics.ndjson")
        self.assertEqual((folder / "metrics.ndjson").read_text(), "")

    def test_simulate_that_cannot_export_keeps_the_metrics(self):
        weights, *others = self.sizes("adapter/adapter_model.safetensors", "job.toml", "metrics.ndjson")
        self.assertLess(max(others), weights - 1)
        done = self.simulate("export", limit=weights - 1)
        folder = self.one_run("export")
        self.assert_full(done, folder / "adapter/adapter_model.safetensors")
        self.assert_only(folder, "job.toml", "metrics.ndjson")
        self.assertIn('"type":"job.completed"', (folder / "metrics.ndjson").read_text())

    def test_merge_leaves_no_model(self):
        out = self.folder / "merged"
        done = run("rivulet-model", "merge", MODEL, self.adapter, "--out", out, limit=1 << 20)
        self.assert_full(done, out / ".merging/model.safetensors")
        self.assertEqual(done.stdout, "")
        self.assert_only(out)
        again = run("rivulet-model", "merge", MODEL, self.adapter, "--out", out)
        self.assertEqual(again.returncode, 0, again.stderr)  # nothing in the way

    def test_export_leaves_no_adapter(self):
        for profile in ("peft", "portable"):
            with self.subTest(profile=profile):
                out = self.folder / profile
                done = run("rivulet-model", "export", self.adapter, "--profile", profile, "--out", out, limit=1 << 10)
                self.assert_full(done, out / "adapter_model.safetensors")
                self.assertEqual(done.stdout, "")
                self.assert_only(out)
                again = run("rivulet-model", "export", self.adapter, "--profile", profile, "--out", out)
                self.assertEqual(again.returncode, 0, again.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

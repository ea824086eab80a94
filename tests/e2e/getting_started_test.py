#!/usr/bin/env python3
"""Quickstart: simulations/quickstart.sh itself, twice, without a terminal. Page: mine.toml and the commands of
docs/getting_started.md word for word. Both at reduced size, in a copy of what they read, over the build that is there,
so runs/ of the tree stays as it is. usage: getting_started_test.py SOURCE_DIR BUILD_DIR Quickstart|Page; exit 77 =
skipped."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD, CHECKS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
PAGE = (SOURCE / "docs/getting_started.md").read_text()
SMALL = ["job.num-rounds=1", "job.clients-per-round=2", "job.min-clients=2", "train.max-steps=1",
         "data.held-out-max-blocks=1"]
# The page's own way to change a value for one run.
SMALL_MINE = {"RIVULET_JOB__NUM_ROUNDS": "1", "RIVULET_TRAIN__MAX_STEPS": "2", "RIVULET_DATA__HELD_OUT_MAX_BLOCKS": "1"}


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def block(text, language=""):
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == 1, f"docs/getting_started.md: got {len(found)} blocks, want 1 in\n{text}"
    return found[0]


def copy_tree(to):
    for name in ("simulations", "deploy"):
        shutil.copytree(SOURCE / name, to / name)
    (to / "build").mkdir()
    (to / "build/release").symlink_to(BUILD)


def surroundings(folder):
    """A test installs nothing: in this environment what would do so fails."""
    (folder / "no").mkdir(exist_ok=True)
    for name in ("apt-get", "sudo"):
        (folder / "no" / name).write_text(f"#!/bin/sh\necho '{name}: not in a test' >&2\nexit 1\n")
        (folder / "no" / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "TERM" and not name.startswith("RIVULET_")}
    return {**kept, "PATH": f"{folder}/no:{kept['PATH']}"}


def what_is_missing(folder):
    if not pathlib.Path("/usr/share/games/fortunes/computers").is_file():
        return "/usr/share/games/fortunes: want the package `fortunes`"
    if CHECKS == "Page":
        return ""
    if not (BUILD / "build.ninja").is_file():
        return f"{BUILD}: no build.ninja, so the script would build anew"
    done = subprocess.run([folder / "deploy/install-packages.sh", "build"], capture_output=True, text=True,
                          env=surroundings(folder))
    return done.stderr if done.returncode else ""


class InACopy(unittest.TestCase):
    folder = None  # set in main

    def run_here(self, *command, environment={}):
        """To its end without a terminal, as in a cron job: none on its streams and none to open."""
        done = subprocess.run(command, cwd=self.folder, env={**surroundings(self.folder), **environment}, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        for text in (done.stdout, done.stderr):
            self.assertNotIn("\x1b", text)
            self.assertNotIn("\r", text)
        return done.stdout

    def latest(self):
        link = self.folder / "runs/latest"
        self.assertTrue(link.is_symlink())
        for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "metrics.ndjson", "plot.svg",
                     "summary.json", "job.toml"):
            self.assertGreater((link / name).stat().st_size, 0, name)
        for stream in ("train", "eval"):
            self.assertTrue(list((link / stream).glob("events.out.tfevents.*")), stream)
        return link.resolve().name, json.loads((link / "summary.json").read_text())


class Quickstart(InACopy):
    def quickstart(self, *options):
        return self.run_here("simulations/quickstart.sh", *(word for one in SMALL for word in ("--set", one)), *options)

    def test_1_it_ends_with_its_table_and_with_both_models_texts(self):
        out = self.quickstart()
        self.assertRegex(out, r"held out +perplexity +accuracy")
        self.assertRegex(out, r"all clients +\d+\.\d+ -> +\d+\.\d+")
        texts = re.findall(r"^  (base|tuned): +(\S.*)$", out, re.M)
        self.assertEqual([side for side, _ in texts], ["base", "tuned"] * 3, out)
        prompts = re.findall(r"^prompt: (.+)$", out, re.M)
        self.assertEqual(len(prompts), 3, out)
        for at, (_, text) in enumerate(texts):
            self.assertTrue(text.startswith(prompts[at // 2]), text)
        _, summary = self.latest()
        self.assertEqual(len(summary["evaluations"][0]["clients"]), 34)

    def test_2_again_it_builds_nothing_and_comes_to_the_same_state(self):
        first, before = self.latest()
        programs = [BUILD / "bin" / name for name in ("rivulet-simulate", "rivulet-model")]
        built = [path.stat().st_mtime_ns for path in programs]
        out = self.quickstart()
        self.assertIn("ninja: no work to do.\n", out)
        self.assertEqual([path.stat().st_mtime_ns for path in programs], built)
        second, after = self.latest()
        self.assertNotEqual(first, second)
        self.assertEqual(before["state_hash"], after["state_hash"])
        self.assertEqual(before["evaluations"], after["evaluations"])

    def test_3_with_out_the_tuned_text_is_of_the_run_that_lies_there(self):
        last = (self.folder / "runs/latest").resolve()
        shutil.rmtree(last / "adapter")  # or the script might take this one
        for options in (("--out", "one place"), ("--out=another",)):
            out = self.quickstart(*options)
            self.assertEqual(re.findall(r"^  (base|tuned): +\S", out, re.M), ["base", "tuned"] * 3, out)
        self.assertTrue((self.folder / "one place/latest/adapter").is_dir())
        self.assertTrue((self.folder / "another/latest/adapter").is_dir())
        self.assertEqual((self.folder / "runs/latest").resolve(), last)

    def test_4_a_configuration_is_printed_and_no_text(self):
        out = self.quickstart("--print-config")
        self.assertIn("num-rounds = 1", out)
        self.assertNotIn("prompt:", out)


class Page(InACopy):
    def page(self, commands):
        """In one shell that has done what the page's first lines say."""
        path = block(PAGE.split("\n## ")[0])
        self.assertIn("export PATH=", path)
        return self.run_here("bash", "-e", "-c", path + commands, environment=SMALL_MINE)

    def test_mine_toml_runs_and_its_result_is_used_as_the_page_says(self):
        (self.folder / "mine.toml").write_text(block(section("1. A job file"), "toml"))
        for words in ("`rivulet simulate mine.toml --print-config`", "`--print-config --origin`"):
            self.assertIn(words, PAGE)
        self.assertIn("[strategy]\n", self.page("rivulet simulate mine.toml --print-config"))
        origins = self.page("rivulet simulate mine.toml --print-config --origin")
        self.assertRegex(origins, r"max-steps.*RIVULET_TRAIN__MAX_STEPS")
        self.assertRegex(origins, r"seq-length.*mine\.toml")
        table = self.page(block(section("2. A run")))
        self.assertRegex(table, r"all clients +\d+\.\d+ -> +\d+\.\d+")
        run, summary = self.latest()
        self.assertTrue(run.endswith("-mine"), run)
        self.assertEqual(len(summary["evaluations"][0]["clients"]), 4)
        documented = re.findall(r"^\| `([^`]+?)/?`(?:, `([^`]+?)/?`)? \|", section("2. A run"), re.M)
        for name in (name for row in documented for name in row if name):
            self.assertTrue((self.folder / "runs/latest" / name).exists(), name)
        self.assertGreaterEqual(len(documented), 6)

        out = self.page(block(section("3. The result")))
        self.assertIn("Love is", out)
        self.assertRegex(out, r"perplexity")
        self.assertRegex(out, r"merged: 56 matrices merged")  # seven in each of eight layers
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            self.assertGreater((self.folder / "merged" / name).stat().st_size, 0, name)
        again = self.page(block(section("2. A run")))
        self.assertEqual(self.latest()[1]["state_hash"], summary["state_hash"])
        self.assertIn(summary["state_hash"], again)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        InACopy.folder = pathlib.Path(name)
        copy_tree(InACopy.folder)
        if missing := what_is_missing(InACopy.folder):
            print("skipped:", missing)
            sys.exit(77)
        unittest.main(argv=[sys.argv[0], CHECKS], verbosity=2)

#!/usr/bin/env python3
"""What every program has in common on its command line: errors, nearest names, help, versions, exit codes.
usage: command_line_test.py SOURCE_DIR BIN_DIR [WARM_START_LIBRARY]"""
import json
import pathlib
import re
import sys
import tempfile
import unittest

from warm_start import Programs

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
PROGRAMS = Programs(BIN, *sys.argv[3:])
JOB = "simulations/scenarios/quickstart.toml"


def run(program, *words):
    return PROGRAMS.run(program, *words, cwd=SOURCE)


class CommandLine(unittest.TestCase):
    def test_an_error_under_format_json_has_one_shape_everywhere(self):
        for program, words, code, text in [
                ("rivulet", ["job", "submit", "/nowhere"], 3, "/nowhere: open: "),
                ("rivulet", ["jbo"], 2, "did you mean 'job'?"),
                ("rivulet-simulate", ["/nowhere"], 3, "/nowhere: open: "),
                ("rivulet-simulate", [JOB, "--set", "lora.lora-r=0"], 3, "lora.lora-r: got 0"),
                ("rivulet-simulate", [JOB, "--no-progres"], 2, "did you mean '--no-progress'?"),
                ("rivulet-model", ["inspect", "/nowhere"], 3, "/nowhere: no such folder"),
                ("rivulet-model", ["genrate"], 2, "did you mean 'generate'?")]:
            with self.subTest(program=program, words=words):
                done = run(program, *words, "--format", "json")
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertEqual(done.stdout, "")
                error = json.loads(done.stderr.splitlines()[-1])
                self.assertEqual(set(error), {"error"})
                self.assertEqual(set(error["error"]), {"exit", "message"})
                self.assertEqual(error["error"]["exit"], code)
                self.assertIn(text, error["error"]["message"])

    def test_a_misspelt_word_gets_the_nearest_one(self):
        for program, words, text in [
                ("rivulet-simulate", [JOB, "--no-progres"], "unknown option '--no-progres'; did you mean '--no-progress'?"),
                ("rivulet-model", ["genrate"], "unknown command 'genrate'; did you mean 'generate'?"),
                ("rivulet-model", ["inspect", ".", "--fromat", "json"], "did you mean '--format'?"),
                ("rivulet", ["simluate"], "did you mean 'simulate'?"),
                ("rivulet", ["--colour", "red", "simulate"], "unknown option '--colour'"),
                ("rivulet", ["help", "jbo"], "help: got 'jbo', want exit-codes or a command; did you mean 'job'?")]:
            with self.subTest(program=program, words=words):
                done = run(program, *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertIn(text, done.stderr)

    def test_options_before_a_program_reach_it(self):
        done = run("rivulet", "--format", "json", "simulate", JOB, "--print-config", "--origin")
        self.assertEqual(done.returncode, 0, done.stderr)
        json.loads(done.stdout)
        done = run("rivulet", "--format=json", "model", "inspect", "simulations/models/llama-7m")
        self.assertEqual(json.loads(done.stdout)["api"], "rivulet/v1", done.stderr)

    def test_the_printed_configuration_has_the_terms_of_masks_and_is_a_job_file(self):
        words = ["--print-config", "--set", "job.clients-per-round=8"]
        self.assertNotIn("# secure-aggregation", run("rivulet-simulate", JOB, *words).stdout)
        masked = run("rivulet-simulate", JOB, *words, "--set", "secure-aggregation.enabled=true").stdout
        self.assertIn("8 clients a sum: neighbours 7, threshold 5, quorum 5, min-survivors 8\n", masked)  # min-clients is 8
        with tempfile.TemporaryDirectory() as folder:
            printed = pathlib.Path(folder) / "job.toml"
            printed.write_text(masked)
            self.assertEqual(run("rivulet-simulate", str(printed), "--print-config").stdout, masked)

    def test_config_show_prints_what_print_config_does(self):
        sets = [word for key in ("secure-aggregation.enabled=true", "strategy.weighting=uniform", "job.clients-per-round=8") for word in ("--set", key)]
        shown = run("rivulet", "config", "show", JOB, *sets)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(shown.stdout, run("rivulet-simulate", JOB, "--print-config", *sets).stdout)
        self.assertIn("\nmin-survivors = 4\n", shown.stdout)  # the key; a sum has min-clients
        self.assertRegex(shown.stdout, r"# 8 clients a sum: neighbours 7, threshold 5, quorum 5, min-survivors 8\n")
        origins = run("rivulet", "config", "show", JOB, *sets, "--origin").stdout
        self.assertRegex(origins, r"secure-aggregation\.enabled +true +flag --set\n")
        rows = json.loads(run("rivulet", "--format", "json", "config", "show", JOB).stdout)
        self.assertIn("secure-aggregation.threshold", [row["key"] for row in rows])
        self.assertEqual(run("rivulet", "config", "show", "/nowhere").returncode, 3)

    def test_config_show_fills_in_what_follows_from_the_model(self):
        sets = [word for key in ("train.estimator=central", "train.optimizer=sgd", "train.max-steps=1", "train.target-cosine=0.1", "scalars.enabled=true",
                                 "lora.lora-r=1", 'lora.lora-target-modules=["q_proj", "v_proj"]') for word in ("--set", key)]
        self.assertIn("\nqueries = 1\n", run("rivulet", "config", "show", JOB, *sets).stdout)
        shown = run("rivulet", "config", "show", JOB, *sets, "--model-dir", "simulations/models/llama-7m")
        self.assertIn("\nqueries = 73\n", shown.stdout, shown.stderr)  # 7,168 * 0.01 / 0.99
        self.assertRegex(shown.stdout, r'\nhash = "sha256:[0-9a-f]{64}"\n')
        own = run("rivulet", "config", "show", JOB, *sets, "--set", "train.queries=20", "--model-dir", "simulations/models/llama-7m")
        self.assertEqual(own.returncode, 3)
        self.assertIn("train.target-cosine = 0.1 and train.queries = 20", own.stderr)

    def test_help_of_a_command_is_its_own(self):
        for words in ([], ["simulate"], ["model", "generate"], ["job"], ["job", "submit"], ["config", "show"], ["client"]):
            with self.subTest(words=words):
                asked, own = run("rivulet", "help", *words), run("rivulet", *words, "--help")
                self.assertEqual((asked.returncode, own.returncode), (0, 0), asked.stderr)
                self.assertEqual(asked.stdout.strip(), own.stdout.strip())

    def test_every_program_knows_its_version(self):
        for program in ("rivulet", "rivulet-simulate", "rivulet-model", "rivulet-client", "rivulet-coordinator"):
            with self.subTest(program=program):
                done = run(program, "--version")
                self.assertRegex(done.stdout, rf"^{program} \d+\.\d+\.\d+\n$")
                self.assertEqual(done.returncode, 0)

    def test_help_names_exit_codes_and_each_is_in_the_table(self):
        known = set(re.findall(r"^  (\d+) ", run("rivulet", "help", "exit-codes").stdout, re.M))
        for program, words, least in [("rivulet-client", ["run"], {"8", "9", "10"}),
                                      ("rivulet-coordinator", ["serve"], {"8", "10"}),
                                      ("rivulet-simulate", [], {"1", "5", "10"}), ("rivulet-model", [], {"1", "10"}),
                                      ("rivulet", ["job", "list"], {"4"}), ("rivulet", ["pki", "init"], {"4"})]:
            with self.subTest(program=program):
                line = re.search(r"^exit codes: ((?:.|\n)*?)all of them", run(program, *words, "--help").stdout, re.M)
                codes = set(re.findall(r"\b(\d+)\b", line[1]))
                self.assertLessEqual(codes, known)
                self.assertLessEqual(least | {"0", "2", "3", "130"} - ({"130"} if program == "rivulet-model" else set()), codes)


if __name__ == "__main__":
    unittest.addModuleCleanup(PROGRAMS.close)
    unittest.main(argv=sys.argv[:1], verbosity=2)

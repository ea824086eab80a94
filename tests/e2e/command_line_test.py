#!/usr/bin/env python3
"""What every program has in common on its command line: errors and nearest names.
usage: command_line_test.py SOURCE_DIR BIN_DIR"""
import json
import pathlib
import re
import subprocess
import sys
import unittest

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
JOB = "simulations/scenarios/quickstart.toml"


def run(program, *words):
    return subprocess.run([BIN / program, *words], cwd=SOURCE, capture_output=True, text=True, timeout=60)


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
                ("rivulet", ["simluate"], "did you mean 'simulate'?")]:
            with self.subTest(program=program, words=words):
                done = run(program, *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

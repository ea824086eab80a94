#!/usr/bin/env python3
"""docs/deploying_agents.md against the programs: keys of the policy, configuration files, units, exit codes.
usage: deployment_page_test.py SOURCE_DIR BIN_DIR AGENT"""
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request

SOURCE, BIN, AGENT = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
PAGE = (SOURCE / "docs/deploying_agents.md").read_text()
PROGRAMS = {"rivulet-client": [AGENT], "rivulet-coordinator": [BIN / "rivulet-coordinator"], "rivulet": [BIN / "rivulet"]}


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)


def block(first_line):
    return PAGE.split(first_line + "\n")[1].split("```")[0]


def flags(*words):
    shown = run(*words, "--help")
    return set(re.findall(r"--[a-z][a-z-]+", shown.stdout))


class Page(unittest.TestCase):
    def test_policy_keys_are_those_of_the_reader(self):
        source = (SOURCE / "client/agent/policy.cc").read_text()
        lists = [set(re.findall(r'"([a-z-]+)"', known)) for known in re.findall(r"CheckKeys\([^{};]*\{([^}]*)\}\)", source)]
        top = next(keys for keys in lists if "base-model" in keys)
        sections = {"base-model": "hash", "dataset": "name", "secagg": "orgs", "privacy": "max-releases"}
        want = top - set(sections)
        for section, one in sections.items():
            want |= {f"{section}.{key}" for key in next(keys for keys in lists if one in keys)}
        table = PAGE.split("## `policy.toml`")[1].split("## Running")[0]
        self.assertEqual(set(re.findall(r"^\| `([a-z.-]+)` \|", table, re.M)), want)

    def test_every_key_of_a_configuration_file_is_there(self):
        for first, words in (("# /etc/rivulet/client.toml", [AGENT, "run"]),
                             ("# /etc/rivulet/coordinator.toml", [BIN / "rivulet-coordinator", "serve"])):
            keys = {"--" + key.replace(".", "-") for key in re.findall(r"^([a-z.-]+) =", block(first), re.M)}
            own = flags(*words) - {"--help", "--config", "--insecure", "--no-insecure", "--name"}
            self.assertEqual(keys, own)

    def test_the_configuration_files_are_understood(self):
        # A wrong key would be exit 3; a missing certificate is exit 4.
        for first, words in (("# /etc/rivulet/client.toml", [AGENT, "run"]),
                             ("# /etc/rivulet/coordinator.toml", [BIN / "rivulet-coordinator", "serve"])):
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder, "file.toml")
                file.write_text(block(first))
                done = run(*words, "--config", file, "--tls-dir", pathlib.Path(folder, "none"))
                self.assertEqual(done.returncode, 4, done.stderr)

    def test_commands_have_the_options_they_are_shown_with(self):
        commands = re.findall(r"(?:^|ExecStart=/usr/bin/)(rivulet[a-z-]* .*?)(?:`|#|$)", PAGE, re.M)
        commands = [line.split(">")[0] for line in commands if " --" in line]
        self.assertGreaterEqual(len(commands), 9)
        for line in commands:
            program, *words = line.split()
            verbs = [word for word in words if re.fullmatch(r"[a-z]+", word)][:2 if program == "rivulet" else 1]
            shown = flags(*PROGRAMS[program], *verbs) | flags(*PROGRAMS[program])
            for option in re.findall(r"--[a-z-]+", line):
                self.assertIn(option, shown, line)

    def test_metric_families_are_those_of_the_coordinator(self):
        table = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| (?:`([a-z_]+)`)? ?\|", PAGE, re.M)
        with tempfile.TemporaryDirectory() as folder:
            words = ["serve", "--insecure", "--state-dir", folder]
            for name in ("agents", "operators", "ops"):
                words += [f"--listen-{name}", "127.0.0.1:0"]
            serve = subprocess.Popen([BIN / "rivulet-coordinator", *words], stdout=subprocess.PIPE, text=True)
            try:
                ops = re.search(r"ops (\S+)", serve.stdout.readline())[1]
                shown = urllib.request.urlopen(f"http://{ops}/metrics", timeout=120).read().decode()
            finally:
                serve.terminate()
                self.assertEqual(serve.wait(120), 0)
                serve.stdout.close()
        types = re.findall(r"^# TYPE (\S+) (\S+)$", shown, re.M)
        self.assertEqual([(name, kind) for name, kind, _ in table], types)
        labels = {name: label for name, _, label in table}
        for name, label in re.findall(r"^([a-z_]+)\{([a-z_]+)=", shown, re.M):
            self.assertEqual(label, "le" if name.endswith("_bucket") else labels[name], name)

    def test_exit_codes_are_those_of_the_programs(self):
        table = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.split("## Exit codes")[1], re.M)
        shown = re.findall(r"^  (\d+) +(.+)$", run(BIN / "rivulet", "help", "exit-codes").stdout, re.M)
        self.assertEqual(table, shown)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""The four daemon steps of README.md, word for word, in a copy of the tree, and its promise that a simulation of the same
job ends with the same state. usage: readme_test.py SOURCE_DIR BUILD_DIR; exit 77 = skipped."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

SOURCE, BUILD = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
PORTS = (7440, 7441, 7442, 9440)


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def check_surroundings():
    if not pathlib.Path("/usr/share/games/fortunes/law").is_file():
        skip("/usr/share/games/fortunes: want the package `fortunes`")
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                skip(f"port {port} of README.md is taken")


def steps():
    text = (SOURCE / "README.md").read_text()
    section = text.split("## A coordinator and three agents")[1].split("\n## ")[0]
    found = re.findall(r"^   ```\n(.*?)^   ```", section, re.M | re.S)
    assert len(found) == 4, f"README.md: got {len(found)} steps, want 4"
    return "\n".join(re.sub(r"^   ", "", step, flags=re.M) for step in found)


def copy_tree(to):
    shutil.copytree(SOURCE / "simulations", to / "simulations")
    (to / "build").mkdir()
    (to / "build/release").symlink_to(BUILD)


def run_steps(folder):
    """Every step in one shell; what it leaves running ends with its session."""
    with open(folder / "log", "w") as log:
        shell = subprocess.Popen(["bash", "-e", "-c", steps()], cwd=folder, stdout=log, stderr=log,
                                 start_new_session=True)
        try:
            code = shell.wait(timeout=400)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return code, (folder / "log").read_text()


def simulated_hash(folder):
    subprocess.run([BUILD / "bin/rivulet", "simulate", "simulations/scenarios/three_agents.toml", "--no-progress"],
                   cwd=folder, check=True, capture_output=True, timeout=200)
    return json.loads((folder / "runs/latest/summary.json").read_text())["state_hash"]


def main():
    check_surroundings()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        copy_tree(folder)
        code, log = run_steps(folder)
        assert code == 0, f"exit code {code}\n{log}"
        adapter = folder / "fed/adapter"
        for file in ("adapter_config.json", "adapter_model.safetensors", "job.json"):
            assert (adapter / file).stat().st_size > 0, file
        printed = re.findall(r"^fed/adapter  state hash ([0-9a-f]{64})$", log, re.M)
        assert printed == [simulated_hash(folder)], log
    print("ok")


if __name__ == "__main__":
    main()

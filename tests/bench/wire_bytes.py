#!/usr/bin/env python3
"""What a round costs on the wire: a coordinator and agents as processes over mTLS, each byte of their connections (TLS,
HTTP/2, acknowledgements and progress included, the handshake not; TCP's and IP's own headers not) counted by a relay between them, beside the
bytes of the files that the coordinator counts, and the seconds from submission to end. Prints a row of JSON for each kind of job.
usage: wire_bytes.py BIN_DIR [KIND ...]      needs the Debian package fortunes; runs in the root of the source tree"""
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

AGENTS = ["law", "love", "people", "work", "wisdom", "art", "computers", "food"]
CLIENTS = 5  # a round, where a kind does not say
ROUNDS = 4
LORA = "[lora]\nlora-r = 8\nlora-target-modules = [\"all-linear\"]\nlora-dropout = 0.0\n"
SMALL = "[lora]\nlora-r = 1\nlora-target-modules = [\"q_proj\", \"v_proj\"]\nlora-dropout = 0.0\n"
MASKS = "[strategy]\nweighting = \"uniform\"\n[secure-aggregation]\nenabled = true\n"
TRAIN = "[train]\nper-device-train-batch-size = 4\nmax-steps = "
MEASURED = TRAIN + "20\nestimator = \"central\"\noptimizer = \"sgd\"\nlearning-rate = 1e-3\nmax-grad-norm = 10.0\n"
SCALARS = "[scalars]\nenabled = true\n"


def coded(codec, keys=""):
    return f"[compression]\ncodec = \"{codec}\"\n{keys}"


def masked_2_bits(rank):
    """A row of the table in docs/private_upload.md; what steps and learning rate are does not change its bytes."""
    return LORA.replace("8", rank, 1) + TRAIN + "2\n" + MASKS + coded("rotate-lattice", "bits = 2\n")


def masked_drive(rank):
    """Another."""
    return LORA.replace("8", rank, 1) + TRAIN + "2\n" + MASKS + coded("drive")


# The codecs of the table in docs/private_upload.md, in cohorts of eight as there.
PLAIN = {codec: "" for codec in ("bf16", "fp16", "int8", "int4", "int2", "sign", "rotate-lattice", "drive", "low-rank")}
MASKED = {codec: "" for codec in ("none", "int8", "int4", "int2", "drive", "low-rank", "power-sgd")}
for share, names in {"0.05": ("top-k", "random-k", "public-top-k"), "0.2": ("count-sketch", "fed-obd")}.items():
    PLAIN |= {codec: f"fraction = {share}\n" for codec in names}
    MASKED |= {codec: f"fraction = {share}\n" for codec in names if codec not in ("top-k", "fed-obd")}

KINDS = {
    "lora-8, 4 clients": LORA + TRAIN + "2\n",
    "lora-2 masked 2 bits, 4 clients": masked_2_bits("2"),
    "lora-3 masked drive, 4 clients": masked_drive("3"),
    "lora-4 masked drive, 4 clients": masked_drive("4"),
    "lora-8": LORA + TRAIN + "2\n",
    "lora-8 int8": LORA + TRAIN + "2\n" + coded("int8"),
    "lora-8 masked": LORA + TRAIN + "2\n" + MASKS,
    "lora-8 masked low-rank": LORA + TRAIN + "2\n" + MASKS + coded("low-rank"),
    "lora-8 masked power-sgd": LORA + TRAIN + "2\n" + MASKS + coded("power-sgd"),
    "lora-8 masked random-k": LORA + TRAIN + "2\n" + MASKS + coded("random-k", "fraction = 0.05\n"),
    "lora-8 masked int8": LORA + TRAIN + "2\n" + MASKS + coded("int8"),
    "lora-2 masked 2 bits": masked_2_bits("2"),
    "mezo-lora": SMALL + MEASURED,
    "fedkseed 4096": SMALL + MEASURED + SCALARS + "pool = 4096\n",
    "decomfl": SMALL + MEASURED + SCALARS,
    "decomfl int8": SMALL + MEASURED + SCALARS + coded("int8"),
    "decomfl int8, 50 steps": SMALL + MEASURED.replace("20", "50", 1) + SCALARS + coded("int8"),
    "decomfl masked int8": SMALL + MEASURED + SCALARS + MASKS + coded("int8"),
    "fwdllm": SMALL + MEASURED.replace("20", "1", 1) + "queries = 20\n" + SCALARS + "target-ratio = 1.05\n",
    "feedsign": SMALL + MEASURED + SCALARS + "combine = \"vote\"\n" + coded("sign", "error-feedback = false\n"),
    # Last: agents are only ever added, and an idle one has heartbeats.
    "lora-8, 8 clients": LORA + TRAIN + "2\n",
    "lora-2 masked 2 bits, 8 clients": masked_2_bits("2"),
    "lora-1 masked 2 bits, 8 clients": masked_2_bits("1"),
} | {f"lora-8 {codec}, 8 clients": LORA + TRAIN + "2\n" + coded(codec, keys) for codec, keys in PLAIN.items()
} | {f"lora-8{name}, 32 steps, 8 clients": LORA + TRAIN + "32\n" + keys for name, keys in {
    "": "", " int8": coded("int8"), " masked": MASKS, " masked int8": MASKS + coded("int8")}.items()
} | {f"lora-8 masked {codec}, 8 clients": LORA + TRAIN + "2\n" + MASKS + coded(codec, keys) for codec, keys in MASKED.items()}


class Relay:
    """Listens on a free port and copies every connection to `target`, counting."""

    def __init__(self, target):
        self.target, self.up, self.down, self.lock = target, 0, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(self.target)
            except OSError:  # the coordinator is not there yet: the agent comes again
                near.close()
                continue
            for a, b, name in ((near, far, "up"), (far, near, "down")):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.copy, args=(a, b, name), daemon=True).start()

    def copy(self, source, sink, name):
        try:
            while data := source.recv(1 << 18):
                with self.lock:
                    setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return "127.0.0.1:%d" % one.getsockname()[1]


class Federation:
    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.running = binaries, folder, []
        self.operators, agents, enrolment = free_port(), free_port(), free_port()
        pki, store = folder / "pki", folder / "enrolment"
        self.rivulet("pki", "init", "--federation", "demo", "--dir", pki)
        self.start("rivulet", "enroll", "serve", "--listen", enrolment, "--pki", pki, "--store", store)
        self.start("rivulet-coordinator", "serve", "--state-dir", folder / "state", "--tls-dir", pki / "coordinator",
                   "--listen-agents", agents, "--listen-operators", self.operators)
        host, port = agents.split(":")
        self.relay = Relay((host, int(port)))
        self.pki, self.store, self.enrolment, self.agents = pki, store, enrolment, 0

    def need_agents(self, count):
        """Starts those that are missing, and waits until all are connected: what a connection costs is of no round."""
        pki, store, folder = self.pki, self.store, self.folder
        for name in AGENTS[self.agents:count]:
            home = folder / name
            home.mkdir()
            (home / "token").write_text(self.rivulet("node", "enroll", "--org", f"{name}-org", "--pki", pki, "--store", store))
            self.enrol(name, home)
            model = pathlib.Path("simulations/models/llama-7m").resolve()
            (home / "policy.toml").write_text(f"[[base-model]]\npath = \"{model}\"\n[[dataset]]\nname = \"fortunes\"\n"
                                              f"path = \"/usr/share/games/fortunes/{name}\"\n")
            self.start("rivulet-client", "run", "--coordinator", self.relay.address, "--tls-dir", home / "pki",
                       "--state-dir", home / "state", "--policy", home / "policy.toml")

        self.agents = max(self.agents, count)
        for _ in range(3000):
            nodes = subprocess.run([self.binaries / "rivulet", "node", "list", "--format", "json", "--coordinator",
                                    self.operators, "--tls-dir", self.folder / "pki/operator"], capture_output=True, text=True)
            if nodes.returncode == 0 and sum(node["connected"] for node in json.loads(nodes.stdout)["items"]) == self.agents:
                return
            time.sleep(0.1)
        sys.exit("wire_bytes: the agents do not connect")

    def enrol(self, name, home):
        """The enrolment takes a few requests a minute from one address."""
        for _ in range(20):
            done = subprocess.run([self.binaries / "rivulet", "pki", "request", "--enroll", self.enrolment, "--token-file",
                                   home / "token", "--dir", home / "pki", "--name", name], capture_output=True, text=True)
            if done.returncode == 0:
                return
            if "too many requests" not in done.stderr:
                break
            time.sleep(10)
        sys.exit(f"wire_bytes: {done.stderr}")

    def start(self, program, *words):
        log = open(self.folder / f"log{len(self.running)}", "w")
        self.running.append(subprocess.Popen([self.binaries / program, *map(str, words)], stdout=log, stderr=log))

    def rivulet(self, *words):
        done = subprocess.run([self.binaries / "rivulet", *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"rivulet {' '.join(map(str, words))}: {done.stderr}")
        return done.stdout

    def operate(self, *words):
        return self.rivulet(*words, "--coordinator", self.operators, "--tls-dir", self.folder / "pki/operator")

    def measure(self, kind, sections):
        clients = int(kind.split(", ")[-1].removesuffix(" clients")) if kind.endswith(" clients") else CLIENTS
        self.need_agents(clients)
        job = self.folder / "job.toml"
        job.write_text(f"[job]\nnum-rounds = {ROUNDS}\nmin-clients = {clients}\nclients-per-round = {clients}\n"
                       f"min-available-clients = {clients}\n"
                       "[model]\nname = \"simulations/models/llama-7m\"\n[data]\ndataset = \"fortunes\"\n"
                       "separator = \"\\n%\\n\"\nseq-length = 32\nheld-out-fraction = 0.0\n" + sections)
        up, down = self.relay.up, self.relay.down
        self.operate("job", "submit", job, "--watch")
        view = json.loads(self.operate("job", "show", "@last", "--format", "json"))
        parts = ROUNDS * clients
        files = {"up": view["bytes_up"] + view["protocol_bytes_up"], "down": view["bytes_down"]}
        wire = {"up": self.relay.up - up, "down": self.relay.down - down}
        row = {"bench": f"wire_bytes: {kind}", "clients": clients, "rounds": ROUNDS, "state": view["state"],
               "seconds": round(view["elapsed_seconds"], 2)}
        for way in ("up", "down"):
            row |= {f"files_{way}": round(files[way] / parts), f"wire_{way}": round(wire[way] / parts),
                    f"wire_over_files_{way}": round(wire[way] / files[way], 3) if files[way] else None}
        print(json.dumps(row), flush=True)

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait()


def main():
    if len(sys.argv) < 2 or any(kind not in KINDS for kind in sys.argv[2:]):
        sys.exit(f"{__doc__}\nkinds: {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(folder))
        try:
            for kind in sys.argv[2:] or KINDS:
                federation.measure(kind, KINDS[kind])
        finally:
            federation.stop()


if __name__ == "__main__":
    main()

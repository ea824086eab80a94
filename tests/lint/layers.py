#!/usr/bin/env python3
"""Who may include whom. usage: layers.py ROOT - prints every violation, exit 1 if there is one."""
import pathlib
import re
import sys

EVERYTHING = {"common", "proto", "peft", "aggregation", "privacy", "client", "coordinator", "simulations", "tests"}
MAY_INCLUDE = {
    "common": set(),
    "peft": {"common"},
    "aggregation": {"common"},
    "privacy": {"common", "aggregation"},
    "client": {"common", "rivulet", "peft", "aggregation", "privacy"},
    "coordinator": {"common", "rivulet", "aggregation", "privacy"},
    "simulations": EVERYTHING | {"rivulet"},
    "tests": EVERYTHING | {"rivulet"},
}
OURS = EVERYTHING | {"rivulet"}  # generated code is included as "rivulet/v1/...pb.h"
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
# (pattern of an include, folders that alone may use it)
RESERVED = [
    (re.compile(r"<(torch|ATen|c10)/"), ("peft", "tests")),
    (re.compile(r"sqlite3\.h"), ("coordinator/storage", "tests")),
    (re.compile(r"\.grpc\.pb\.h"), ("coordinator/rpc", "client/rpc", "common/rpc", "coordinator/cli", "tests")),
]


def violations(root):
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            where = path.relative_to(root).as_posix()
            for number, line in enumerate(path.read_text().splitlines(), 1):
                include = re.match(r'#include ["<](\w+)/', line)
                if include and include[1] in OURS and include[1] not in allowed | {folder}:
                    yield f"{where}:{number}: {folder} must not include {include[1]}"
                for pattern, homes in RESERVED:
                    if line.startswith("#include") and pattern.search(line) and not where.startswith(homes):
                        yield f"{where}:{number}: {pattern.pattern} only in {', '.join(homes)}"
            if path.suffix in {".cu", ".cuh"} and re.search(r"#include <(torch|ATen|absl)/", path.read_text()):
                yield f"{where}: device code never includes libtorch or absl"


if __name__ == "__main__":
    bad = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(bad))
    sys.exit(1 if bad else 0)

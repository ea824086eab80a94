#!/usr/bin/env python3
"""The layer lint must see what it is for: each planted violation is found, and nothing else."""
import pathlib
import tempfile

import layers

PLANTED = {
    "common/a.cc": '#include "peft/model/llama.h"\n',
    "coordinator/b.cc": "#include <torch/torch.h>\n",
    "coordinator/rounds/c.h": "#include <sqlite3.h>\n",
    "client/session/d.cc": '#include "rivulet/v1/federation.grpc.pb.h"\n',
    "client/e.cc": '#include "coordinator/rounds/round_engine.h"\n',
}
FINE = {
    "peft/model/llama.cc": '#include <torch/torch.h>\n#include "common/status.h"\n',
    "client/rpc/stub.cc": '#include "rivulet/v1/federation.grpc.pb.h"\n',
}

with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    for name, text in (PLANTED | FINE).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = {line.split(":")[0] for line in layers.violations(root)}
    assert found == set(PLANTED), found ^ set(PLANTED)

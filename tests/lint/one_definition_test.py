#!/usr/bin/env python3
"""The lint must see a type that is defined twice, and nothing else."""
import pathlib
import tempfile

import one_definition

PLANTED = {
    "common/a.h": "namespace rivulet {\n\nclass Twice {\n};\n\nstruct Base {};\n\n}  // namespace rivulet\n",
    "peft/b.h": "namespace rivulet {\n\nstruct Twice : Base {\n};\n\n}  // namespace rivulet\n",
}
FINE = {
    "common/c.h": "namespace rivulet {\n\nclass Base;\nstruct Once {\n  struct Twice {};\n};\n\n}  // namespace rivulet\n",
    "client/d.cc": "namespace rivulet {\nnamespace {\n\nstruct Once {\n};\n\n}  // namespace\n}  // namespace rivulet\n",
    "client/e.h": "namespace rivulet::other {\n\nenum class Twice { kA };\n\n}  // namespace rivulet::other\n",
}

with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    for name, text in (PLANTED | FINE).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = list(one_definition.violations(root))
    assert found == ["rivulet::Twice: defined in common/a.h:3 and peft/b.h:3"], found

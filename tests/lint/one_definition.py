#!/usr/bin/env python3
"""One name, one type: two classes of one name in one namespace are undefined behaviour as soon as a
program links both, and no compiler says so. usage: one_definition.py ROOT - prints every name that
is defined twice, exit 1 if there is one."""
import collections
import pathlib
import re
import sys

FOLDERS = ("common", "peft", "aggregation", "privacy", "client", "coordinator", "simulations")
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
# The tree is formatted: what stands at the margin is in the innermost open namespace.
OPEN = re.compile(r"(?:inline )?namespace(?: ([\w:]+))? \{$")
CLOSE = re.compile(r"\}  // namespace")
DEFINITION = re.compile(r"(?:class|struct|union|enum(?: class)?) (\w+)(?: final)?(?: :.*)? ?(\{.*)?$")


def definitions(text):
    """Names of the types that other files could see, with their namespace."""
    spaces = []
    for number, line in enumerate(text.splitlines(), 1):
        if opened := OPEN.match(line):
            spaces.append(opened[1])
        elif CLOSE.match(line):
            spaces.pop()
        elif (found := DEFINITION.match(line)) and None not in spaces:
            yield "::".join(spaces + [found[1]]), number


def violations(root):
    places = collections.defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            for name, number in definitions(path.read_text()):
                places[name].append(f"{path.relative_to(root).as_posix()}:{number}")
    for name, where in sorted(places.items()):
        if len({place.split(":")[0] for place in where}) > 1:
            yield f"{name}: defined in {' and '.join(where)}"


if __name__ == "__main__":
    bad = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(bad))
    sys.exit(1 if bad else 0)

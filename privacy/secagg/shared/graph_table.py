#!/usr/bin/env python3
"""The ring parameters as C++ source. usage: graph_table.py secagg_graph_params.json > graph_table.inc"""
import json
import sys

MODES = {"semi_honest": (0, 40), "malicious": (1, 64)}  # mode byte, the normative sigma


def ppm(rate):
    return round(rate * 1_000_000)


def main():
    tables = json.load(open(sys.argv[1]))["tables"]
    print("// Written by graph_table.py from tests/golden/vectors/secagg_graph_params.json.")
    print("// {mode, gamma ppm, delta ppm, n, k, t, c}")
    for table in tables:
        mode, sigma = MODES[table["mode"]]
        if table["sigma"] != sigma:
            continue
        for n, k, t, c in table["rows"]:
            print(f"{{{mode}, {ppm(table['gamma'])}, {ppm(table['delta'])}, {n}, {k}, {t}, {c}}},")


if __name__ == "__main__":
    main()

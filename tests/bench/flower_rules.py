#!/usr/bin/env python3
"""Flower's median and Krum on the input of robust_bench: 16 (and 32) updates of uniform numbers, three of them liars.
One thread, processor time, the best of the repeats; prints the rows of robust_bench that can be compared.
usage: flower_rules.py [VALUES=2097152] [REPEATS=3]      needs flwr (1.41.0) and numpy"""
import json
import os
import sys
import time

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy is loaded

import numpy
from flwr.server.strategy.aggregate import aggregate_krum, aggregate_median

RULES = {"median": aggregate_median, "krum": lambda updates: aggregate_krum(updates, 3, 0)}


def main():
    values, repeats = [int(word) for word in sys.argv[1:]] + [2 << 20, 3][len(sys.argv) - 1:]
    for count in (16, 32):
        draw = numpy.random.default_rng(1)
        updates = [([draw.uniform(-1, 1, values).astype(numpy.float32)], 1) for _ in range(count)]
        for name, rule in RULES.items():
            best = float("inf")
            for _ in range(repeats):
                start = time.thread_time()
                rule(updates)
                best = min(best, time.thread_time() - start)
            print(json.dumps({"bench": f"flower {name}", "n": count, "values": values, "threads": 1, "seconds": round(best, 3),
                              "gb_per_s": round(4e-9 * values * count / best, 4)}), flush=True)


if __name__ == "__main__":
    main()

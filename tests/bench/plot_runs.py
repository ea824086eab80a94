#!/usr/bin/env python3
"""Held-out perplexity over the bytes that the clients of a run sent, one line a run, as an SVG.

usage: plot_runs.py RUN_FOLDER... > plot.svg     (folders of `rivulet simulate --out`, with a summary.json)
"""
import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 190, 30, 50
COLOURS = ["#1b6ca8", "#c8553d", "#2a7f62", "#8d5a97", "#b08900", "#5c6672", "#d1495b", "#00798c", "#6a994e", "#3d405b", "#9c6644"]


def points(folder):
    """[(bytes up so far, perplexity)] of each evaluation after the first round."""
    summary = json.loads(next(pathlib.Path(folder).rglob("summary.json")).read_text())
    sent, at = {0: 0}, 0
    for row in summary["rounds_detail"]:
        at += row["bytes_up"]
        sent[row["round"]] = at
    return summary["name"], [(sent[e["round"]], e["perplexity"]) for e in summary["evaluations"] if e["round"] > 0]


def main(folders):
    runs = [points(folder) for folder in folders]
    xs = [math.log10(x) for _, line in runs for x, _ in line]
    ys = [math.log10(y) for _, line in runs for _, y in line]
    low_x, high_x = math.floor(min(xs)), math.ceil(max(xs))
    low_y, high_y = min(ys) - 0.02, max(ys) + 0.02

    def place(x, y):
        return (LEFT + (math.log10(x) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT),
                TOP + (high_y - math.log10(y)) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for power in range(low_x, high_x + 1):
        x, _ = place(10 ** power, 10 ** low_y)
        label = f"{10 ** (power % 3)} {['B', 'kB', 'MB', 'GB'][power // 3]}"
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for value in (50, 60, 80, 100, 120, 150, 200, 300, 500):
        if low_y <= math.log10(value) <= high_y:
            _, y = place(10 ** low_x, value)
            out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                       f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">bytes sent by all clients</text>'
               f'<text x="{LEFT}" y="{TOP - 12}">held-out perplexity</text>')
    for number, (name, line) in enumerate(sorted(runs, key=lambda run: run[1][-1][1])):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(x, y) for x, y in line]
        out.append('<polyline fill="none" stroke-width="2" stroke="%s" points="%s"/>' %
                   (colour, " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)))
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
        label = HEIGHT - BOTTOM - 14 * (len(runs) - number)
        out.append(f'<text x="{WIDTH - RIGHT + 20}" y="{label}" fill="{colour}">{name}: {line[-1][1]:.1f}</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])

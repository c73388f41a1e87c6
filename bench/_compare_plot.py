"""Draw the figures of `compare.py`, which come as JSON on stdin, as an SVG to the path in the arguments.

Run by the interpreter of the peers' environment, which has matplotlib.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any


def main(path: str) -> None:
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "compare", "font.size": 8})
    pyplot: Any = import_module("matplotlib.pyplot")
    found = json.load(sys.stdin)
    columns: dict[str, str] = found["columns"]
    rows: list[dict[str, Any]] = found["rows"]
    wide = 3
    high = -(-len(rows) // wide)
    figure, axes = pyplot.subplots(high, wide, figsize=(11, 1.9 * high), layout="constrained", squeeze=False)
    for place in axes.flat[len(rows) :]:
        place.set_axis_off()
    for place, row in zip(axes.flat, rows, strict=False):
        keys = [key for key in columns if key in row["lowest"]]
        lowest = [row["lowest"][key] for key in keys]
        raw = row["lowest"].get("raw")
        # A peer that needs many times as much would leave no room for the others.
        most = 4 * raw if raw else max(lowest)
        bars = place.barh(
            [columns[key] for key in keys],
            [min(value, most) for value in lowest],
            color=["tab:orange" if key in ("asgineer", "run") else "tab:blue" for key in keys],
        )
        place.bar_label(bars, [f"{value:.3g}" for value in lowest], padding=2, fontsize=6)
        place.set_xlim(0, min(most, max(lowest)) * 1.15)
        place.invert_yaxis()
        place.set_title(row["title"])
    figure.supxlabel(
        "µs of CPU of the server per request, lowest of the rounds; bars end at four times raw ASGI"
    )
    pyplot.savefig(path, metadata={"Date": None})


main(sys.argv[1])

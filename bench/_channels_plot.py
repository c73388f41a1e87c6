"""Draw the figures of `channels.py`, which come as JSON on stdin, as an SVG to the path in the arguments.

Run by the interpreter of the peers' environment, which has matplotlib.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

SHOWN = {"fan-out": "one process", "hop": "two processes, through an engine", "wire": "over the wire"}


def main(path: str) -> None:
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "channels", "font.size": 8})
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = [row for row in json.load(sys.stdin) if row["part"] in SHOWN and row.get("per second")]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    colors = {name: matplotlib.colormaps["tab10"](index) for index, name in enumerate(systems)}
    figure, axes = pyplot.subplots(1, len(SHOWN), figsize=(11, 3.6), layout="constrained")
    for place, (part, title) in zip(axes, SHOWN.items(), strict=True):
        here = [row for row in rows if row["part"] == part]
        groups = list(dict.fromkeys(row["what"] for row in here))
        names = [name for name in systems if any(row["system"] == name for row in here)]
        width = 0.8 / max(len(names), 1)
        for index, name in enumerate(names):
            found = {row["what"]: row["per second"] for row in here if row["system"] == name}
            places = [groups.index(group) + (index - (len(names) - 1) / 2) * width for group in found]
            place.bar(places, list(found.values()), width, label=name, color=colors[name])
        place.set_xticks(range(len(groups)), [group.replace(" subscribers", "") for group in groups])
        place.set_title(title)
        place.set_yscale("log")
    axes[0].set_ylabel("deliveries a second with p99 < 100 ms")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colors[name]) for name in systems]
    figure.legend(handles, systems, loc="outside lower center", ncols=5, frameon=False)
    pyplot.savefig(path, metadata={"Date": None})


main(sys.argv[1])

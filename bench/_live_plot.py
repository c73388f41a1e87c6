"""Draw the figures of `live.py`, which come as JSON on stdin, as an SVG to the path in the arguments.

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
    matplotlib.rcParams.update({"svg.hashsalt": "live", "font.size": 9})
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = json.load(sys.stdin)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    loads = list(dict.fromkeys(row["load"] for row in rows))
    for place, (key, label) in zip(
        axes, [("cpu", "µs of CPU per delivery"), ("p99", "p99 latency, ms")], strict=True
    ):
        for index, name in enumerate(dict.fromkeys(row["app"] for row in rows)):
            found = {row["load"]: row[key] for row in rows if row["app"] == name}
            places = [loads.index(load) + (index - 2) * 0.17 for load in found]
            place.bar(places, list(found.values()), 0.17, label=name)
        place.set_xticks(range(len(loads)), loads)
        place.set_ylabel(label)
    axes[1].set_yscale("log")
    axes[0].legend(frameon=False)
    pyplot.savefig(path, metadata={"Date": None})


main(sys.argv[1])

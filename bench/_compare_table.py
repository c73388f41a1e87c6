"""The tables of `compare.py`, from its figures: all in full, the goals, and the head for the README. Pure."""

from __future__ import annotations

from typing import Any

PYTHON_PEERS = ("older", "starlette", "fastapi", "blacksheep", "falcon", "litestar")
IN_HEAD = ("text", "json", "item", "order", "form", "session", "stream", "echo", "sse")
HEAD_COLUMNS = [
    "raw",
    "asgineer",
    "run",
    "older",
    "starlette",
    "fastapi",
    "blacksheep",
    "falcon",
    "litestar",
    "hono",
    "nginx",
]
NAME = 24  # wide
CELL = 10
DASH = "–"

# Row, one column, beside which other, at most how many times as much.
GOALS = [
    ("text", "asgineer", "raw", 1.05),
    ("json", "asgineer", "raw", 1.06),
    ("item", "asgineer", "raw", 1.08),
    ("order", "asgineer", "raw", 1.08),
    ("text", "run", "raw", 0.70),
    ("json", "run", "raw", 0.70),
    ("text", "run", "hono", 0.85),
    ("text", "run", "nginx", 2.2),
    ("sse", "run", "raw", 0.60),
]


def tables(figures: dict[str, Any]) -> str:
    """Return all tables as Markdown, and why cells are empty."""
    requests = [row for row in figures["rows"] if row["key"] != "start"]
    columns = figures["columns"]
    parts = [
        _table(
            "CPU per request, lowest",
            "µs; × is that of raw ASGI",
            requests,
            columns,
            "lowest",
            with_ratio=True,
        ),
        _table("CPU per request, median", "µs", requests, columns, "median"),
        _table("Requests a second", "the median", requests, columns, "rate"),
        _table("99th percentile", "ms that a request took, the median", requests, columns, "p99"),
    ]
    start = [row for row in figures["rows"] if row["key"] == "start" and row["lowest"]]
    if start:
        parts.append(_start_table(start[0], columns))
    return "\n".join([*parts, _reasons(figures)])


def _table(
    title: str,
    text: str,
    rows: list[dict[str, Any]],
    columns: dict[str, str],
    name: str,
    with_ratio: bool = False,
) -> str:
    shown = [key for key in columns if any(key in row.get(name, {}) for row in rows)]
    lines = [f"{'':{NAME}}" + "".join(_heading(columns[key], part) for key in shown) for part in (0, 1)]
    for row in rows:
        values = row.get(name, {})
        lines.append(f"{row['title']:{NAME}}" + "".join(_number(values.get(key)) for key in shown))
        if with_ratio and "raw" in values:
            ratios = (f"×{values[key] / values['raw']:.2f}" if key in values else "" for key in shown)
            lines.append(f"{'':{NAME}}" + "".join(f"{ratio:>{CELL}}" for ratio in ratios))
    return f"## {title}\n\n{text}\n\n```\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def _heading(title: str, part: int) -> str:
    """Return the first or the last word of a column's title."""
    first, _, rest = title.partition(" ")
    words = (first, rest) if rest else ("", first)
    return f"{words[part]:>{CELL}}"


def _number(value: float | None) -> str:
    if value is None:
        return f"{DASH:>{CELL}}"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:{CELL}.{digits}f}"


def _start_table(row: dict[str, Any], columns: dict[str, str]) -> str:
    shown = [key for key in columns if key in row["lowest"]]
    lines = [f"{'':{NAME}}" + "".join(_heading(columns[key], part) for key in shown) for part in (0, 1)]
    milliseconds = {key: value * 1e3 for key, value in row["seconds"].items()}
    cpu = {key: value / 1e3 for key, value in row["lowest"].items()}
    for title, values in [
        ("first answer after, ms", milliseconds),
        ("CPU until then, ms", cpu),
        ("memory then, MiB", row["memory"]),
    ]:
        lines.append(f"{title:{NAME}}" + "".join(_number(values.get(key)) for key in shown))
    text = "interpreter, imports of all that the rows need, and one request; memory is what is resident"
    return f"## Start-up and memory at idle\n\n{text}\n\n```\n" + "\n".join(lines) + "\n```\n"


def _reasons(figures: dict[str, Any]) -> str:
    """Say why cells are empty, those with the same reason together."""
    together: dict[tuple[str, str], list[str]] = {}
    for row in figures["rows"]:
        for column, reason in row["reasons"].items():
            together.setdefault((figures["columns"][column], reason), []).append(row["title"])
    lines = [f"- {title}: {', '.join(rows)}: {reason}" for (title, reason), rows in together.items()]
    return "## Empty cells\n\n" + "\n".join(lines or ["none"]) + "\n"


def goals(figures: dict[str, Any]) -> str:
    """Say which goals are met, and in which rows another Python framework takes less than Asgineer."""
    lowest = {row["key"]: row["lowest"] for row in figures["rows"]}
    titles = {row["key"]: row["title"] for row in figures["rows"]} | figures["columns"]
    lines = []
    for row, column, beside, most in GOALS:
        values = lowest[row]
        if column in values and beside in values:
            ratio = values[column] / values[beside]
            met = "met" if ratio <= most else "**not met**"
            lines.append(
                f"- {titles[row]}, {titles[column]}: {ratio:.2f} × {titles[beside]}, goal ≤ {most}: {met}"
            )
    for row, values in lowest.items():
        ahead = [
            titles[key] for key in PYTHON_PEERS if key in values and values[key] < values.get("asgineer", 0)
        ]
        if ahead:
            lines.append(
                f"- {titles[row]}: **{', '.join(ahead)} takes less** than Asgineer on the same server"
            )
    start: dict[str, Any] = next((row for row in figures["rows"] if row["key"] == "start"), {})
    memory = start.get("memory", {})
    if "raw" in memory and "asgineer" in memory:
        more = memory["asgineer"] - memory["raw"]
        met = "met" if more <= 6 else "**not met**"
        lines.append(f"- memory at idle: raw + {more:.1f} MiB, goal ≤ raw + 6 MiB: {met}")
    return "## Goals\n\n" + "\n".join(lines) + "\n"


def head(figures: dict[str, Any]) -> str:
    """Return the short table for the README: the rows that most applications have, as times of raw ASGI."""
    columns = figures["columns"]
    shown = [key for key in HEAD_COLUMNS if any(key in row["lowest"] for row in figures["rows"])]
    lines = ["| | " + " | ".join(columns[key] for key in shown) + " |", "|---|" + "---|" * len(shown)]
    for row in figures["rows"]:
        raw = row["lowest"].get("raw")
        if row["key"] not in IN_HEAD or not raw:
            continue
        cells = [f"{raw:.1f} µs" if key == "raw" else _times(row["lowest"].get(key), raw) for key in shown]
        lines.append(f"| {row['title']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _times(value: float | None, raw: float) -> str:
    return DASH if value is None else f"× {value / raw:.2f}"

"""What a request costs the server: Asgineer beside raw ASGI, other frameworks, Hono on Node, and nginx.

Every application answers the same requests, and its answers are looked at first. The server has
one core, the load the other: wrk with 16 connections, each of which sends the next request when
the last is answered; our own client for websockets; `live.py`'s for server-sent events, where a
request is one delivery to one client. **The figure is the CPU time of the server process per
request**, user and system, as the kernel counts it, for the requests that were answered in a
second or more. Applications take turns in each round. Compare within one run, by the lowest
rounds: absolute times differ between runs and machines.

All Python applications have uvicorn with uvloop and httptools, without access log, but the two on
granian; run() has our own protocol on uvicorn. JSON, types and forms by
hand (raw ASGI) are msgspec's, multipart's and itsdangerous'.

Not all do the same for a body. Asgineer holds its size, what its headers say of it, and the number and
size of the fields of a form to limits. Raw ASGI, and Falcon, whose parser of urlencoded forms is
compiled, read what there is.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import _compare_setup as setup
from _compare_load import Load, run_echo, run_wrk
from _compare_rows import ROWS, Row, with_first
from _compare_servers import COLUMNS, LOAD_CORE, SERVER_CORE, Column, Server
from _compare_sse import COMMANDS, measure_deliveries
from _compare_table import goals, head, tables
from _report import RESULTS, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

README = setup.HERE.parent / "README.md"
HEAD_BEGIN, HEAD_END = "<!-- begin: figures, by scripts/bench -->\n", "<!-- end: figures -->\n"
ECHO = Row("echo", "websocket echo", "/echo", bool)
SSE = Row("sse", "SSE, a delivery", "/", bool)
START = Row("start", "start-up", "/text", bool)


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: int
    quick: bool


class Found:
    """All figures: by row and column one of each round; and why there are none."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        self.reasons: dict[tuple[str, str], str] = {}

    def add(self, row: str, column: str, figures: dict[str, float]) -> None:
        self.figures[row, column].append(figures)

    def give_up(self, row: str, column: str, reason: object) -> None:
        """Leave a cell empty, and say why."""
        self.figures.pop((row, column), None)
        self.reasons[row, column] = str(reason) or type(reason).__name__
        print(f"  {row}, {column}: {self.reasons[row, column]}", file=sys.stderr, flush=True)


FAILURES = (
    RuntimeError,
    OSError,
    http.client.HTTPException,
    subprocess.SubprocessError,
    ValueError,
    KeyError,
)


def why_not(column: Column, row: Row) -> str:
    if column.can_only and row.key not in column.can_only:
        return "only fixed answers and files"
    return column.cannot.get(row.key, "")


def columns_for(reasons: dict[str, str]) -> Iterator[tuple[Column, str]]:
    """Give each column with the reason why it is not there at all, "" where it is."""
    for column in COLUMNS:
        package = "granian" if column.key.endswith("granian") else column.key
        yield column, reasons.get(package, "")


def start_all(stack: ExitStack, columns: list[Column], found: Found) -> dict[tuple[str, str], Server]:
    """Start a server for each column, and one more for each part that needs its own; by column and part."""
    servers = {}
    for column in columns:
        for part in ("", *column.parts):
            try:
                server = Server(column, part)
            except FAILURES as error:
                for row in ROWS:
                    if part in ("", row.part):
                        found.give_up(row.key, column.key, error)
                continue
            stack.callback(server.stop)
            servers[column.key, part] = server
    return servers


def measure_row(row: Row, servers: dict[str, Server], plan: Plan, found: Found) -> None:
    """Look at the answer of each, then measure them in rounds that take turns."""
    ready: dict[str, Callable[[], Load]] = {}
    failures: dict[str, Exception] = {}
    for column, server in servers.items():
        try:
            ready[column] = _prepare(row, server, plan)
        except FAILURES as error:
            found.give_up(row.key, column, error)
    for number in range(plan.rounds):
        order = list(ready)
        for column in order[number % len(order) :] + order[: number % len(order)] if order else []:
            try:
                before = servers[column].cpu()
                load = ready[column]()
                used = servers[column].cpu() - before
            except FAILURES as error:
                failures[column] = error  # another round may go well
                continue
            figures = {
                "cpu": used / load.answered * 1e6,
                "rate": load.answered / load.seconds,
                "p99": load.p99,
            }
            found.add(row.key, column, figures)
        seen = {
            column: found.figures[row.key, column] for column in ready if (row.key, column) in found.figures
        }
        shown = {column: round(several[-1]["cpu"], 1) for column, several in seen.items()}
        print(f"{row.title}, round {number + 1}: {shown}", file=sys.stderr, flush=True)
    for column, failure in failures.items():
        if (row.key, column) not in found.figures:
            found.give_up(row.key, column, failure)


def _prepare(row: Row, server: Server, plan: Plan) -> Callable[[], Load]:
    """Return what puts the load of `row` on `server`, after a look at its answer."""
    if row is ECHO:
        run_echo(server.port, 0.1)
        return lambda: run_echo(server.port, float(plan.seconds))
    if row.first:
        row = with_first(row, server.ask(row))
    answer = server.ask(row)
    if not row.is_right(answer):
        raise RuntimeError(f"another answer: status {answer.status}, {len(answer.body)} bytes")
    for _ in range(20):
        server.ask(row)
    return lambda: run_wrk(row, server.port, plan.seconds, LOAD_CORE, setup.ENVIRONMENTS / "wrk")


def measure_requests(columns: list[Column], plan: Plan, found: Found) -> None:
    with ExitStack() as stack:
        servers = start_all(stack, columns, found)
        for row in [*ROWS, ECHO]:
            chosen = {}
            for column in columns:
                key = (column.key, row.part if row.part in column.parts else "")
                if reason := why_not(column, row):
                    found.reasons[row.key, column.key] = reason
                elif key in servers:
                    try:
                        if servers[key].has_ended():  # whatever ended it: one row at most is lost by that
                            servers[key] = Server(column, key[1])
                            stack.callback(servers[key].stop)
                        chosen[column.key] = servers[key]
                    except FAILURES as error:
                        found.give_up(row.key, column.key, error)
            measure_row(row, chosen, plan, found)


def measure_events(columns: list[Column], plan: Plan, found: Found) -> None:
    keys = [column.key for column in columns if column.key in COMMANDS]
    for column in columns:
        if column.key not in COMMANDS:
            found.reasons[SSE.key, column.key] = "not in bench/live.py"
    for number in range(min(plan.rounds, 3)):
        for key in keys[number % len(keys) :] + keys[: number % len(keys)]:
            if (SSE.key, key) in found.reasons:
                continue
            try:
                cpu, load = measure_deliveries(key, 1.0 if plan.quick else 4.0)
            except (*FAILURES, AssertionError) as error:
                found.give_up(SSE.key, key, error)
                continue
            found.add(SSE.key, key, {"cpu": cpu, "rate": load.answered / load.seconds, "p99": load.p99})
    print(f"{SSE.title}: measured", file=sys.stderr, flush=True)


def measure_starts(columns: list[Column], plan: Plan, found: Found) -> None:
    """Start each server alone: how long until the first answer, and what memory it has then."""
    for number in range(plan.rounds):
        order = columns[number % len(columns) :] + columns[: number % len(columns)]
        for column in order:
            if (START.key, column.key) in found.reasons:
                continue
            try:
                server = Server(column)
            except FAILURES as error:
                found.give_up(START.key, column.key, error)
                continue
            try:
                found.add(
                    START.key,
                    column.key,
                    {
                        "seconds": server.seconds_to_start,
                        "cpu": server.cpu() * 1e6,
                        "memory": server.memory(),
                    },
                )
            finally:
                server.stop()
    print("start-up: measured", file=sys.stderr, flush=True)


def measure(plan: Plan, only: list[str]) -> Found:
    found = Found()
    columns = []
    for column, reason in columns_for(setup.set_up()):
        if only and column.key not in only:
            continue
        if reason:
            for row in [*ROWS, ECHO, SSE, START]:
                found.reasons[row.key, column.key] = reason
        else:
            columns.append(column)
    measure_starts(columns, plan, found)
    measure_requests(columns, plan, found)
    measure_events(columns, plan, found)
    return found


def summary(found: Found) -> dict[str, Any]:
    """Return lowest and median of the rounds, by row, figure and column."""
    rows = []
    for row in [*ROWS, ECHO, SSE, START]:
        here = {
            column: several for (key, column), several in found.figures.items() if key == row.key and several
        }
        figures: dict[str, Any] = {"key": row.key, "title": row.title, "lowest": {}, "median": {}}
        for column in [one.key for one in COLUMNS if one.key in here]:
            several = here[column]
            figures["lowest"][column] = min(one["cpu"] for one in several)
            figures["median"][column] = median(one["cpu"] for one in several)
            for name in set(several[0]) - {"cpu"}:
                figures.setdefault(name, {})[column] = median(one[name] for one in several)
        figures["reasons"] = {column: why for (key, column), why in found.reasons.items() if key == row.key}
        rows.append(figures)
    return {"columns": {column.key: column.title for column in COLUMNS}, "rows": rows}


def record(figures: dict[str, Any], plan: Plan, before: float) -> None:
    """Keep table, plot and figures in `results/`, and the head of the table in the README."""
    RESULTS.mkdir(exist_ok=True)
    plotted = {
        **figures,
        "rows": [row for row in figures["rows"] if row["key"] != START.key and row["lowest"]],
    }
    command = [
        setup.python_of(setup.PEERS),
        str(setup.HERE / "_compare_plot.py"),
        str(RESULTS / "compare.svg"),
    ]
    subprocess.run(command, check=True, input=json.dumps(plotted), text=True)
    about = (
        f"- Machine: {machine()}; server on core {SERVER_CORE}, load on core {LOAD_CORE}\n"
        f"- Versions: {setup.versions()}\n- Date: {datetime.now(UTC).date()}\n"
        f"- Rounds: {plan.rounds} of {plan.seconds} s each; load average before: {before:.1f}\n"
        "- To repeat: `scripts/bench`\n"
    )
    text = f"# compare\n\n{(__doc__ or '').strip()}\n\n{tables(figures)}\n{goals(figures)}\n"
    text += "![µs of CPU per request](compare.svg)\n\n" + about
    (RESULTS / "compare.md").write_text(text, encoding="utf-8")
    write_head(README, head(figures))
    print("recorded in bench/results/compare.md", file=sys.stderr)


def write_head(page: Path, text: str) -> None:
    """Put `text` between the two marks of `page`, if it has them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(HEAD_BEGIN)
    _, end, after = rest.partition(HEAD_END)
    if begin and end:
        page.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of load, for each cell and round")
    parser.add_argument(
        "--quick", action="store_true", help="one round, which shows no more than the rough order"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="COLUMN", help="by key: raw, asgineer, run, …"
    )
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    arguments = parser.parse_args()
    plan = Plan(1 if arguments.quick else arguments.rounds, arguments.seconds, arguments.quick)
    before = os.getloadavg()[0]  # of others: the run itself brings it above 1
    figures = summary(measure(plan, arguments.only))
    print(tables(figures))
    print(goals(figures))
    if arguments.record:
        record(figures, plan, before)


if __name__ == "__main__":
    main()

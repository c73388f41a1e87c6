"""The Autobahn cases for websockets, on each server: examples/echo.py beside a bare ASGI echo.

Both are served by `run()`, without permessage-deflate, so groups 12 and 13 are left out; on daphne
group 9 too (many and large messages), for which it takes too long. What counts is that our layer adds
no failure to what the server has by itself. The judge is kosoku, which runs Autobahn's own case
files. Ends with 1 where a failure was added.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import kosoku
from _bare_echo import bare_echo
from _report import parse_arguments, show

from asgineer.testing import run_server

SERVERS = ("uvicorn", "hypercorn", "granian", "daphne")
EXAMPLES = Path(__file__).parents[1] / "examples"
CONCURRENCY = 2
TIMEOUT = 120  # seconds for one run; it takes about ten
LEFT_OUT = ["12.*", "13.*"]
LEFT_OUT_ON_DAPHNE = [*LEFT_OUT, "9.*"]

Verdicts = dict[str, str]  # by case
PASSED = "passed"


def judge(app: Any, server: str) -> Verdicts:
    """Run the cases against `app`, and return what each came to."""
    left_out = LEFT_OUT_ON_DAPHNE if server == "daphne" else LEFT_OUT
    path = list(sys.path)
    with run_server(app, server) as running:
        cases = run_cases(running.url.replace("http", "ws"), left_out)
        verdicts = asyncio.run(asyncio.wait_for(cases, TIMEOUT))
    sys.path[:] = path  # kosoku puts a stand-in for autobahn there, which daphne must not meet
    return verdicts


async def run_cases(url: str, left_out: list[str]) -> Verdicts:
    try:
        results = await kosoku.run_fuzzingclient(url, exclude_cases=left_out, concurrency=CONCURRENCY)
    except kosoku.FailureError as failure:
        results = failure.results
    return {case.case_id: verdict_of(case) for case in results}


def verdict_of(case: Any) -> str:
    return PASSED if case.passed else f"{case.behavior.value}, close {case.behavior_close.value}"


def failed_in(verdicts: Verdicts) -> list[str]:
    return [case for case, verdict in verdicts.items() if verdict != PASSED]


def measure() -> tuple[str, int]:
    """Return the table, and how many failures were added."""
    sys.path.append(str(EXAMPLES))
    echo = import_module("echo").main
    lines = [f"{'server':<12} {'cases':>5} {'bare fails':>11} {'ours fails':>11} {'added':>6}"]
    details: list[str] = []
    total = 0
    for server in SERVERS:
        bare, ours = judge(bare_echo, server), judge(echo, server)
        added = [case for case in failed_in(ours) if bare[case] == PASSED]
        total += len(added)
        figures = f"{len(failed_in(bare)):>11} {len(failed_in(ours)):>11} {len(added):>6}"
        lines.append(f"{server:<12} {len(bare):>5} {figures}")
        failed = [case for case in bare if PASSED not in (bare[case], ours[case]) or case in added]
        details += [f"{server} {case}: bare {bare[case]}; ours {ours[case]}" for case in failed]
    return "\n".join([*lines, "", *details]), total


if __name__ == "__main__":
    arguments = parse_arguments(__doc__ or "")
    table, added = measure()
    show("conformance", __doc__ or "", table, record=arguments.record)
    sys.exit(1 if added else 0)

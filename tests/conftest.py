"""What all tests share: the repository's root is importable, as `tests.contract.app` is what servers load.

Groups of tests stay together, so that a server is started once. And what is told at the end of a run:
how many bad inputs each server passed.
"""

import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from _pytest.nodeid import coerce_node_id

ROOT = str(Path(__file__).resolve().parent.parent)

if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# A shell that starts a job in the background has it ignore Ctrl-C, and whatever the job starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.contract.bad_inputs")  # also for `python -O`, which drops others


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the group of a test where pytest 9.2 reads it; pytest-xdist 3.8 writes it into what was `_nodeid`.

    Without this `--dist=loadgroup` does nothing, and each worker starts every server.
    """
    if getattr(config.option, "loadgroup", False):
        for item in items:
            grouped = getattr(item, "_nodeid", item.nodeid)
            if grouped != item.nodeid:
                item._id = coerce_node_id(grouped)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print `server: passed N of M` for the rows of bad input; the others are differences, or failed."""
    rows: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for outcome in ("passed", "failed", "xfailed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            if found := re.search(r"test_bad_input\.py::test_row\[(.+?)-B\d", report.nodeid):
                rows[found[1]] += 1
                passed[found[1]] += outcome == "passed"
    if rows:
        terminalreporter.section("bad input")
    for server in sorted(rows):
        terminalreporter.write_line(f"{server}: passed {passed[server]} of {rows[server]}")

"""A request takes as many instructions as recorded: the hot path gets neither slower nor faster unseen."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.timeout(240)  # five interpreters under callgrind, beside the other tests
def test_instructions_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    bench: Any = import_module("instructions")
    if not bench.has_callgrind():
        pytest.skip("no valgrind")
    expected = bench.recorded()
    if expected is None:
        pytest.skip(f"no record for {bench.environment()}: python bench/instructions.py --record")
    found = bench.measure()
    changes = {row: found[row] / expected[row] - 1 for row in expected}
    changed = {row: f"{change:+.1%}" for row, change in changes.items() if abs(change) > bench.TOLERANCE}
    assert not changed, f"{changed}: where it is meant, python bench/instructions.py --record"

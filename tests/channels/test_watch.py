"""What the tests of faults count by: it must see what it is there for."""

from __future__ import annotations

import pytest

from .watch import Watch

RESET = 0


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ([1, 2, 3, 4], (0, 0, 0, 0)),
        ([3, 4], (0, 0, 0, 0)),  # who comes later begins later
        ([1, 2], (2, 0, 0, 0)),
        ([1, 2, 3, 4, 5], (0, 0, 0, 0)),  # its publisher does not know yet
        ([1, 4], (2, 0, 0, 0)),
        ([1, 2, 2, 3, 3, 4], (0, 2, 0, 0)),
        ([1, 3, 2, 4], (0, 0, 1, 0)),
        ([1, RESET, 4], (0, 0, 0, 1)),
        ([1, RESET], (0, 0, 0, 1)),
        ([1, RESET, 3], (1, 0, 0, 1)),
        ([1, 2, 3, RESET, 3, 4], (0, 0, 0, 1)),  # another log may have some of the old one
        ([1, 3, RESET, 4], (1, 0, 0, 1)),  # it came too late for the hole before
    ],
)
def test_counts(told: list[int], counts: tuple[int, int, int, int]) -> None:
    watch = Watch()
    for number in told:
        if number == RESET:
            watch.reset()
        else:
            watch.take(number)
    watch.end(4)
    assert (watch.lost, watch.twice, watch.disordered, watch.resets) == counts

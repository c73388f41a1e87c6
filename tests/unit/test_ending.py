"""The time that is left when a server stops, and the end that is forced when it is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgineer import _shutdown, spawn
from asgineer._spawn import finish_background

from .turns import advance, settle

if TYPE_CHECKING:
    import pytest

    from asgineer.testing._fakeclock import FakeClock


async def test_the_time_that_is_left_counts_from_the_notice(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGINEER_SHUTDOWN_TIMEOUT", "10")
    notice = _shutdown.notice()
    await advance(clock, 100)
    assert notice.left() == 10, "it has not begun"
    notice.begin()
    for left in (10.0, 6.0, 2.0, 0.0, 0.0):
        assert notice.left() == left
        await advance(clock, 4)


async def test_without_a_limit_all_time_is_left(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGINEER_SHUTDOWN_TIMEOUT", "")
    _shutdown.notice().begin()
    await advance(clock, 4)
    assert _shutdown.notice().left() is None


async def test_tasks_get_what_handlers_have_left(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGINEER_SHUTDOWN_TIMEOUT", "10")
    task = spawn(asyncio.Event().wait(), wait=True)
    await settle()
    _shutdown.notice().begin()
    await advance(clock, 10)
    assert not task.done()
    await finish_background()  # by real time it would take ten seconds, twice what a test has
    assert task.cancelled()

"""The time that is left when a server stops, and the end that is forced when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from asgineer import _force, _shutdown, spawn
from asgineer._spawn import finish_background

from .turns import advance, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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


# The end by force; that a process really ends by it is tested with real servers


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr("os._exit", found.append)
    monkeypatch.setattr(_force, "LAST_SECONDS", 0.02)
    return found


def ended(thread_name: str = "asgineer-end") -> None:
    for thread in threading.enumerate():
        if thread.name == thread_name:
            thread.join(5)


async def test_what_does_not_end_is_ended_and_named(
    exits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def deaf() -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(deaf())
    await settle()
    with _force.end_in_time(0.02):
        since = time.monotonic()
        _force.begin()
        _force.begin()  # a second signal gives no more time
        await asyncio.to_thread(ended)
        assert time.monotonic() - since >= 0.04
    assert exits == [1]
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("Ended by force, as this did not listen to its cancellation: ")
    assert "test_ending.py:" in text
    assert "in deaf" in text
    task.cancel()


def test_a_signal_between_two_loops(exits: list[int], caplog: pytest.LogCaptureFixture) -> None:
    with _force.end_in_time(0):
        _force.begin()
        ended()
    assert exits == [1]
    assert "unknown" in caplog.text


@pytest.mark.parametrize("signals", [0, 1, 2])
def test_what_ends_in_time_is_left_alone(signals: int, exits: list[int]) -> None:
    with _force.end_in_time(60):
        for _ in range(signals):
            _force.begin()
    assert exits == []
    assert not [thread for thread in threading.enumerate() if thread.name == "asgineer-end"]
    _force.begin()  # nothing is there to end


def test_without_a_limit_or_in_a_thread_nothing_is_forced(exits: list[int]) -> None:
    def work() -> None:
        with _force.end_in_time(0):
            _force.begin()
            ended()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with _force.end_in_time(None):
        _force.begin()
        ended()
    assert exits == []


async def test_generators_are_looked_into() -> None:
    async def items() -> AsyncIterator[int]:
        yield await asyncio.Event().wait()

    async def reader() -> None:
        async for _ in items():
            pass

    tasks = [asyncio.ensure_future(reader()) for _ in range(10)]
    await settle()
    places = _force.waits_of(asyncio.get_running_loop())
    assert any("in items" in place or "in reader" in place for place in places)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_many_are_told_in_several_turns() -> None:
    """So that the server accepts what comes meanwhile; who has ended in the meantime is told nothing."""
    notice = _shutdown.Notice()
    told: list[int] = []

    def tell(number: int) -> Callable[[], object]:
        return lambda: told.append(number)

    tells = [tell(number) for number in range(2 * _shutdown.AT_ONCE + 1)]
    for one in tells:
        notice.add(one)
    counts = [0]
    notice.begin()
    counts.append(len(told))
    left = [one for number, one in enumerate(tells) if number not in told]
    notice.discard(left[0])
    for _ in range(3):
        await asyncio.sleep(0)
        counts.append(len(told))
    assert counts == [0, 50, 99 if counts[2] == 99 else 100, 100, 100]
    assert len(set(told)) == 100

"""The fake clock: time moves by `advance` alone, also from another thread than the loop's."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asgineer import _clock
from asgineer.testing._fakeclock import FakeClock, fake_clock
from asgineer.testing._loopthread import LoopThread

from .turns import advance


def test_it_stands_in_for_the_real_one_and_goes_again() -> None:
    real = _clock.clock
    with fake_clock() as clock:
        assert _clock.clock is clock
    assert _clock.clock is real


def test_time_moves_by_advance_alone() -> None:
    clock = FakeClock()
    before = clock.time()
    assert clock.time() == before
    clock.advance(2.5)
    assert clock.time() == before + 2.5


async def test_timers_are_called_in_their_order_when_they_are_due() -> None:
    clock = FakeClock()
    called: list[str] = []
    clock.call_later(3, lambda: called.append("third"))
    clock.call_later(1, lambda: called.append("first"))
    clock.call_later(1, lambda: called.append("second"))
    clock.call_later(5, lambda: called.append("last"))
    await advance(clock, 0.5)
    assert (called, clock.waiting) == ([], 4)
    await advance(clock, 2.5)
    assert (called, clock.waiting) == (["first", "second", "third"], 1)
    await advance(clock, 2)
    assert called[-1] == "last"


async def test_a_cancelled_timer_is_not_called() -> None:
    clock = FakeClock()
    called: list[str] = []
    timer = clock.call_later(1, lambda: called.append("never"))
    late = clock.call_later(1, lambda: called.append("never"))
    timer.cancel()
    assert clock.waiting == 1
    clock.advance(1)
    late.cancel()  # it is due, and was not called yet
    await advance(clock, 1)
    assert called == []


async def test_a_timer_that_is_set_again_waits_again() -> None:
    clock = FakeClock()
    times: list[float] = []

    def tick() -> None:
        times.append(clock.time())
        clock.call_later(1, tick)

    clock.call_later(1, tick)
    for _ in range(3):
        await advance(clock, 1)
    assert times == [1001, 1002, 1003]


def test_another_thread_may_wait_for_timers_and_move_the_clock() -> None:
    clock = FakeClock()
    called = threading.Event()
    thread = LoopThread()

    async def set_later() -> None:
        await asyncio.sleep(0)
        clock.call_later(1, called.set)

    async def begin() -> None:
        tasks.append(asyncio.create_task(set_later()))

    tasks: list[asyncio.Task[None]] = []
    thread.call(begin())
    clock.wait_for_timers()
    clock.advance(1)
    assert called.wait(5)
    thread.stop()


def test_waiting_for_timers_ends() -> None:
    with pytest.raises(TimeoutError, match=r"0 timers were set in 0\.01 s, not 1"):
        FakeClock().wait_for_timers(1, 0.01)


def test_a_timer_of_a_loop_that_has_ended_is_forgotten() -> None:
    clock = FakeClock()

    async def leave() -> None:
        clock.call_later(1, lambda: None)

    asyncio.run(leave())
    clock.advance(1)
    assert clock.waiting == 0

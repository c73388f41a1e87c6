"""The clock: the loop's own time, and the one place where tests put another."""

from __future__ import annotations

import asyncio

from asgineer import _clock
from asgineer.testing._fakeclock import fake_clock

from .turns import advance


async def test_it_is_the_loops() -> None:
    before = _clock.clock.time()
    assert before <= asyncio.get_running_loop().time()
    called = asyncio.Event()
    _clock.clock.call_later(0, called.set)
    await called.wait()
    cancelled = _clock.clock.call_later(0, called.clear)
    cancelled.cancel()
    await asyncio.sleep(0)
    assert called.is_set()
    assert _clock.clock.time() >= before


async def test_the_fake_one_moves_by_hand() -> None:
    with fake_clock() as clock:
        assert _clock.clock is clock
        called: list[str] = []
        clock.call_later(2, lambda: called.append("b"))
        clock.call_later(1, lambda: called.append("a"))
        clock.call_later(1, lambda: called.append("never")).cancel()
        assert clock.waiting == 2
        before = clock.time()
        await advance(clock, 1.5)
        assert called == ["a"]
        await advance(clock, 5)
        assert called == ["a", "b"]
        assert clock.time() == before + 6.5
    assert _clock.clock is not clock

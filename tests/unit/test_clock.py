"""The clock: the loop's own time, and the one place where tests put another."""

from __future__ import annotations

import asyncio

from asgineer import _clock

from .driver import FakeClock, run


def test_it_is_the_loops() -> None:
    async def main() -> None:
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

    run(main())


def test_the_fake_one_moves_by_hand() -> None:
    async def main() -> None:
        clock = FakeClock()
        called: list[str] = []
        clock.call_later(2, lambda: called.append("b"))
        clock.call_later(1, lambda: called.append("a"))
        clock.call_later(1, lambda: called.append("never")).cancel()
        before = clock.time()
        await clock.advance(1.5)
        assert called == ["a"]
        await clock.advance(5)
        assert called == ["a", "b"]
        assert clock.time() == before + 6.5

    run(main())

"""The one ticker: it ends sends that wait too long, looks at silent streams, and stops by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import DisconnectedError
from asgineer._ticker import TICK, SlowClient, ticker

from .turns import advance, run, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgineer.testing._fakeclock import FakeClock


async def send_within(seconds: float | None, sending: Any, expire: Callable[[], object]) -> Any:
    """Send as requests do it: the first step by hand."""
    steps = sending.__await__()
    return await ticker().within(seconds, next(steps), steps, expire)


class Sends:
    """Sends that wait for a client, and what became of them."""

    def __init__(self) -> None:
        self.expired = 0
        self.gate = asyncio.Event()

    async def send(self) -> str:
        await self.gate.wait()
        return "sent"

    def expire(self) -> None:
        self.expired += 1

    def start(self, seconds: float | None) -> asyncio.Task[str]:
        return asyncio.ensure_future(send_within(seconds, self.send(), self.expire))


async def test_a_send_that_waits_too_long_is_ended(clock: FakeClock) -> None:
    sends = Sends()
    task = sends.start(30)
    await advance(clock, 30)
    assert not task.done()
    await advance(clock, 2 * TICK + 0.01)
    with pytest.raises(SlowClient, match="does not read") as caught:
        await task
    assert isinstance(caught.value, DisconnectedError)
    assert (sends.expired, task.cancelling()) == (1, 0)


async def test_no_send_is_ended_before_its_time(clock: FakeClock) -> None:
    """`now` is up to a tick old when a send begins."""
    sends = Sends()
    first = sends.start(30)
    await advance(clock, 0.99)
    second = sends.start(1)
    await advance(clock, 0.02)
    await advance(clock, 0.95)
    assert not second.done(), "0.97 s are less than one"
    await advance(clock, TICK)
    await advance(clock, TICK)
    assert second.done()
    assert not first.done()
    sends.gate.set()
    assert await first == "sent"
    with pytest.raises(SlowClient):
        await second


@pytest.mark.parametrize("seconds", [None, 30])
async def test_a_send_in_time(seconds: float | None, clock: FakeClock) -> None:
    sends = Sends()
    task = sends.start(seconds)
    await advance(clock, 20)
    sends.gate.set()
    assert await task == "sent"
    await advance(clock, 60)
    assert sends.expired == 0


async def test_without_a_limit_there_is_no_timer(clock: FakeClock) -> None:
    sends = Sends()
    task = sends.start(None)
    await settle()
    assert clock.waiting == 0
    await advance(clock, 10_000)
    sends.gate.set()
    assert await task == "sent"


async def test_a_send_that_fails_or_is_cancelled_is_forgotten(clock: FakeClock) -> None:
    sends = Sends()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await send_within(30, fail(), sends.expire)
    task = sends.start(30)
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await advance(clock, 60)
    assert sends.expired == 0


async def test_one_timer_for_all_and_none_for_nobody(clock: FakeClock) -> None:
    sends = Sends()
    tasks = [sends.start(30) for _ in range(10)]
    await settle()
    assert clock.waiting == 1
    sends.gate.set()
    await asyncio.wait(tasks)
    await advance(clock, TICK)
    assert clock.waiting == 0


class Stream:
    def __init__(self) -> None:
        self.seen: list[float] = []

    def tick(self, now: float) -> None:
        self.seen.append(now)
        if len(self.seen) == 3:
            ticker().discard(self)


async def test_streams_are_looked_at_each_second(clock: FakeClock) -> None:
    first, second = Stream(), Stream()
    ticker().add(first)
    ticker().add(second)
    start = clock.time()
    for _ in range(5):
        await advance(clock, TICK)
    assert first.seen == second.seen == [start + 1, start + 2, start + 3]
    assert clock.waiting == 0, "it stopped by itself"
    ticker().discard(first)


def test_one_ticker_for_each_loop() -> None:
    async def find() -> object:
        assert ticker() is ticker()
        return ticker()

    assert run(find()) is not run(find())

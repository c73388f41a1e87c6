"""The heartbeat: sent every five seconds, and told when it doesn't come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgineer.channels._canary import LATE, PERIOD, Canary
from tests.unit.turns import advance

if TYPE_CHECKING:
    from asgineer.testing._fakeclock import FakeClock


async def test_one_that_comes_back_is_well(clock: FakeClock) -> None:
    sent: list[float] = []
    late: list[str] = []

    async def send() -> None:
        sent.append(clock.time())
        canary.heard()

    canary = Canary(send, late.append)
    canary.start()
    for _ in range(20):
        await advance(clock, PERIOD)
    assert [then - sent[0] for then in sent] == [PERIOD * number for number in range(21)]
    assert late == []
    canary.stop()
    assert clock.waiting == 0


async def test_one_that_is_late_is_told_once(clock: FakeClock) -> None:
    late: list[str] = []

    async def fail() -> None:
        raise OSError("away")

    canary = Canary(fail, late.append)
    canary.start()
    await advance(clock, LATE - PERIOD)
    assert late == []
    for _ in range(5):
        await advance(clock, PERIOD)
    assert late == ["no heartbeat came back for 15 s"]
    assert clock.waiting == 0
    canary.start()
    assert clock.waiting == 1
    canary.stop()
    canary.stop()


async def test_a_send_that_hangs_is_no_second_one(clock: FakeClock) -> None:
    started = 0

    async def hang() -> None:
        nonlocal started
        started += 1
        await asyncio.Event().wait()

    canary = Canary(hang, lambda why: None)
    canary.start()
    await advance(clock, PERIOD)
    await advance(clock, PERIOD)
    assert started == 1
    canary.stop()

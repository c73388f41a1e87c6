"""Interrupt: ends one await from outside; other cancellations stay what they are."""

from __future__ import annotations

import asyncio

import pytest

from asgineer._interrupt import Interrupt

from .driver import run, settle


class Ended(Exception):
    pass


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_it_ends_the_await() -> None:
    async def main() -> None:
        interrupts: list[Interrupt] = []

        async def work() -> str:
            interrupts.append(Interrupt())
            with pytest.raises(Ended):
                await interrupts[0].wait(_for_ever(), Ended)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)
            return "went on"

        task = asyncio.ensure_future(work())
        await settle()
        interrupts[0]()
        interrupts[0]()
        assert await task == "went on"

    run(main())


def test_without_a_call_it_is_a_plain_await() -> None:
    async def main() -> None:
        assert await Interrupt().wait(asyncio.sleep(0, "x"), Ended) == "x"
        with pytest.raises(KeyError):
            await Interrupt().wait(_fail(), Ended)

    run(main())


async def _fail() -> None:
    raise KeyError


@pytest.mark.parametrize("first", ["interrupt", "cancel"])
@pytest.mark.parametrize("both", [True, False])
def test_a_cancellation_by_somebody_else_stays_one(first: str, both: bool) -> None:
    async def main() -> None:
        interrupts: list[Interrupt] = []

        async def work() -> None:
            interrupts.append(Interrupt())
            await interrupts[0].wait(_for_ever(), Ended)

        task = asyncio.ensure_future(work())
        await settle()
        if both and first == "interrupt":
            interrupts[0]()
        task.cancel()
        if both and first == "cancel":
            interrupts[0]()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_outside_of_a_task() -> None:
    found: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: found.append(Interrupt()()))
        await settle()

    run(main())
    assert found == [None], "there is nothing to end, and no error"

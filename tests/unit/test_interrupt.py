"""Interrupt: ends one await from outside; other cancellations stay what they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgineer._interrupt import Guard, Interrupt, close

from .turns import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Ended(Exception):
    pass


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_it_ends_the_await() -> None:
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


async def test_without_a_call_it_is_a_plain_await() -> None:
    assert await Interrupt().wait(asyncio.sleep(0, "x"), Ended) == "x"
    with pytest.raises(KeyError):
        await Interrupt().wait(_fail(), Ended)


async def _fail() -> None:
    raise KeyError


@pytest.mark.parametrize("first", ["interrupt", "cancel"])
@pytest.mark.parametrize("both", [True, False])
async def test_a_cancellation_by_somebody_else_stays_one(first: str, both: bool) -> None:
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


async def test_outside_of_a_task() -> None:
    found: list[object] = []
    asyncio.get_running_loop().call_soon(lambda: found.append(Interrupt()()))
    await settle()
    assert found == [None], "there is nothing to end, and no error"


# Guard: the waits of one task


async def test_a_guard_lets_waits_pass() -> None:
    guard = Guard()
    assert await guard.wait(lambda: asyncio.sleep(0, "x")) == "x"
    assert await guard.wait(lambda: asyncio.sleep(0, "y")) == "y"
    with pytest.raises(KeyError):
        await guard.wait(_fail)
    assert guard.error is None


async def test_a_guard_ends_the_wait_and_every_later_one() -> None:
    guards: list[Guard] = []

    async def work() -> str:
        guards.append(Guard())
        for _ in range(2):
            with pytest.raises(Ended, match="first"):
                await guards[0].wait(_for_ever)
        await asyncio.sleep(0)
        return "went on"

    task = asyncio.ensure_future(work())
    await settle()
    guards[0].tell(Ended("first"))
    guards[0].tell(Ended("second"))
    assert await task == "went on"
    assert task.cancelling() == 0


async def test_a_guard_that_is_told_between_waits_cancels_nothing() -> None:
    guard = Guard()
    with pytest.raises(KeyError):
        await guard.wait(_fail)
    guard.tell(Ended())
    await asyncio.sleep(0)  # a cancellation would arrive here
    with pytest.raises(Ended):
        await guard.wait(_for_ever)


@pytest.mark.parametrize("told", [True, False])
async def test_a_guard_leaves_a_cancellation_by_somebody_else(told: bool) -> None:
    guards: list[Guard] = []

    async def work() -> None:
        guards.append(Guard())
        await guards[0].wait(_for_ever)

    task = asyncio.ensure_future(work())
    await settle()
    if told:
        guards[0].tell(Ended())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_guard_after_a_cancellation_that_the_task_lives_with() -> None:
    """What counts is what came since: a task that swallowed a cancellation goes on."""
    guards: list[Guard] = []

    async def work() -> str:
        with pytest.raises(asyncio.CancelledError):
            await _for_ever()
        guards.append(Guard())
        with pytest.raises(Ended):
            await guards[0].wait(_for_ever)
        return "went on"

    task = asyncio.ensure_future(work())
    await settle()
    task.cancel()
    await settle()
    guards[0].tell(Ended())
    assert await task == "went on"
    assert task.cancelling() == 1


async def test_a_guard_whose_own_waits_are_cancelled_later_by_somebody_else() -> None:
    guards: list[Guard] = []

    async def work() -> None:
        guards.append(Guard())
        with pytest.raises(Ended):
            await guards[0].wait(_for_ever)
        await _for_ever()

    task = asyncio.ensure_future(work())
    await settle()
    guards[0].tell(Ended())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_interrupt_whose_await_swallowed_it_leaves_no_cancellation() -> None:
    interrupts: list[Interrupt] = []

    async def swallow() -> str:
        with pytest.raises(asyncio.CancelledError):
            await _for_ever()
        return "done"

    async def work() -> str:
        interrupts.append(Interrupt())
        return await interrupts[0].wait(swallow(), Ended)

    task = asyncio.ensure_future(work())
    await settle()
    interrupts[0]()
    assert await task == "done"
    assert task.cancelling() == 0
    interrupts[0]()  # too late: there is nothing to end any more
    assert task.cancelling() == 0


async def _swallow() -> str:
    with pytest.raises(asyncio.CancelledError):
        await _for_ever()
    return "swallowed"


async def _turn_into_another() -> str:
    try:
        await _for_ever()
    except asyncio.CancelledError:
        raise KeyError from None
    return "never"


@pytest.mark.parametrize("way", ["wait", "around"])
@pytest.mark.parametrize("work", [_swallow, _turn_into_another])
async def test_a_guard_takes_its_cancellation_back_whatever_became_of_it(way: str, work: Any) -> None:
    guards: list[Guard] = []

    async def wait() -> str:
        guards.append(Guard())
        if way == "wait":
            return str(await guards[0].wait(work))
        async with guards[0].around():
            await work()
        return "went on"

    task = asyncio.ensure_future(wait())
    await settle()
    guards[0].tell(Ended())
    await asyncio.wait([task])
    assert task.cancelling() == 0
    if work is _turn_into_another:
        assert isinstance(task.exception(), KeyError)
    elif way == "around":
        assert isinstance(task.exception(), Ended), "told, the block ends with the error in any case"
    else:
        assert task.result() == "swallowed"


async def test_a_task_that_tells_its_own_guard_is_cancelled_in_the_block_only() -> None:
    async def tell_and(work: Callable[[], Awaitable[object]]) -> None:
        guard = Guard()
        async with guard.around():
            guard.tell(Ended())
            await work()

    async def nothing() -> None:
        pass

    task = asyncio.current_task()
    assert task is not None
    for work, error in ((_fail, KeyError), (nothing, Ended), (_for_ever, Ended)):
        with pytest.raises(error):
            await tell_and(work)
        await settle()  # a cancellation would arrive here
        assert task.cancelling() == 0


async def test_a_guard_around_a_block_leaves_a_cancellation_by_somebody_else() -> None:
    guards: list[Guard] = []

    async def work() -> None:
        guards.append(Guard())
        async with guards[0].around():
            await _for_ever()

    task = asyncio.ensure_future(work())
    await settle()
    task.cancel()
    guards[0].tell(Ended())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_guard_outside_of_a_task() -> None:
    found: list[object] = []

    def use() -> None:
        guard = Guard()
        guard.tell(Ended())
        found.append(guard.error)

    asyncio.get_running_loop().call_soon(use)
    await settle()
    assert isinstance(found[0], Ended)


async def test_close() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("closed")

    iterator = numbers()
    await anext(iterator)
    await close(iterator)
    await close(iterator)
    assert ended == ["closed"]

    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> int:
            return 1

    await close(Bare())

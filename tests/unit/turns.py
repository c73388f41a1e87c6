"""The event loop of a test: to run in one, to let its tasks go on, to move the fake clock.

Tests that are `async` run by `run` too: see conftest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    import pytest

    from asgineer.testing._fakeclock import FakeClock

T = TypeVar("T")

TURNS = 30  # of the event loop: plenty for anything that waits for nothing from outside


def run(coroutine: Coroutine[Any, Any, T], seconds: float = 5.0) -> T:
    """Run one coroutine in a loop of its own; it leaves no task behind, and ends in time."""

    async def main() -> T:
        async with asyncio.timeout(seconds):
            result = await coroutine
        await settle()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return result

    return asyncio.run(main())


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def advance(clock: FakeClock, seconds: float) -> None:
    """Let `seconds` pass on the fake clock, and every task go on before and after."""
    await settle()
    clock.advance(seconds)
    await settle()


async def drain(stream: AsyncIterator[T]) -> list[T]:
    return [item async for item in stream]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the texts of the error records; each has its traceback."""
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(record.name == "asgineer" for record in records), records
    assert all(record.exc_text for record in records), "an error without its traceback"
    return [record.getMessage() for record in records]

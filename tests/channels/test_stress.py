"""The stress run on every engine, at a size that a test has time for; and that it finds flaws."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from asgineer.channels._cursor import Cursor
from asgineer.channels._log import Log

from .proxy import Proxy
from .stress import Flaw, Plan, run_stress

if TYPE_CHECKING:
    from asgineer.channels._log import Item
    from asgineer.channels._message import Message

    from .conftest import Engine

pytestmark = pytest.mark.server

SEED = int(os.environ.get("ASGINEER_SEED", random.randrange(10**6)))  # of a run that is to be repeated


async def test_nothing_is_lost_silently(engine: Engine) -> None:
    print(f"ASGINEER_SEED={SEED}")
    if engine.url is None:
        counts = await run_stress(None, Plan(), SEED)
    else:
        parts = urlsplit(engine.url)
        assert parts.port is not None
        async with Proxy(parts.port) as proxy:
            url = f"{parts.scheme}://127.0.0.1:{proxy.port}"
            counts = await run_stress(url, Plan(publishes=2000, cuts=3), SEED, proxy.cut)
        assert counts["cuts"]
    print(dict(counts))
    assert counts["delivered"] > 1000
    assert counts["resets"]


async def test_a_message_that_is_dropped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Log.append
    dropped: list[int] = []

    def drop_one(self: Log, item: Item, now: float) -> None:
        if len(dropped) < 5 and item[0] % 50 == 0:
            dropped.append(item[0])
            self.skip(item[0])
        else:
            append(self, item, now)

    monkeypatch.setattr(Log, "append", drop_one)
    with pytest.raises(Flaw, match="nothing told so"):
        await run_stress(None, Plan(publishes=2000, channels=3), 1)
    assert dropped


async def test_a_message_that_comes_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Cursor.take
    again: dict[Cursor, Message] = {}

    def take_twice(self: Cursor) -> Message | None:
        message = again.pop(self, None)
        if message is None:
            message = take(self)
            if message is not None and message.offset % 50 == 0:
                again[self] = message
        return message

    monkeypatch.setattr(Cursor, "take", take_twice)
    with pytest.raises(Flaw):
        await run_stress(None, Plan(publishes=2000, channels=3), 1)

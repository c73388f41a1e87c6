"""The watchdog: a line that blocks the event loop is named, once; nothing is said otherwise."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest

from asgineer import HttpRequest, _watchdog, to_asgi
from asgineer._watchdog import Watchdog, _place

from .driver import run, settle


class Records(logging.Handler):
    """What was logged, and an event for each: the loop is blocked until it is told of it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.events = [threading.Event() for _ in range(3)]

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.events[len(self.texts) - 1].set()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(_watchdog, "BEAT", 0.01)
    handler = Records()
    logger = logging.getLogger("asgineer")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def block(event: threading.Event) -> None:
    assert event.wait(20)  # the line that is named


def test_a_blocked_loop_is_told_once_and_its_end(records: Records) -> None:
    async def main() -> None:
        watchdog = Watchdog(limit=0.05)
        watchdog.start()
        block(records.events[0])
        await asyncio.to_thread(records.events[1].wait, 20)
        watchdog.stop()
        await asyncio.to_thread(watchdog._thread.join)

    run(main(), seconds=50)
    assert len(records.texts) == 2
    assert records.texts[0].startswith("Event loop blocked for more than 0.1 s in ")
    assert "test_watchdog.py:" in records.texts[0]
    assert records.texts[0].endswith(" in block")
    assert records.texts[1].startswith("Event loop was blocked for ")


def test_it_beats_while_the_loop_runs(records: Records) -> None:
    async def main() -> None:
        beats = 0
        enough = asyncio.Event()

        class Counting(Watchdog):
            def _beat(self) -> None:
                nonlocal beats
                beats += 1
                super()._beat()
                if beats == 3:
                    enough.set()

        watchdog = Counting(limit=60)
        watchdog.start()
        await enough.wait()
        watchdog.stop()
        watchdog._thread.join()
        assert records.texts == []

    run(main())


def test_stop_before_start() -> None:
    async def main() -> None:
        Watchdog().stop()

    run(main())


def test_place() -> None:
    assert _place(None) == "an unknown place"
    frame = sys._getframe()
    assert _place(frame).endswith("in test_place")


@pytest.mark.parametrize("debug", [True, False])
def test_the_lifespan_starts_it_in_debug_mode_only(debug: bool) -> None:
    def watching() -> bool:
        return any(thread.name == "asgineer-watchdog" for thread in threading.enumerate())

    async def main() -> None:
        incoming: asyncio.Queue[Any] = asyncio.Queue()

        async def send(message: Any) -> None: ...

        @to_asgi(debug=debug)
        async def app(request: HttpRequest) -> str:
            return "x"

        life = asyncio.ensure_future(app({"type": "lifespan"}, incoming.get, send))
        incoming.put_nowait({"type": "lifespan.startup"})
        await settle()
        assert watching() is debug
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await life

    run(main())
    for thread in threading.enumerate():
        if thread.name == "asgineer-watchdog":
            thread.join()

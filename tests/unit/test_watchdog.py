"""The watchdog: a line that blocks the event loop is named, once; nothing is said otherwise."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import HttpRequest, _watchdog, to_asgi
from asgineer._watchdog import Watchdog, place_of

from .turns import run, settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Records(logging.Handler):
    """What was logged, and an event for each: the loop is blocked until it is told of it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.events = [threading.Event() for _ in range(5)]

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


def line_of(function: Callable[..., object]) -> int:
    """Return the number of the first line in `function`, after its `def`."""
    return inspect.getsourcelines(function)[1] + 1


class Looks(threading.Event):
    """The event that a watchdog waits for between two looks at the loop; `some` is set after a few."""

    def __init__(self) -> None:
        super().__init__()
        self.some = threading.Event()
        self.number = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.number += 1
        if self.number == 20:
            self.some.set()
        return super().wait(timeout)


def test_a_blocked_loop_is_told_once_and_its_end(records: Records) -> None:
    async def main() -> None:
        watchdog = Watchdog(limit=0.05)
        watchdog._stopped = looks = Looks()
        watchdog.start()
        block(looks.some)  # longer than until it is told
        assert len(records.texts) == 1
        await asyncio.to_thread(records.events[1].wait, 20)
        watchdog.stop()
        await asyncio.to_thread(watchdog._thread.join)

    run(main(), seconds=50)
    place = f"{__file__}:{line_of(block)} in block"
    begin, end = records.texts
    assert begin == f"Event loop blocked for over 0.1 s in {place}: {_watchdog.ADVICE}"
    assert re.fullmatch(rf"Event loop blocked \d+\.\d s in {re.escape(place)}", end)


def test_each_time_that_it_is_blocked_is_told(records: Records) -> None:
    async def main() -> None:
        watchdog = Watchdog(limit=0.05)
        watchdog.start()
        for time in range(2):
            block(records.events[2 * time])
            await asyncio.to_thread(records.events[2 * time + 1].wait, 20)
        watchdog.stop()
        await asyncio.to_thread(watchdog._thread.join)

    run(main(), seconds=50)
    assert [" over " in text for text in records.texts] == [True, False, True, False]


async def test_it_beats_while_the_loop_runs(records: Records) -> None:
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


async def test_stop_before_start() -> None:
    Watchdog().stop()


def frame_of(file: str, name: str, caller: FrameType | None = None) -> Any:
    """Return what looks like a frame of the interpreter, in `file`."""
    code = SimpleNamespace(co_filename=file, co_name=name)
    return SimpleNamespace(f_code=code, f_lineno=7, f_back=caller)


STDLIB = os.path.dirname(os.__file__)
SCRIPT = "/home/me/example.py"
LOOP = f"{STDLIB}/asyncio/events.py"
REQUESTS = "/home/me/.venv/lib/python3.11/site-packages/requests/api.py"


def stack(*files: str) -> Any:
    """Return the innermost of frames in `files`, which are named from the outermost on."""
    frame = None
    for number, file in enumerate(files):
        frame = frame_of(file, f"f{number}", frame)
    return frame


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ((), "an unknown place"),
        ((SCRIPT,), f"{SCRIPT}:7 in f0"),
        ((SCRIPT, LOOP, SCRIPT), f"{SCRIPT}:7 in f2"),
        ((SCRIPT, LOOP, SCRIPT, REQUESTS, f"{STDLIB}/socket.py"), f"{SCRIPT}:7 in f2"),
        ((SCRIPT, LOOP, SCRIPT, _watchdog.__file__, "<frozen os>"), f"{SCRIPT}:7 in f2"),
        # An app that is installed: the script that runs the server is not what is stuck.
        ((SCRIPT, LOOP, REQUESTS, f"{STDLIB}/socket.py"), f"{STDLIB}/socket.py:7 in f3"),
        ((SCRIPT, f"{STDLIB}/asyncio/runners.py", REQUESTS), f"{REQUESTS}:7 in f2"),
        ((SCRIPT, LOOP), "an unknown place"),
    ],
)
def test_the_place_is_a_line_of_the_program(files: tuple[str, ...], place: str) -> None:
    assert place_of(stack(*files)) == place


def test_the_place_of_a_real_frame() -> None:
    assert place_of(sys._getframe()).endswith("in test_the_place_of_a_real_frame")


@pytest.mark.parametrize("debug", [True, False])
async def test_the_lifespan_starts_it_in_debug_mode_only(debug: bool) -> None:
    def watching() -> bool:
        return any(thread.name == "asgineer-watchdog" for thread in threading.enumerate())

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
    for thread in threading.enumerate():
        if thread.name == "asgineer-watchdog":
            thread.join()

"""The app of the tests of live connections: handlers that wait, and tell how their wait ended.

`/<name>` is an HTTP handler below, `/ws/<name>` a websocket one. What a client can't see is
noted under the `key` of the query, as in `app`, and read through `/control/…`. A line on the
standard output tells what happens after the last request was served.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import asgineer
from asgineer import EventStream, HTTPError, HttpRequest, Limits, WebsocketRequest
from tests.contract.app import control, keep_records, note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

keep_records()

SEND_LIMIT = 1  # seconds, for clients that don't read
CHUNK = b"x" * 65_536
ENOUGH = 2000  # chunks: more than any buffer between here and a client


def say(text: str) -> None:
    """Write a line for the test, in one piece."""
    os.write(1, f"{text}\n".encode())


@contextlib.contextmanager
def telling(request: Any, kind: str = "") -> Iterator[None]:
    """Note how the block ends, and when, by a clock that all processes share."""
    name = "end"
    try:
        yield
    except BaseException as error:
        name = type(error).__name__
        raise
    finally:
        note(request, [name, time.monotonic()], kind)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def waiting(request: Any, *first: Any) -> AsyncIterator[Any]:
    """Yield `first`, then wait for something that never comes, as for an upstream server."""
    with telling(request):
        for item in first:
            yield item
        note(request, "began", ":began")
        await for_ever()


# HTTP


async def send(request: HttpRequest) -> None:
    await request.accept(200, {"content-type": "text/plain"})
    with telling(request):
        note(request, "began", ":began")
        while True:
            await request.send("x")
            await asyncio.sleep(0.005)


async def iter_body(request: HttpRequest) -> str:
    with telling(request):
        async for _ in request.iter_body():
            note(request, "began", ":began")
    return "whole"


async def sleep(request: HttpRequest) -> str:
    with telling(request):
        note(request, "began", ":began")
        await request.sleep_while_connected(60)
    return "slept"


async def compute(request: HttpRequest) -> str:
    with telling(request):
        async with request.cancel_on_disconnect():
            note(request, "began", ":began")
            await for_ever()
    return "computed"


async def stream(request: HttpRequest) -> Any:
    return waiting(request, b"first")


async def stream_unstarted(request: HttpRequest) -> Any:
    return waiting(request)


async def events(request: HttpRequest) -> Any:
    return EventStream(waiting(request, "first"))


async def events_first(request: HttpRequest) -> Any:
    return EventStream(waiting(request), start="first")


async def silent_events(request: HttpRequest) -> Any:
    return EventStream(waiting(request))


async def fails(request: HttpRequest) -> Any:
    """A stream that fails midway, chunked or with a length."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two "
        raise RuntimeError("a failure in the middle")

    headers = {"content-length": "100"} if request.parts[1:] == ("length",) else {}
    return headers, pieces()


async def flood(request: HttpRequest) -> None:
    """More than any buffer takes."""
    await request.accept(200, {"content-type": "text/plain"})
    with telling(request):
        note(request, "began", ":began")
        for _ in range(ENOUGH):
            await request.send(CHUNK)


async def clock(request: HttpRequest) -> Any:
    """An event each 20 ms."""

    async def ticks() -> AsyncIterator[Any]:
        number = 0
        while await asyncio.sleep(0.02, True):
            yield number
            number += 1

    return EventStream(ticks())


async def block(request: HttpRequest) -> str:
    time.sleep(1)  # noqa: ASYNC251 (that is what the test is about)
    return "blocked"


async def slow(request: HttpRequest) -> str:
    """A plain request that takes its time, and knows nothing of the server's end."""
    note(request, "began", ":began")
    await asyncio.sleep(0.3)
    return "answered"


async def stuck(request: HttpRequest) -> str:
    """A handler that waits for something else than its client, or the server."""
    note(request, "began", ":began")
    await for_ever()
    return ""


async def deaf(request: HttpRequest) -> str:
    """A handler that listens to nothing."""
    note(request, "began", ":began")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def spawns(request: HttpRequest) -> str:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            say("plain task ended")

    async def careful() -> None:
        await asyncio.sleep(0.5)
        say("careful task ended")

    asgineer.spawn(work())
    asgineer.spawn(careful(), wait=True)
    return "spawned"


released = threading.Event()  # what the threads of the pool wait for


async def threads(request: HttpRequest) -> str:
    note(request, "began", ":began")
    await asyncio.to_thread(released.wait, 20)
    return "done"


async def release(request: HttpRequest) -> str:
    released.set()
    return "released"


async def state(request: HttpRequest) -> Any:
    return {"value": request.state["value"]}


# Websockets


async def ws_receive(request: WebsocketRequest) -> None:
    await request.accept()
    with telling(request):
        note(request, "began", ":began")
        await request.receive()


async def ws_send(request: WebsocketRequest) -> None:
    await request.accept()
    with telling(request):
        note(request, "began", ":began")
        while True:
            await request.send("x")
            await asyncio.sleep(0.005)


async def ws_sending(request: WebsocketRequest) -> None:
    await request.accept()
    with telling(request, ":block"):
        async with request.sending(waiting(request, "first")):
            await for_ever()


async def ws_flood(request: WebsocketRequest) -> None:
    await request.accept()
    with telling(request):
        note(request, "began", ":began")
        for _ in range(ENOUGH):
            await request.send(CHUNK)


async def ws_echo(request: WebsocketRequest) -> None:
    await request.accept()
    with telling(request):
        async for message in request.receive_iter():
            await request.send(message)


async def figures(request: HttpRequest) -> Any:
    tasks = [task for task in asyncio.all_tasks() if not task.done()]
    return {**asgineer.stats()._asdict(), "all_tasks": len(tasks), "busy_threads": not released.is_set()}


async def http(request: HttpRequest) -> Any:
    match request.parts:
        case ("control", "stats"):
            return await figures(request)
        case "control", *_:
            return await control(request)
        case name, *_ if name in HTTP:
            return await HTTP[name](request)
    raise HTTPError(404)


HTTP = {
    handler.__name__: handler
    for handler in (
        send,
        iter_body,
        sleep,
        compute,
        stream,
        stream_unstarted,
        events,
        events_first,
        silent_events,
        fails,
        flood,
        clock,
        block,
        slow,
        stuck,
        deaf,
        spawns,
        threads,
        release,
        state,
    )
}
WEBSOCKET = {
    "receive": ws_receive,
    "send": ws_send,
    "sending": ws_sending,
    "flood": ws_flood,
    "echo": ws_echo,
}


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[dict[str, str]]:
    match os.environ.get("LIVE_START"):
        case "fails":
            raise RuntimeError("no database")
        case "waits":
            say("start waits")
            await for_ever()
    say("lifespan started")
    try:
        yield {"value": "of the lifespan"}
    finally:
        await asyncio.sleep(0)
        say("lifespan ended")


@asgineer.to_asgi(lifespan=lifespan, limits=Limits(send=SEND_LIMIT))
async def main(request: Any) -> Any:
    if isinstance(request, WebsocketRequest):
        return await WEBSOCKET[request.parts[1]](request)
    return await http(request)

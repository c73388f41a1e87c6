"""The live figures: what is open now, and what happened since the process began."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import DisconnectedError, HttpRequest, Limits, WebsocketRequest, spawn, stats, to_asgi
from asgineer.testing._fakeclock import fake_clock

from .asgi import Http, Websocket
from .asking import ask, ask_ws
from .turns import advance, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def grown(before: asgineer.Stats) -> dict[str, int]:
    """Return the figures that changed since."""
    now = stats()
    pairs = zip(now._fields, before, now, strict=True)
    return {name: new - old for name, old, new in pairs if new != old}


async def page(request: HttpRequest) -> str:
    return "page"


async def fail(request: HttpRequest) -> str:
    raise KeyError


async def endless() -> AsyncIterator[str]:
    yield "x"
    await asyncio.Event().wait()


async def stream(request: HttpRequest) -> Any:
    return endless()


@pytest.mark.parametrize("handler", [page, fail])
def test_a_plain_request(handler: Any) -> None:
    before = stats()
    ask(to_asgi(handler))
    assert grown(before) == {"requests": 1}


async def test_an_open_request_and_stream_and_the_disconnect() -> None:
    before = stats()
    exchange = Http.begin(to_asgi(stream))
    await exchange.until(lambda: len(exchange.sent) == 2)
    assert grown(before) == {"requests": 1, "open_requests": 1, "open_streams": 1}
    exchange.leave()
    await exchange.finish()
    assert grown(before) == {"requests": 1, "disconnects": 1}


async def test_a_websocket() -> None:
    async def echo(request: WebsocketRequest) -> None:
        await request.accept()
        async for message in request.receive_iter():
            await request.send(message)
        raise DisconnectedError

    before = stats()
    socket = Websocket.begin(to_asgi(echo))
    await socket.until(lambda: socket.accepted)
    assert grown(before) == {"websockets": 1, "open_websockets": 1}
    socket.leave()
    await socket.finish()
    assert grown(before) == {"websockets": 1, "disconnects": 1}


def test_a_denied_websocket() -> None:
    async def deny(request: WebsocketRequest) -> str:
        return "no"

    before = stats()
    ask_ws(to_asgi(deny))
    assert grown(before) == {"websockets": 1}


async def test_background_tasks() -> None:
    before = stats()
    gate = asyncio.Event()
    task = spawn(gate.wait())
    assert grown(before) == {"tasks": 1}
    gate.set()
    await task
    await settle()
    assert grown(before) == {}


async def test_send_timeouts() -> None:
    class Stalled(Http):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

    before = stats()
    with fake_clock() as clock:
        exchange = Stalled(to_asgi(stream, limits=Limits(send=2)))
        exchange.start()
        await advance(clock, 2)
        await advance(clock, 3)
        await exchange.finish()
    assert grown(before) == {"requests": 1, "disconnects": 1, "send_timeouts": 1}

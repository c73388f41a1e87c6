"""A request that has ended is freed at once, whatever went wrong: no circle waits for the collector.

A circle keeps the server's part of the connection with it, and granian leaves the connection of a
refused body open for as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import HTTPError, HttpRequest, Limits, _shutdown, response_of, to_asgi
from asgineer.testing._scope import http_scope

from .asgi import PLACE
from .turns import advance, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgineer.testing._fakeclock import FakeClock

PIECE = {"type": "http.request", "body": b"ab", "more_body": True}
WHOLE = {"type": "http.request", "body": b"ab", "more_body": False}
LEFT = {"type": "http.disconnect"}
LIMITS = Limits(body=5, body_idle=10)


class Side:
    """The server's side of a connection: `receive` gives the messages, then nothing more; `send` may fail."""

    def __init__(self, messages: list[Any], lost: bool) -> None:
        self._messages, self._lost = messages[::-1], lost

    async def receive(self) -> Any:
        if self._messages:
            return self._messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(self, message: Any) -> None:
        if self._lost:
            raise OSError("the client is gone")
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def is_freed(
    app: Any, scope: Any, messages: list[Any], happens: Callable[[asyncio.Task[Any]], Any], lost: bool
) -> bool:
    """Serve one request, to which `happens` something while it waits, and say whether nothing keeps it."""
    side = Side(messages, lost)
    kept = weakref.ref(side)
    task = asyncio.ensure_future(app(scope, side.receive, side.send))
    await settle()
    task.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # what it raised is the server's
    if (waiting := happens(task)) is not None:
        await waiting
    await asyncio.wait([task])
    del task, side, waiting
    await settle()
    return kept() is None


def nothing(task: asyncio.Task[Any]) -> None:
    """All that is to happen is in the messages."""


# ---- HTTP ------------------------------------------------------------------------------------


async def echo(request: HttpRequest) -> Any:
    return await request.get_body()


async def iterate(request: HttpRequest) -> Any:
    return [piece async for piece in request.iter_body()]


async def read_json(request: HttpRequest) -> Any:
    return await request.get_json()


async def hide_a_refusal(request: HttpRequest) -> Any:
    with contextlib.suppress(HTTPError):
        await request.get_body()
    return "a success, which it can't be"


async def accept_after_a_refusal(request: HttpRequest) -> Any:
    with contextlib.suppress(HTTPError):
        await request.get_body()
    await request.accept(200, {})


async def answer_a_refusal(request: HttpRequest) -> Any:
    try:
        return await request.get_body()
    except HTTPError as error:
        return error.status, {}, "answered by the handler"


async def fail(request: HttpRequest) -> Any:
    raise ValueError("a fault of the handler")


async def deny(request: HttpRequest) -> Any:
    raise HTTPError(404)


async def fail_inside(request: HttpRequest) -> Any:
    return await response_of(request, fail(request))


async def fail_late(request: HttpRequest) -> Any:
    await request.accept(200, {})
    await request.send("x")
    raise ValueError("a fault in the middle of the response")


async def misuse(request: HttpRequest) -> Any:
    await request.send("x")


async def sleep(request: HttpRequest) -> Any:
    await request.accept(200, {})
    while True:
        await request.sleep_while_connected(1000)


async def compute(request: HttpRequest) -> Any:
    await request.get_body()
    async with request.cancel_on_disconnect():
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "messages", [[WHOLE], [PIECE, PIECE, PIECE], [PIECE, LEFT], [WHOLE, LEFT], [LEFT]], ids=str
)
@pytest.mark.parametrize("lost", [False, True], ids=["", "lost"])
@pytest.mark.parametrize(
    "handler",
    [
        *(echo, iterate, read_json, hide_a_refusal, accept_after_a_refusal, answer_a_refusal),
        *(fail, deny, fail_inside, fail_late, misuse),
    ],
)
async def test_a_request_that_ends_by_itself(
    handler: Any, lost: bool, messages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    app, scope = to_asgi(handler, limits=LIMITS), http_scope("POST", "/", [], PLACE)
    happens = nothing if handler not in (iterate,) else cancel  # it has no limit, and may wait for more
    with caplog.at_level(logging.CRITICAL + 1):
        assert await is_freed(app, scope, messages, happens, lost)


def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


@pytest.mark.parametrize("handler", [echo, iterate, sleep, compute])
async def test_a_request_that_is_cancelled(handler: Any) -> None:
    messages = [PIECE] if handler in (echo, iterate) else [WHOLE]
    assert await is_freed(to_asgi(handler), http_scope("POST", "/", [], PLACE), messages, cancel, False)


@pytest.mark.parametrize("handler", [echo, iterate, hide_a_refusal, accept_after_a_refusal, answer_a_refusal])
async def test_a_request_whose_body_stays_away(handler: Any, clock: FakeClock) -> None:
    def wait(task: asyncio.Task[Any]) -> Any:
        return advance(clock, 30)

    app, scope = to_asgi(handler, limits=LIMITS), http_scope("POST", "/", [], PLACE)
    assert await is_freed(app, scope, [PIECE], wait, False)


@pytest.mark.parametrize("handler", [sleep])
async def test_a_request_whose_server_closes(handler: Any) -> None:
    def close(task: asyncio.Task[Any]) -> None:
        _shutdown.notice().begin()

    assert await is_freed(to_asgi(handler), http_scope("POST", "/", [], PLACE), [WHOLE], close, False)


@pytest.mark.parametrize("handler", [sleep])
async def test_a_request_whose_client_leaves(handler: Any) -> None:
    scope = http_scope("POST", "/", [], PLACE)
    assert await is_freed(to_asgi(handler), scope, [WHOLE, LEFT], nothing, False)

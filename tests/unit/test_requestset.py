"""RequestSet: weak, safe to iterate, left at the end of a handler."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from asgineer import HttpRequest, RequestSet, WebsocketRequest, to_asgi

from .asgi import Http, Websocket
from .asking import ask, ask_ws
from .turns import settle


def make_request() -> HttpRequest:
    async def never(*args: Any) -> Any:
        raise AssertionError

    return HttpRequest({"type": "http", "method": "GET", "path": "/", "headers": []}, never, never)


def test_add_discard_clear() -> None:
    requests = RequestSet[HttpRequest]()
    first, second = make_request(), make_request()
    assert (len(requests), list(requests), bool(len(requests))) == (0, [], False)
    requests.add(first)
    requests.add(first)
    requests.add(second)
    assert len(requests) == 2
    assert set(requests) == {first, second}
    assert first in requests
    requests.discard(first)
    requests.discard(first)
    assert list(requests) == [second]
    assert first not in requests
    requests.clear()
    assert len(requests) == 0
    requests.add(first)
    assert list(requests) == [first]


@pytest.mark.parametrize("item", [None, 3, "request", object(), {}, HttpRequest])
def test_only_requests(item: Any) -> None:
    requests: RequestSet[Any] = RequestSet()
    with pytest.raises(TypeError, match="can only hold requests"):
        requests.add(item)
    assert len(requests) == 0


def test_it_holds_them_weakly() -> None:
    requests = RequestSet[HttpRequest]()
    requests.add(make_request())
    gc.collect()
    assert len(requests) == 0


def test_others_may_come_and_go_while_iterating() -> None:
    requests = RequestSet[HttpRequest]()
    kept = [make_request() for _ in range(5)]
    for request in kept:
        requests.add(request)
    seen = []
    for request in requests:
        seen.append(request)
        requests.clear()
        requests.add(make_request())
    assert set(seen) == set(kept)


@pytest.mark.parametrize("how", ["return", "raise"])
def test_a_request_leaves_all_its_sets_when_its_handler_ends(how: str) -> None:
    sets = [RequestSet[HttpRequest](), RequestSet[HttpRequest]()]
    kept = []

    @to_asgi
    async def app(request: HttpRequest) -> str:
        kept.append(request)
        for one in sets:
            one.add(request)
            assert len(one) == 1
        if how == "raise":
            raise ValueError
        return "x"

    ask(app)
    assert [len(one) for one in sets] == [0, 0]
    assert kept


def test_a_websocket_leaves_too() -> None:
    sockets = RequestSet[WebsocketRequest]()

    @to_asgi
    async def app(request: WebsocketRequest) -> None:
        sockets.add(request)
        await request.accept()
        assert len(sockets) == 1

    ask_ws(app)
    assert len(sockets) == 0


async def test_a_request_leaves_when_the_client_does() -> None:
    requests = RequestSet[HttpRequest]()

    @to_asgi
    async def app(request: HttpRequest) -> None:
        requests.add(request)
        await request.sleep_while_connected(100)

    exchange = Http.begin(app)
    await settle()
    assert len(requests) == 1
    exchange.leave()
    await exchange.finish()
    assert len(requests) == 0


async def test_waking_all() -> None:
    waiting = RequestSet[HttpRequest]()

    @to_asgi
    async def app(request: HttpRequest) -> Any:
        waiting.add(request)
        return {"woken": await request.sleep_while_connected(100)}

    exchanges = [Http(app) for _ in range(5)]
    for exchange in exchanges:
        exchange.start()
    await settle()
    assert len(waiting) == 5
    for request in waiting:
        request.wakeup()
    for exchange in exchanges:
        await exchange.finish()
        assert exchange.text == '{"woken":true}'
    assert len(waiting) == 0


async def test_sending_to_all_while_some_leave() -> None:
    room = RequestSet[WebsocketRequest]()

    @to_asgi
    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        room.add(request)
        async for message in request.receive_iter():
            await asyncio.gather(*[other.send(message) for other in room], return_exceptions=True)

    sockets = [Websocket(app) for _ in range(3)]
    for socket in sockets:
        socket.start()
    await settle()
    sockets[0].leave()
    sockets[1].text("hi")
    await settle()
    assert [socket.messages for socket in sockets] == [[], ["hi"], ["hi"]]
    assert len(room) == 2
    for socket in sockets[1:]:
        socket.leave()
        await socket.finish()

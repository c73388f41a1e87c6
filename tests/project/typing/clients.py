"""Tests as users write them with the clients: what comes back has a type."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import asgineer
from asgineer.testing import (
    AsyncEvents,
    AsyncTestClient,
    AsyncWebsocket,
    Events,
    RunningServer,
    TestClient,
    Websocket,
    WebsocketClosed,
    WebsocketDenied,
    run_server,
)

if TYPE_CHECKING:
    import collections.abc


@asgineer.to_asgi
async def main(request: asgineer.HttpRequest) -> asgineer.Response:
    return {"drink": "tea"}


async def handler(request: asgineer.HttpRequest) -> str:
    return "tea"


@pytest.fixture
def client() -> collections.abc.Iterator[TestClient]:
    with TestClient(main, raise_errors=False, headers={"x-mine": "1"}, follow_redirects=True) as client:
        yield client


def test_requests(client: TestClient) -> None:
    response: httpx2.Response = client.post("/", json={"a": 1}, files={"f": b"x"}, auth=("me", "secret"))
    data: Any = response.json()
    assert data["drink"] == "tea"
    with client.stream("GET", "/", timeout=None) as streamed:
        pieces: list[bytes] = list(streamed.iter_raw())
        client.stall()
        client.disconnect()
        client.shutdown()
    assert pieces


def test_events(client: TestClient) -> None:
    with client.events("/events", last_event_id="7", params={"since": "1"}) as events:
        kept: Events = events
        for event in events:
            text: str = event.data + event.id + event.event
            value: object = event.json()
            assert text == value
            break
        number: int = kept.connections + (kept.retry or 0)
        assert (kept.last_event_id, number, kept.response.status_code) == ("", 1, 200)
        kept.disconnect()


def test_websocket(client: TestClient) -> None:
    with client.websocket("/socket", subprotocols=["a"], headers={"x": "y"}) as websocket:
        kept: Websocket = websocket
        kept.send("text")
        kept.send(b"bytes")
        kept.send_json([1])
        message: str | bytes = kept.receive()
        data: Any = kept.receive_json()
        assert [*kept] == [message, data]
        kept.close(4000, "enough")
        code: int | None = kept.close_code
        assert (code, kept.close_reason, kept.subprotocol, kept.response.headers["x"]) == (4000, "", "a", "y")
    with pytest.raises(WebsocketDenied) as denied:
        client.websocket("/denied").__enter__()
    assert denied.value.response.json() == {"status": denied.value.status}
    with pytest.raises(WebsocketClosed) as closed:
        kept.receive()
    assert closed.value.code + len(closed.value.reason) == 1000


async def use_the_async_one() -> None:
    async with AsyncTestClient(handler, base_url="https://example.com", root_path="/sub") as client:
        assert (await client.get("/")).text == "tea"
        async with client.stream("POST", "/", content=pieces()) as response:
            assert [piece async for piece in response.aiter_raw()]
        events: AsyncEvents = client.events("/events")
        async with events:
            assert (await anext(events)).data == "1"
            async for event in events:
                assert event.data
        websocket: AsyncWebsocket = client.websocket("/socket")
        async with websocket:
            await websocket.send("text")
            message: str | bytes = await websocket.receive()
            assert [other async for other in websocket] == [message]


async def pieces() -> collections.abc.AsyncIterator[bytes]:
    yield b"piece"


def test_the_async_one() -> None:
    asyncio.run(use_the_async_one())


def test_a_real_server() -> None:
    with run_server(main, "uvicorn", access_log=True) as server:
        kept: RunningServer = server
        assert httpx2.get(kept.url).json() == {"drink": "tea"}
        assert (kept.output, kept.pid, kept.status, kept.stop()) == ("", 1, None, 0)

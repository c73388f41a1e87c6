"""Channels in responses: an event stream that resumes, a websocket, a batch as a long poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import asgineer
from asgineer import Bus, EventStream, HttpRequest, Response, WebsocketRequest
from asgineer.testing import TestClient

from .puppet import PuppetBus

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_app(bus: Bus) -> Any:
    room = bus.channel("room", history=5)

    @asgineer.to_asgi
    async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
        if isinstance(request, WebsocketRequest):
            await request.accept()
            async with request.sending(room.subscribe(since=request.last_event_id)):
                async for text in request.receive_iter():
                    await room.publish(text)
            return None
        match request.verb, request.path:
            case "POST", _:
                return await room.publish((await request.get_body()).decode())
            case _, "/poll":
                return await room.read(since=request.last_event_id, wait=5)
            case _:
                return EventStream(room.subscribe(since=request.last_event_id))

    return main


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_app(Bus())) as client:
        yield client


def test_an_event_stream_begins_with_its_place(client: TestClient) -> None:
    place = client.post("/", content="0").text
    with client.stream("GET", "/") as answer:
        assert next(answer.iter_bytes()) == f"id: {place}\n\n".encode()


def test_an_event_stream_resumes(client: TestClient) -> None:
    first = client.post("/", content="0").text
    with client.events("/", last_event_id=first) as events:
        client.post("/", content="1")
        assert next(events).data == "1"
        events.disconnect()
        last = client.post("/", content="2").text
        event = next(events)
        assert (event.data, event.id) == ("2", last)


def test_an_event_stream_tells_a_reset(client: TestClient) -> None:
    with client.events("/", last_event_id="forged") as events:
        reset = next(events)
        assert (reset.event, reset.json()) == ("reset", {"reset": True})
        client.post("/", content="live")
        assert next(events).data == "live"


def test_head_leaves_no_subscriber() -> None:
    bus = Bus()
    with TestClient(make_app(bus)) as client:
        assert client.head("/").headers["content-type"] == "text/event-stream"
        assert bus.status.state == "new"


def test_a_websocket_gets_what_was_published(client: TestClient) -> None:
    since = client.post("/", content="0").text
    client.post("/", content="1")
    with client.websocket(f"/?since={since}") as socket:
        assert msgspec.json.decode(socket.receive()) == {"id": since}
        assert msgspec.json.decode(socket.receive())["data"] == "1"
        socket.send("2")
        assert msgspec.json.decode(socket.receive())["data"] == "2"


def test_a_websocket_is_told_a_reset(client: TestClient) -> None:
    with client.websocket("/?since=forged") as socket:
        assert msgspec.json.decode(socket.receive()) == {"id": "unknown.0"}
        told = msgspec.json.decode(socket.receive())
        assert told["reset"] is True
        socket.send("live")
        assert msgspec.json.decode(socket.receive())["data"] == "live"


def test_a_long_poll(client: TestClient) -> None:
    since = client.post("/", content="0").text
    last = client.post("/", content="1").text
    answer = client.get("/poll", params={"since": since})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"messages": [{"id": last, "data": "1"}], "position": last, "reset": False}


def test_an_engine_that_is_away_is_told_before_the_stream() -> None:
    bus = PuppetBus()
    bus.engine.failing["history"] = asgineer.ChannelError("away")
    with TestClient(make_app(bus)) as client:
        assert client.get("/").status_code == 503

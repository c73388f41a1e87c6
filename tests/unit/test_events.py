"""Server-sent events as `client.events` reads them: parsed, and across reconnections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asgineer import HTTPError, HttpRequest, to_asgi
from asgineer.testing import AsyncTestClient, TestClient
from asgineer.testing._events import MAX_EMPTY_STREAMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TYPE = {"content-type": "text/event-stream"}


async def counting(request: HttpRequest) -> Any:
    """Send two events after the last id; after the sixth, say that this was all."""
    since = int(request.headers.get("last-event-id", "0"))

    async def stream() -> AsyncIterator[str]:
        yield ": a comment\n\n"
        for number in (since + 1, since + 2):
            yield f"id: {number}\ndata: {number}\n\n"

    return (204, {}, None) if since >= 6 else (200, TYPE, stream())


def test_events_are_parsed() -> None:
    async def app(request: HttpRequest) -> Any:
        async def stream() -> AsyncIterator[str]:
            yield "event: greeting\nid: 7\nretry: 250\nda"
            yield 'ta: {"a":\ndata: 1}\n\n'

        return 200, TYPE, stream()

    with TestClient(app) as client, client.events("/") as events:
        event = next(events)
        assert (event.event, event.id, event.data) == ("greeting", "7", '{"a":\n1}')
        assert event.json() == {"a": 1}
        assert (events.last_event_id, events.retry, events.connections) == ("7", 250, 1)


def test_a_block_without_data_is_no_event_but_its_id_counts() -> None:
    async def app(request: HttpRequest) -> Any:
        async def stream() -> AsyncIterator[str]:
            yield "id: 3\n\n"

        return 200, TYPE, stream()

    with TestClient(app) as client, client.events("/", reconnect=False) as events:
        assert list(events) == []
        assert events.last_event_id == "3"


async def test_a_block_without_data_is_no_event_to_the_async_one() -> None:
    async def app(request: HttpRequest) -> Any:
        return 200, TYPE, "id: 3\n\ndata: 4\n\n"

    async with AsyncTestClient(app) as client, client.events("/", reconnect=False) as events:
        assert [event.data async for event in events] == ["4"]
        assert events.last_event_id == "3"


def test_a_stream_that_ends_is_asked_for_again_until_204() -> None:
    with TestClient(counting) as client, client.events("/") as events:
        assert [event.data for event in events] == ["1", "2", "3", "4", "5", "6"]
        assert (events.connections, events.response.status_code) == (4, 204)
        assert list(events) == [], "that was all"


async def test_a_stream_that_ends_is_asked_for_again_by_the_async_one() -> None:
    async with AsyncTestClient(counting) as client, client.events("/") as events:
        assert [event.data async for event in events] == ["1", "2", "3", "4", "5", "6"]
        assert (events.connections, events.last_event_id) == (4, "6")


def test_a_first_204_is_no_event() -> None:
    with TestClient(counting) as client, client.events("/", last_event_id="6") as events:
        assert list(events) == []


def test_it_begins_where_the_test_says() -> None:
    with TestClient(counting) as client, client.events("/", last_event_id="4", reconnect=False) as events:
        assert [event.data for event in events] == ["5", "6"]


async def test_without_reconnect_it_ends_with_the_stream() -> None:
    async with AsyncTestClient(counting) as client, client.events("/", reconnect=False) as events:
        assert [event.data async for event in events] == ["1", "2"]


@to_asgi
async def endless(request: HttpRequest) -> None:
    await request.accept(200, TYPE)
    number = int(request.last_event_id or "0")
    while True:
        number += 1
        await request.send(f"id: {number}\ndata: {number}\n\n")


def test_after_disconnect_the_next_event_comes_over_a_new_connection() -> None:
    with TestClient(endless) as client, client.events("/") as events:
        assert next(events).data == "1"
        events.disconnect()
        assert next(events).data == "2"
        assert events.connections == 2
        client.disconnect()
        following = next(event for event in events if events.connections == 3)
        assert int(following.data) > 2


async def test_after_disconnect_of_the_async_one() -> None:
    async with AsyncTestClient(endless) as client, client.events("/") as events:
        assert (await anext(events)).data == "1"
        await events.disconnect()
        assert (await anext(events)).data == "2"
        client.disconnect()
        following = await anext(event async for event in events if events.connections == 3)
        assert int(following.data) > 2


def test_the_app_is_told_when_the_block_ends() -> None:
    outcomes: list[str] = []
    app = to_asgi(endless.asgineer_handler, done=lambda *report: outcomes.append(report[4]))
    with TestClient(app) as client:
        with client.events("/") as events:
            next(events)
        assert outcomes == ["disconnect"]


def test_options_are_those_of_a_request() -> None:
    async def app(request: HttpRequest) -> Any:
        async def stream() -> AsyncIterator[str]:
            yield f"data: {request.querydict['a']} {request.headers['x-b']} {request.headers['accept']}\n\n"

        return 200, TYPE, stream()

    with TestClient(app) as client, client.events("/", params={"a": "1"}, headers={"x-b": "2"}) as events:
        assert next(events).data == "1 2 text/event-stream"


def test_cookies_are_kept() -> None:
    async def app(request: HttpRequest) -> Any:
        async def stream() -> AsyncIterator[str]:
            yield f"data: {request.cookies.get('visit', 'first')}\n\n"

        return 200, {**TYPE, "set-cookie": "visit=second; Secure"}, stream()

    with TestClient(app) as client, client.events("/") as events:
        assert [next(events).data, next(events).data] == ["first", "second"]


async def flawed(request: HttpRequest) -> Any:
    match request.parts:
        case ("denied",):
            raise HTTPError(403, "not for you")
        case ("page",):
            return "<html>a page"
        case ("empty",):
            return 200, TYPE, ""
        case ("silent",):
            await request.accept(200, TYPE)
            await request.sleep_while_connected(100)
        case ("fails",):
            await request.accept(200, TYPE)
            await request.send("data: 1\n\n")
            raise ValueError("in the stream")


async def test_a_status_that_is_no_success_is_raised() -> None:
    with TestClient(flawed) as client:
        with pytest.raises(httpx2.HTTPStatusError) as caught:
            client.events("/denied").__enter__()
        assert caught.value.response.text == "not for you"

    async with AsyncTestClient(flawed) as client:
        with pytest.raises(httpx2.HTTPStatusError) as caught:
            await client.events("/denied").__aenter__()
        assert caught.value.response.text == "not for you"


def test_what_is_no_event_stream_is_told() -> None:
    told = pytest.raises(httpx2.SSEError, match="text/html")
    with TestClient(flawed) as client, client.events("/page") as events, told:
        next(events)


def test_what_the_handler_raises_is_raised() -> None:
    with TestClient(flawed) as client, client.events("/fails") as events:
        assert next(events).data == "1"
        with pytest.raises(ValueError, match="in the stream"):
            next(events)


def test_without_raise_errors_a_break_is_an_end() -> None:
    with TestClient(flawed, raise_errors=False) as client, client.events("/fails") as events:
        assert [next(events).data, next(events).data] == ["1", "1"]
        assert events.connections == 2


def test_silence_is_a_timeout() -> None:
    told = pytest.raises(httpx2.ReadTimeout)
    with TestClient(flawed) as client, client.events("/silent", timeout=0.01) as events, told:
        next(events)


def test_streams_that_bring_nothing_end_at_last() -> None:
    with TestClient(flawed) as client, client.events("/empty") as events:
        with pytest.raises(RuntimeError, match="100 connections in a row ended without an event"):
            next(events)
        assert events.connections == MAX_EMPTY_STREAMS


async def test_it_wants_to_be_entered() -> None:
    with TestClient(counting) as client, pytest.raises(RuntimeError, match="no connection yet"):
        next(client.events("/"))

    async with AsyncTestClient(counting) as client:
        with pytest.raises(RuntimeError, match="no connection yet"):
            await anext(client.events("/"))

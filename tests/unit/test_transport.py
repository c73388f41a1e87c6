"""Bodies in pieces, back-pressure both ways, and faults that a test makes: stall, disconnect, shutdown."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asgineer import DisconnectedError, HttpRequest, ServerClosing, to_asgi
from asgineer.testing import AsyncTestClient, TestClient
from asgineer.testing._fakeclock import fake_clock

from .turns import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PIECE = b"x" * 16_384
WINDOW = 5  # pieces that are sent before a writer waits: 64 KiB and what passes them


async def echo(request: HttpRequest) -> None:
    """Send each piece of the body back as it comes."""
    await request.accept(200)
    async for piece in request.iter_body():
        await request.send(piece)


async def size(request: HttpRequest) -> str:
    return str(len(await request.get_body(None)))


# Request bodies


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield PIECE


async def async_pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


def test_a_body_in_pieces_arrives_whole() -> None:
    with TestClient(size) as client:
        assert client.post("/", content=pieces(100)).text == str(100 * len(PIECE))


async def test_a_body_in_pieces_arrives_whole_from_the_async_one() -> None:
    async with AsyncTestClient(size) as client:
        assert (await client.post("/", content=async_pieces(100))).text == str(100 * len(PIECE))


def test_a_body_in_pieces_has_no_length() -> None:
    async def app(request: HttpRequest) -> Any:
        return {name: request.headers.get(name) for name in ("content-length", "transfer-encoding")}

    with TestClient(app) as client:
        assert client.post("/", content=pieces(1)).json() == {
            "content-length": None,
            "transfer-encoding": "chunked",
        }
        assert client.post("/", content=b"abc").json() == {"content-length": "3", "transfer-encoding": None}


def test_requests_and_responses_may_take_turns() -> None:
    go_on = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"one"
        assert go_on.wait(5)
        yield b"two"

    with TestClient(echo) as client, client.stream("POST", "/", content=body()) as response:
        answers = response.iter_raw()
        assert next(answers) == b"one"
        go_on.set()
        assert next(answers) == b"two"


async def test_an_answer_may_come_before_the_body_is_sent() -> None:
    async def app(request: HttpRequest) -> Any:
        return 413, {}, "too much"

    def endless() -> Iterator[bytes]:
        while True:
            yield PIECE

    async def async_endless() -> AsyncIterator[bytes]:
        while True:
            yield PIECE

    with TestClient(app) as client:
        assert client.post("/", content=endless()).status_code == 413

    async with AsyncTestClient(app) as in_the_loop:
        assert (await in_the_loop.post("/", content=async_endless())).status_code == 413


def test_a_body_that_blocks_does_not_hold_up_the_end() -> None:
    never = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b"first"
        never.wait()

    async def app(request: HttpRequest) -> str:
        return "enough"

    try:
        with TestClient(app) as client:
            assert client.post("/", content=blocks()).text == "enough"
    finally:
        never.set()


def test_a_body_that_fails_is_a_client_that_left() -> None:
    outcomes: list[str] = []

    def fails() -> Iterator[bytes]:
        yield b"first"
        raise KeyError("in the body")

    app = to_asgi(size, done=lambda *report: outcomes.append(report[4]))
    with TestClient(app) as client, pytest.raises(KeyError, match="in the body"):
        client.post("/", content=fails())
    assert outcomes == ["disconnect"]


async def test_a_body_that_fails_after_the_answer_is_told_too() -> None:
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.send("first")
        await request.get_body()

    go_on = asyncio.Event()

    async def fails() -> AsyncIterator[bytes]:
        await go_on.wait()
        raise KeyError("in the body")
        yield b""

    async with AsyncTestClient(app) as client, client.stream("POST", "/", content=fails()) as response:
        answers = response.aiter_raw()
        assert await anext(answers) == b"first"
        go_on.set()
        with pytest.raises(KeyError, match="in the body"):
            await anext(answers)


@pytest.mark.parametrize(
    ("length", "told"), [("4", "1 bytes shorter than its content-length"), ("2", "longer than")]
)
def test_a_body_of_another_length_than_it_says_is_told(length: str, told: str) -> None:
    with TestClient(size) as client, pytest.raises(ValueError, match=told):
        client.post("/", content=iter([b"abc"]), headers={"content-length": length})


# Back-pressure


async def test_send_waits_for_the_reader() -> None:
    sent: list[int] = []

    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        for number in range(100):
            await request.send(PIECE)
            sent.append(number)

    async with AsyncTestClient(app) as client, client.stream("GET", "/") as response:
        await settle()
        assert len(sent) < WINDOW
        answers = response.aiter_raw()
        for taken in range(1, 20):
            await anext(answers)
            await settle()
            assert taken <= len(sent) < taken + WINDOW


async def test_the_body_waits_for_the_app() -> None:
    given: list[int] = []
    read = asyncio.Event()

    async def app(request: HttpRequest) -> str:
        await read.wait()
        return str(len(await request.get_body()))

    async def body() -> AsyncIterator[bytes]:
        for number in range(20):
            given.append(number)
            yield PIECE

    async with AsyncTestClient(app) as client:
        asking = asyncio.ensure_future(client.post("/", content=body()))
        await settle()
        assert 1 < len(given) <= WINDOW
        read.set()
        assert (await asking).text == str(20 * len(PIECE))


def test_the_body_of_the_sync_one_waits_for_the_app() -> None:
    given: list[int] = []
    waits = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Read nothing until it may. (One of ours would keep what comes while it streams, up to a limit.)"""
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.to_thread(waits.wait)
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": b"%d" % size})

    def body() -> Iterator[bytes]:
        for number in range(20):
            given.append(number)
            yield PIECE

    with TestClient(app) as client, client.stream("POST", "/", content=body()) as response:
        answers = response.iter_text()
        assert next(answers) == "begun"
        begun = len(given)
        waits.set()
        assert next(answers) == str(20 * len(PIECE))
    assert begun <= WINDOW
    assert len(given) == 20


# Time


def test_an_app_that_says_nothing_is_a_timeout() -> None:
    async def app(request: HttpRequest) -> None:
        if request.path == "/half":
            await request.accept(200)
            await request.send("half")
        await request.sleep_while_connected(1000)

    with TestClient(app, timeout=0.01) as client:
        with pytest.raises(httpx2.ReadTimeout, match=r"The app sent nothing for 0\.01 s"):
            client.get("/")
        with pytest.raises(httpx2.ReadTimeout, match=r"The app sent nothing for 0\.01 s"):
            client.get("/half")


def test_an_app_that_does_not_end_after_its_response_is_a_timeout() -> None:
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.send("whole", more=False)
        await asyncio.sleep(0.05)

    with TestClient(app, timeout=0.01) as client:
        with pytest.raises(
            httpx2.ReadTimeout, match=r"The response is whole, but the app didn't end for 0\.01 s"
        ):
            client.get("/")
        assert client.get("/", timeout=None).text == "whole"


def test_a_sleep_goes_by_the_fake_clock() -> None:
    async def app(request: HttpRequest) -> str:
        return str(await request.sleep_while_connected(3600))

    with fake_clock() as clock, TestClient(app) as client:
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(client.get("/").text))
        asking.start()
        clock.wait_for_timers()
        clock.advance(3599)
        assert asking.is_alive()
        clock.advance(1)
        asking.join()
        assert answers == ["False"]


def test_an_idle_body_is_a_408_by_the_fake_clock() -> None:
    got = threading.Event()
    never = threading.Event()
    statuses: list[int] = []

    async def app(request: HttpRequest) -> str:
        async for _ in request.iter_body():
            got.set()
        return "whole"

    def idle() -> Iterator[bytes]:
        yield b"first"
        never.wait()

    with fake_clock() as clock, TestClient(app) as client:
        asking = threading.Thread(
            target=lambda: statuses.append(client.post("/", content=idle()).status_code)
        )
        asking.start()
        assert got.wait(5)
        clock.advance(30)
        asking.join(5)
        never.set()
    assert statuses == [408]


# Faults


async def test_stall_holds_the_app_up_until_the_client_leaves() -> None:
    sent: list[int] = []

    @to_asgi
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        try:
            while True:
                await request.send(b"a little")
                sent.append(1)
        except DisconnectedError:
            sent.append(-1)

    async with AsyncTestClient(app) as client, client.stream("GET", "/") as response:
        await anext(response.aiter_raw())
        client.stall()
        await settle()
        before = len(sent)
        await settle()
        assert len(sent) == before
    assert sent[-1] == -1


def outcome_app(outcomes: list[Any], begun: threading.Event) -> Any:
    """Return an app that waits where the path says, and what it hears there."""

    async def handler(request: HttpRequest) -> str:
        try:
            match request.parts:
                case ("body",):
                    async for _ in request.iter_body():
                        begun.set()
                case ("response",):
                    await request.accept(200)
                    begun.set()
                    while True:
                        await request.send(PIECE)
                case ("sleep",):
                    begun.set()
                    await request.sleep_while_connected(1000)
        except DisconnectedError as error:
            outcomes.append(type(error).__name__)
            raise
        return "whole"

    return to_asgi(handler, done=lambda *report: outcomes.append(report[4]))


@pytest.mark.parametrize("path", ["body", "response", "sleep"])
def test_disconnect_in_the_middle(path: str) -> None:
    outcomes: list[Any] = []
    begun = threading.Event()
    never = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"first"
        never.wait()

    with TestClient(outcome_app(outcomes, begun)) as client:

        def disconnect() -> None:
            begun.wait(5)
            client.disconnect()

        cut = threading.Thread(target=disconnect)
        cut.start()
        with pytest.raises(httpx2.RemoteProtocolError, match="the client left before the response"):
            client.request("POST", f"/{path}", content=body() if path == "body" else None)
        cut.join()
    never.set()
    assert outcomes == ["DisconnectedError", "disconnect"]


def test_disconnect_from_within_the_app() -> None:
    async def app(request: HttpRequest) -> str:
        client.disconnect()
        return "never seen"

    with TestClient(app) as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get("/")


def test_shutdown_ends_a_sleep_with_503() -> None:
    outcomes: list[Any] = []
    begun = threading.Event()
    with TestClient(outcome_app(outcomes, begun)) as client:

        def shut_down() -> None:
            begun.wait(5)
            client.shutdown()

        stop = threading.Thread(target=shut_down)
        stop.start()
        response = client.get("/sleep")
        stop.join()
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert client.get("/else").text == "whole", "it still serves"
    assert outcomes[:2] == ["ServerClosing", "shutdown"]


async def test_shutdown_ends_a_stream_that_may_say_goodbye() -> None:
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.send("hello")
        try:
            await request.sleep_while_connected(1000)
        except ServerClosing:
            await request.send("goodbye")

    async with AsyncTestClient(app) as client, client.stream("GET", "/") as response:
        answers = response.aiter_text()
        assert await anext(answers) == "hello"
        client.shutdown()
        assert await anext(answers) == "goodbye"


async def test_shutdown_breaks_a_stream_that_does_not_hear_of_it() -> None:
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.sleep_while_connected(1000)

    async with AsyncTestClient(app) as client, client.stream("GET", "/") as response:
        client.shutdown()
        with pytest.raises(httpx2.RemoteProtocolError):
            await response.aread()


async def test_after_the_end_the_loop_serves_anew() -> None:
    async def app(request: HttpRequest) -> str:
        await request.sleep_while_connected(0)
        return "slept"

    async with AsyncTestClient(app) as client:
        client.shutdown()
        assert (await client.get("/")).status_code == 503
    async with AsyncTestClient(app) as client:
        assert (await client.get("/")).text == "slept"

"""What a stream takes from events that can be resumed: `open`, `pending`, `.wire` and `.text`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    DisconnectedError,
    EventStream,
    HTTPError,
    HttpRequest,
    Limits,
    UsageError,
    WebsocketRequest,
    _shutdown,
    stats,
    to_asgi,
)
from asgineer._connection import CHUNKS_IN_A_ROW
from asgineer._interrupt import Guard
from asgineer._outflow import MAX_CHUNK

from .asgi import Http, Websocket
from .test_ticker import send_within
from .turns import advance, errors, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asgineer.testing._fakeclock import FakeClock


class Message:
    """A message that has made its bytes once."""

    def __init__(self, number: int, size: int = 1) -> None:
        self.wire = b"id: k.%d\ndata: %s\n\n" % (number, b"x" * size)
        self.text = json.dumps({"id": f"k.{number}", "data": "x" * size})


class Room:
    """Events with a place where they begin, that a test puts in by `publish`."""

    def __init__(self, start: str | Exception = "k.0") -> None:
        self.start = start
        self.there: list[Message] = []
        self.opened = self.closed = 0
        self.gate: asyncio.Event | None = None  # `open` waits for it
        self.takes = True  # `pending` gives what is ready
        self._waiter: asyncio.Future[None] | None = None

    def publish(self, *messages: Message) -> None:
        self.there += messages
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Room:
        return self

    async def open(self) -> str:
        self.opened += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.start, Exception):
            raise self.start
        return self.start

    async def __anext__(self) -> Message:
        while not self.there:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.there.pop(0)

    def pending(self) -> list[Message]:
        taken, self.there = (self.there, []) if self.takes else ([], self.there)
        return taken

    async def aclose(self) -> None:
        self.closed += 1


def app_of(room: Any, *, limits: Limits | None = None, **options: Any) -> Any:
    async def handler(request: HttpRequest) -> Any:
        return EventStream(room, **options)

    return to_asgi(handler, limits=limits or Limits())


async def started(app: Any, count: int = 2) -> Http:
    exchange = Http(app)
    exchange.start()
    await exchange.until(lambda: len(exchange.sent) >= count)
    return exchange


async def left(exchange: Http | Websocket) -> None:
    exchange.leave()
    await exchange.finish()


# Where it begins


async def test_the_place_where_it_begins_goes_out_first() -> None:
    room = Room("k.17")
    exchange = await started(app_of(room))
    assert (exchange.status, exchange.chunks) == (200, [b"id: k.17\n\n"])
    await left(exchange)
    assert (room.opened, room.closed) == (1, 1)


async def test_the_place_comes_after_the_time_to_reconnect() -> None:
    exchange = await started(app_of(Room(), retry=1500))
    assert exchange.chunks == [b"retry: 1500\n\nid: k.0\n\n"]
    await left(exchange)


async def test_nothing_goes_out_before_the_place_is_known() -> None:
    room = Room()
    room.gate = asyncio.Event()
    exchange = Http(app_of(room))
    exchange.start()
    await settle()
    assert exchange.sent == []
    room.gate.set()
    await exchange.until(lambda: exchange.sent)
    await left(exchange)


@pytest.mark.parametrize("start", ["now", "first"])
async def test_an_error_at_the_beginning_is_the_status(start: str) -> None:
    room = Room(HTTPError(503, headers={"retry-after": "1"}))
    exchange = Http(app_of(room, start=start))
    exchange.start()
    await exchange.finish()
    assert (exchange.status, exchange.headers["retry-after"], room.closed) == (503, "1", 1)


@pytest.mark.parametrize("end", ["leave", "notice"])
async def test_who_leaves_before_it_began(end: str) -> None:
    room = Room()
    room.gate = asyncio.Event()
    exchange = Http(app_of(room))
    exchange.start()
    await settle()
    if end == "leave":
        exchange.leave()
    else:
        _shutdown.notice().begin()
    await exchange.finish()
    assert room.closed == 1
    assert [message.get("status") for message in exchange.sent[:1]] == ([] if end == "leave" else [503])


async def test_the_place_and_the_first_event() -> None:
    room = Room()
    room.there = [Message(1), Message(2)]
    exchange = await started(app_of(room, start="first"), 4)
    assert exchange.chunks == [b"id: k.0\n\n", Message(1).wire, Message(2).wire]
    await left(exchange)


async def test_a_head_request_opens_nothing() -> None:
    room = Room()
    exchange = Http(app_of(room), method="HEAD")
    exchange.start()
    await exchange.finish()
    assert (exchange.status, exchange.body, room.opened, room.closed) == (200, b"", 0, 1)


# What is ready goes out together


async def test_what_is_ready_goes_out_as_one_chunk() -> None:
    room = Room()
    exchange = await started(app_of(room))
    room.publish(*map(Message, range(1, 11)))
    await exchange.until(lambda: len(exchange.sent) > 2)
    assert exchange.chunks[1:] == [b"".join(Message(number).wire for number in range(1, 11))]
    room.publish(Message(11))
    await exchange.until(lambda: len(exchange.sent) > 3)
    assert exchange.chunks[2:] == [Message(11).wire]
    await left(exchange)


async def test_chunks_are_bounded() -> None:
    messages = [Message(number, 1000) for number in range(1, 200)]
    room = Room()
    exchange = await started(app_of(room))
    room.publish(*messages)
    whole = b"".join(message.wire for message in messages)
    await exchange.until(lambda: len(exchange.body) >= len(whole))
    chunks = exchange.chunks[1:]
    assert b"".join(chunks) == whole
    assert len(chunks) == len(whole) // MAX_CHUNK + 1
    assert max(map(len, chunks)) <= MAX_CHUNK
    await left(exchange)


async def test_one_that_is_over_the_bound_goes_out_alone() -> None:
    room = Room()
    exchange = await started(app_of(room))
    messages = [Message(1), Message(2, 2 * MAX_CHUNK), Message(3)]
    room.publish(*messages)
    await exchange.until(lambda: len(exchange.chunks) == 4)
    assert exchange.chunks[1:] == [message.wire for message in messages]
    await left(exchange)


async def test_items_that_have_made_nothing_are_encoded() -> None:
    room = Room()
    room.there = ["a", {"b": 1}]  # type: ignore[list-item]
    exchange = await started(app_of(room), 3)
    assert exchange.chunks[1:] == [b'data: a\n\ndata: {"b":1}\n\n']
    await left(exchange)


async def test_pending_that_fails_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    class Flawed(Room):
        def pending(self) -> list[Message]:
            raise KeyError("x")

    room = Flawed()
    room.there = [Message(1)]
    exchange = Http(app_of(room))
    exchange.start()
    await exchange.finish()
    assert not exchange.complete
    assert room.closed == 1
    assert len(errors(caplog)) == 1


async def test_the_notice_ends_it_with_a_time_to_come_back() -> None:
    room = Room()
    exchange = await started(app_of(room))
    _shutdown.notice().begin()
    await exchange.finish()
    assert exchange.complete
    assert exchange.chunks[-2].startswith(b"retry: ")
    assert room.closed == 1


class Hall(Room):
    """A room that is waited for by a future, while there is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def ready(self) -> asyncio.Future[None] | None:
        self.asked += 1
        if self.there:
            return None
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter


async def test_a_future_is_waited_for_in_the_place_of_the_iteration() -> None:
    room = Hall()
    exchange = await started(app_of(room))
    await settle()
    room.publish()  # it wakes for nothing
    await settle()
    assert (room.asked, len(exchange.sent)) == (2, 2)
    room.publish(Message(1), Message(2))
    await exchange.until(lambda: len(exchange.sent) > 2)
    await settle()
    assert exchange.chunks[1:] == [Message(1).wire + Message(2).wire]
    await left(exchange)
    assert room.closed == 1


async def test_without_a_future_the_iteration_tells() -> None:
    room = Hall()
    room.there = [Message(1), Message(2)]
    exchange = await started(app_of(room), 3)
    assert exchange.chunks[1:] == [Message(1).wire + Message(2).wire]
    await left(exchange)


@pytest.mark.parametrize("kind", ["events", "pieces"])
async def test_a_server_that_says_in_send_that_the_client_is_gone(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As ASGI 2.4 asks of it: nothing is an error, and nobody was told before."""
    closed: list[bool] = []

    async def items() -> AsyncIterator[str]:
        try:
            yield "first"
            exchange.left = True  # the server knows it, and has told nobody
            yield "second"
            yield "third"
        finally:
            closed.append(True)

    async def handler(request: HttpRequest) -> Any:
        return EventStream(items()) if kind == "events" else items()

    before = stats().disconnects
    exchange = Http(to_asgi(handler), lost=True)
    exchange.start()
    await exchange.finish()
    assert closed == [True]
    assert b"second" not in exchange.body
    assert stats().disconnects == before + 1
    assert errors(caplog) == []


async def test_an_os_error_of_the_events_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def items() -> AsyncIterator[str]:
        yield "first"
        raise FileNotFoundError("no such file")

    exchange = Http(app_of(items()))
    exchange.start()
    await exchange.finish()
    assert not exchange.complete
    (text,) = errors(caplog)
    assert "FileNotFoundError" in text


# Others get a turn


async def test_a_busy_stream_lets_others_run() -> None:
    sent_at: list[int] = []

    class Instant(Http):
        async def send(self, message: Any) -> None:
            self.sent.append(message)
            self._moved.notify()

    async def numbers() -> AsyncIterator[int]:
        for number in range(1000):
            yield number

    async def watch() -> None:
        while not exchange.complete:
            sent_at.append(len(exchange.sent))
            await asyncio.sleep(0)

    exchange = Instant(app_of(numbers()))
    exchange.start()
    await watch()
    await exchange.finish()
    steps = [after - before for before, after in zip(sent_at, sent_at[1:], strict=False)]
    assert max(steps) <= 2 * CHUNKS_IN_A_ROW + 2


async def test_a_stream_that_waits_is_not_made_to_wait_more() -> None:
    """An event costs one turn of the loop, however many came before it."""
    room = Room()
    room.takes = False
    exchange = await started(app_of(room))
    turns = []
    for number in range(1, 10 * CHUNKS_IN_A_ROW):
        room.publish(Message(number))
        turns.append(0)
        while len(exchange.sent) < number + 2:
            await asyncio.sleep(0)
            turns[-1] += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(set(turns)) == 1
    await left(exchange)


# A client that takes nothing


class Stalled(Http):
    """Its client takes nothing from the `after`th message on."""

    after = 2

    async def send(self, message: Any) -> None:
        await super().send(message)
        if len(self.sent) > self.after:
            await asyncio.Event().wait()


@pytest.mark.parametrize("ping", [None, 15], ids=["event", "ping-and-event"])
async def test_a_client_that_takes_nothing_is_left_in_time(ping: int | None, clock: FakeClock) -> None:
    before = stats()
    room = Room()
    exchange = Stalled(app_of(room, ping=ping, limits=Limits(send=5)))
    exchange.start()
    await advance(clock, 100)  # silence doesn't count
    await advance(clock, 1)
    room.publish(Message(1))
    for _ in range(5):
        await advance(clock, 1)
        assert room.closed == 0
    await advance(clock, 1)
    await advance(clock, 1)
    await exchange.finish()
    assert (room.closed, exchange.complete) == (1, False)
    assert stats().send_timeouts == before.send_timeouts + 1


async def test_without_a_limit_it_waits(clock: FakeClock) -> None:
    room = Room()
    exchange = Stalled(app_of(room, limits=Limits(send=None)))
    exchange.start()
    await settle()
    room.publish(Message(1))
    for _ in range(5):
        await advance(clock, 100)
    assert room.closed == 0
    exchange.task.cancel()
    await asyncio.wait([exchange.task])
    assert room.closed == 1


async def test_a_client_that_takes_nothing_of_what_a_handler_sends(clock: FakeClock) -> None:
    ended: list[str] = []

    async def handler(request: HttpRequest) -> None:
        await request.accept(200, {})
        try:
            while True:
                await request.send("x")
        except DisconnectedError as error:
            ended.append(type(error).__name__)
            raise

    exchange = Stalled(to_asgi(handler, limits=Limits(send=5)))
    exchange.start()
    for _ in range(8):
        await advance(clock, 1)
    await exchange.finish()
    assert ended == ["SlowClient"]


async def test_a_client_that_takes_nothing_of_a_plain_stream(clock: FakeClock) -> None:
    closed: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async def handler(request: HttpRequest) -> Any:
        return pieces()

    exchange = Stalled(to_asgi(handler, limits=Limits(send=5)))
    exchange.start()
    for _ in range(8):
        await advance(clock, 1)
    await exchange.finish()
    assert closed == [True]
    assert not exchange.complete


async def test_the_silence_of_a_plain_stream_does_not_count(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        await gate.wait()
        yield b""  # nothing goes out by it, so the ticker sees no change
        yield b"y"

    async def handler(request: HttpRequest) -> Any:
        return pieces()

    exchange = Stalled(to_asgi(handler, limits=Limits(send=5)))
    exchange.start()
    for _ in range(20):
        await advance(clock, 1)
    gate.set()
    for _ in range(4):
        await advance(clock, 1)
        assert not exchange.task.done()
    for _ in range(4):
        await advance(clock, 1)
    await exchange.finish()
    assert not exchange.complete


async def test_a_generator_that_swallowed_the_notice_and_whose_goodbye_stalls(clock: FakeClock) -> None:
    """Both cancellations of ours are taken back: the end is a client that took nothing, no cancellation."""

    async def events() -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "goodbye"

    exchange = Stalled(app_of(events(), limits=Limits(send=5)))
    exchange.start()
    await settle()
    _shutdown.notice().begin()
    for _ in range(8):
        await advance(clock, 1)
    await exchange.finish()
    assert exchange.task.cancelling() == 0
    assert not exchange.complete


# A request body that nobody reads

PIECE = bytes(50_000)


async def fed(exchange: Http, count: int) -> None:
    for _ in range(count):
        exchange.feed(PIECE)
        await asyncio.sleep(0)
    await settle()


@pytest.mark.parametrize("count", [1, 10, 100], ids=["piece", "some", "too-much"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "during"])
async def test_a_client_with_a_body_that_nobody_reads_leaves(count: int, before: bool) -> None:
    room = Room()
    exchange = Http(app_of(room), "/", "POST", rest=True)
    if before:
        await fed(exchange, count)
    exchange.start()
    await exchange.until(lambda: len(exchange.sent) >= 2)
    await fed(exchange, 0 if before else count)
    exchange.leave()
    await exchange.finish()
    assert room.closed == 1


@pytest.mark.parametrize(
    ("count", "limit", "whole"),
    [(10, 2**20, True), (21, 2**20, False), (10, 400_000, False), (50, None, True)],
)
async def test_a_body_that_is_read_after_the_response_began(
    count: int, limit: int | None, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()

    async def handler(request: HttpRequest) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await gate.wait()
            async for piece in request.iter_body():
                yield piece

        return pieces()

    exchange = Http(to_asgi(handler, limits=Limits(pending=limit)), "/", "POST", rest=True)
    exchange.start()
    await exchange.until(lambda: len(exchange.sent) >= 2)
    await fed(exchange, count)
    gate.set()
    await settle()
    exchange.feed(b"end", more=False)
    await exchange.finish()
    if whole:
        assert exchange.body == b"first" + PIECE * count + b"end"
        assert exchange.complete
    else:
        assert not exchange.complete
        (text,) = errors(caplog)
        assert "Request body was already dropped" in text


async def test_a_body_in_tiny_pieces_takes_no_more() -> None:
    seen: list[HttpRequest] = []

    async def handler(request: HttpRequest) -> Any:
        seen.append(request)
        return EventStream(Room())

    exchange = Http(to_asgi(handler), "/", "POST", rest=True)
    exchange.start()
    await exchange.until(lambda: len(exchange.sent) >= 2)
    for _ in range(5000):
        exchange.feed(b"x")
    await settle()
    for _ in range(5000):
        await asyncio.sleep(0)
    with pytest.raises(UsageError, match="dropped"):
        await seen[0].get_body()
    await left(exchange)


async def test_a_piece_that_comes_as_its_read_is_cancelled_is_kept() -> None:
    """The listener hands it over in the very turn in which the reader is cancelled."""
    pieces: list[bytes] = []

    async def handler(request: HttpRequest) -> str:
        await request.sleep_while_connected(0)  # so that there is a listener
        reader = asyncio.ensure_future(anext(request._iter_limited(None)))
        await settle()
        exchange.feed(b"1")
        for _ in range(50):  # turns
            if request._reader is None or request._reader.done():
                break
            await asyncio.sleep(0)
        assert reader.cancel()
        await asyncio.wait([reader])
        assert reader.cancelled()
        exchange.feed(b"2", more=False)
        await settle()
        while not pieces or pieces[-1] != b"2":
            pieces.append((await request._next_message())["body"])
        return "read"

    exchange = Http(to_asgi(handler), "/", "POST", rest=True)
    exchange.start()
    await exchange.finish()
    assert (pieces, exchange.text) == ([b"1", b"2"], "read")


# Over a websocket


def socket_of(room: Any, work: Any = None) -> Websocket:
    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        async with request.sending(room):
            if work is not None:
                await work()
            async for _ in request.receive_iter():
                pass

    return Websocket(to_asgi(handler))


async def test_a_websocket_gets_the_place_and_the_texts() -> None:
    room = Room("k.17")
    socket = socket_of(room)
    socket.start()
    await socket.until(lambda: socket.messages)
    room.publish(Message(18), Message(19))
    await socket.until(lambda: len(socket.messages) == 3)
    assert socket.messages == ['{"id":"k.17"}', Message(18).text, Message(19).text]
    await left(socket)
    assert room.closed == 1


async def test_the_place_is_known_when_the_block_begins() -> None:
    room = Room()
    seen: list[Any] = []

    async def work() -> None:
        seen.append((room.opened, list(socket.messages)))

    socket = socket_of(room, work)
    socket.start()
    await socket.until(lambda: socket.messages)
    await left(socket)
    assert seen == [(1, ['{"id":"k.0"}'])]


async def test_an_error_at_the_beginning_closes_the_websocket(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(KeyError("x"))
    socket = socket_of(room)
    socket.start()
    await socket.finish()
    assert (socket.close_code, socket.messages, room.closed) == (1011, [], 1)
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("end", ["leave", "notice"])
async def test_a_websocket_that_ends_before_it_began(end: str) -> None:
    room = Room()
    room.gate = asyncio.Event()
    socket = socket_of(room)
    socket.start()
    await settle()
    assert room.opened == 1
    if end == "leave":
        socket.leave()
    else:
        _shutdown.notice().begin()
    await socket.finish()
    assert (room.closed, socket.close_code) == (1, None if end == "leave" else 1012)


async def test_the_texts_of_ordinary_items_are_their_own() -> None:
    room = Room()
    room.there = ["a", {"b": 1}]  # type: ignore[list-item]
    socket = socket_of(room)
    socket.start()
    await socket.until(lambda: len(socket.messages) == 3)
    assert socket.messages[1:] == ["a", '{"b":1}']
    await left(socket)


# What it stands on


async def test_a_guard_without_a_task_interrupts_nothing() -> None:
    guards: list[Guard] = []

    def callback() -> None:
        guards.append(Guard())
        guards[0].interrupt()

    asyncio.get_running_loop().call_soon(callback)
    await settle()
    assert guards[0].error is None


async def test_a_send_that_is_an_iterator_and_takes_no_exception() -> None:
    """As granian's: nothing can be thrown into it, so a cancellation is raised where it is awaited."""

    class Sending:
        def __init__(self) -> None:
            self.future = asyncio.get_running_loop().create_future()

        def __await__(self) -> Any:
            return iter(self.future.__await__().__next__, None)

    sending = asyncio.ensure_future(send_within(None, Sending(), lambda: None))
    await settle()
    assert not sending.done()
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()


async def test_a_stream_for_a_client_that_has_left_is_not_waited_for() -> None:
    closed: list[bool] = []

    async def handler(request: HttpRequest) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                await asyncio.Event().wait()
                yield b"never"
            finally:
                closed.append(True)

        with pytest.raises(DisconnectedError):
            await request.sleep_while_connected(60)
        return {}, pieces()

    http = Http(to_asgi(handler))
    http.start()
    await settle()
    http.leave()
    await http.finish()
    assert closed == [True]
    assert http.sent == []

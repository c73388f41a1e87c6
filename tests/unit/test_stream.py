"""EventStream: what goes out when, and that its events are closed on every way out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    Event,
    EventStream,
    HTTPError,
    HttpRequest,
    Limits,
    ServerClosing,
    _shutdown,
    stats,
    to_asgi,
)
from asgineer._stream import DEFAULT_PING, RECONNECT
from asgineer._ticker import TICK
from asgineer.testing import AsyncTestClient

from .asgi import Http, converse
from .asking import ask
from .turns import advance, errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from asgineer.testing._fakeclock import FakeClock

GOODBYE = re.compile(rb"retry: (\d+)\n\n")


class Events:
    """An iterator of events that a test hands out one by one, and that tells how it ended."""

    def __init__(self, *items: Any, then: str = "wait") -> None:
        self.items = list(items)
        self.then = then
        self.closed = 0
        self.cancelled = 0

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Any:
        if self.items:
            item = self.items.pop(0)
            if isinstance(item, BaseException):
                raise item
            return item
        if self.then == "end":
            raise StopAsyncIteration
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def aclose(self) -> None:
        self.closed += 1
        await asyncio.sleep(0)


def app_of(events: Any, *, limits: Limits | None = None, result: Any = None, **options: Any) -> Any:
    async def handler(request: HttpRequest) -> Any:
        stream = EventStream(events, **options)
        return (*result, stream) if result else stream

    return to_asgi(handler, limits=limits or Limits())


async def started(app: Any, count: int = 2, **options: Any) -> Http:
    """Return an exchange that runs, with `count` messages sent."""
    exchange = Http.begin(app, **options)
    await exchange.until(lambda: len(exchange.sent) >= count)
    return exchange


# What goes out


def test_a_whole_stream() -> None:
    events = Events("a", {"b": 1}, b"c", Event("d", id="4"), then="end")
    exchange = run(converse(app_of(events)))
    assert exchange.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    assert exchange.chunks == [
        b":\n\n",
        b"data: a\n\n",
        b'data: {"b":1}\n\n',
        b"data: c\n\n",
        b"id: 4\ndata: d\n\n",
        b"",
    ]
    assert events.closed == 1


def test_status_and_headers_of_the_handler_stand() -> None:
    headers = {"Cache-Control": "private", "x-mark": "1"}
    exchange = ask(app_of(Events(then="end"), result=(202, headers)))
    assert exchange.status_code == 202
    assert exchange.headers == {
        "content-type": "text/event-stream",
        "cache-control": "private",
        "x-accel-buffering": "no",
        "x-mark": "1",
    }


async def test_head_and_opening_go_out_before_any_event() -> None:
    events = Events()
    exchange = await started(app_of(events, retry=1500))
    assert (exchange.status, exchange.body) == (200, b"retry: 1500\n\n")
    exchange.leave()
    await exchange.finish()
    assert (events.closed, events.cancelled) == (1, 1)


def test_what_a_resumable_stream_says_first() -> None:
    class Resumable(Events):
        async def open(self) -> str:
            return "k.1"

    assert run(converse(app_of(Resumable("x", then="end")))).chunks[:2] == [b"id: k.1\n\n", b"data: x\n\n"]
    opening = run(converse(app_of(Resumable(then="end"), retry=1500))).chunks[0]
    assert opening == b"retry: 1500\n\nid: k.1\n\n"


def test_an_async_iterable_that_is_no_iterator() -> None:
    class Room:
        def __aiter__(self) -> Events:
            return events

    events = Events("a", then="end")
    assert run(converse(app_of(Room()))).chunks[1:] == [b"data: a\n\n", b""]
    assert events.closed == 1


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ([["a"]], {}, TypeError),
        ([42], {}, TypeError),
        ([Events], {}, TypeError),
        ([Events()], {"start": "later"}, ValueError),
        ([Events()], {"ping": 0}, ValueError),
        ([Events()], {"ping": -1}, ValueError),
        ([Events()], {"ping": float("nan")}, ValueError),
        ([Events()], {"retry": -1}, ValueError),
        ([Events()], {"retry": "1"}, ValueError),
    ],
)
def test_arguments_are_checked_at_once(arguments: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventStream(*arguments, **options)


def test_head_request_opens_nothing() -> None:
    ran: list[str] = []

    async def events() -> AsyncIterator[str]:
        ran.append("began")
        yield "x"

    stream = events()
    exchange = ask(app_of(stream), method="HEAD")
    assert (exchange.status_code, exchange.content) == (200, b"")
    assert exchange.headers["content-type"] == "text/event-stream"
    assert ran == []
    with pytest.raises(StopAsyncIteration):
        run(_next(stream))


async def _next(stream: Any) -> Any:
    return await anext(stream)


# start="first"


@pytest.mark.parametrize("first", [{}, None, "", "x"])
async def test_start_with_the_first_event(first: Any) -> None:
    gate = asyncio.Event()

    async def events() -> AsyncIterator[Any]:
        await gate.wait()
        yield first
        yield "second"

    exchange = Http.begin(app_of(events(), start="first"))
    await settle()
    assert exchange.sent == []
    gate.set()
    await exchange.finish()
    assert exchange.chunks[-2:] == [b"data: second\n\n", b""]


def test_an_http_error_before_the_first_event_is_the_status() -> None:
    events = Events(HTTPError(429, headers={"retry-after": "7"}))
    exchange = ask(app_of(events, start="first"))
    assert (exchange.status_code, exchange.headers["retry-after"]) == (429, "7")
    assert events.closed == 1


def test_an_error_before_the_first_event_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    exchange = ask(app_of(Events(KeyError("x")), start="first"))
    assert exchange.status_code == 500
    assert len(errors(caplog)) == 1


def test_a_stream_without_any_event_that_waits_for_its_first(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(then="end")
    exchange = run(converse(app_of(events, start="first")))
    assert (exchange.status, exchange.chunks, events.closed) == (200, [b":\n\n", b""], 1)
    assert errors(caplog) == []


async def test_a_client_that_leaves_before_the_first_event() -> None:
    events = Events()
    exchange = Http.begin(app_of(events, start="first"))
    await settle()
    exchange.leave()
    await exchange.finish()
    assert (exchange.sent, events.closed, events.cancelled) == ([], 1, 1)


async def test_a_server_that_stops_before_the_first_event() -> None:
    events = Events()
    exchange = Http.begin(app_of(events, start="first"))
    await settle()
    _shutdown.notice().begin()
    await exchange.finish()
    assert (exchange.status, events.closed) == (503, 1)


# How it ends


@pytest.mark.parametrize("lost", [False, True])
async def test_a_client_that_leaves(lost: bool, caplog: pytest.LogCaptureFixture) -> None:
    events = Events("a")
    exchange = await started(app_of(events), 3, lost=lost)
    exchange.leave()
    await exchange.finish()
    assert (events.closed, events.cancelled) == (1, 1)
    assert not exchange.complete
    assert errors(caplog) == []


async def test_a_client_that_has_left_before() -> None:
    events = Events()
    exchange = Http(app_of(events))
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert events.closed == 1
    assert not exchange.complete


async def test_a_client_that_leaves_a_busy_stream() -> None:
    closed: list[bool] = []

    async def events() -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            closed.append(True)

    exchange = await started(app_of(events()), 100)
    exchange.leave()
    await exchange.finish()
    assert closed == [True]


def test_the_notice_ends_it_with_a_time_to_come_back() -> None:
    async def main() -> set[int]:
        app = app_of(Events())
        exchanges = [await started(app_of(Events())) for _ in range(20)]
        _shutdown.notice().begin()
        exchanges.append(Http(app))  # one that comes later
        exchanges[-1].start()
        waits = set()
        for exchange in exchanges:
            await exchange.finish()
            assert exchange.complete
            told = GOODBYE.fullmatch(exchange.chunks[-2])
            assert told is not None, exchange.chunks
            waits.add(int(told[1]))
        return waits

    waits = run(main())
    assert len(waits) > 5, "each client has a moment of its own"
    assert RECONNECT[0] <= min(waits) <= max(waits) <= RECONNECT[1]


async def test_the_notice_cancels_where_a_generator_waits_and_may_be_answered() -> None:
    notes: list[str] = []

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield "goodbye"
                notes.append("went on")
        finally:
            notes.append("closed")

    exchange = await started(app_of(events()), 3)
    task = exchange.task
    assert task is not None
    await settle()
    _shutdown.notice().begin()
    await exchange.finish()
    assert exchange.chunks[2] == b"data: goodbye\n\n"
    assert GOODBYE.fullmatch(exchange.chunks[3])
    assert notes == ["closed"]
    assert task.cancelling() == 0


async def test_a_stream_that_raises_server_closing_by_itself() -> None:
    exchange = await converse(app_of(Events("a", ServerClosing())))
    assert exchange.complete
    assert GOODBYE.fullmatch(exchange.chunks[-2])


async def test_a_cancellation_by_the_server_stays_one() -> None:
    events = Events()
    exchange = await started(app_of(events))
    exchange.task.cancel()
    await asyncio.wait([exchange.task])
    assert exchange.task.cancelled()
    assert events.closed == 1


@pytest.mark.parametrize("start", ["now", "first"])
def test_an_error_later_aborts(start: str, caplog: pytest.LogCaptureFixture) -> None:
    events = Events("a", KeyError("x"))
    exchange = run(converse(app_of(events, start=start)))
    assert not exchange.complete
    assert (exchange.chunks[-1], events.closed) == (b"data: a\n\n", 1)
    assert exchange.error is not None
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("flaw", [Event, object(), "\ud800"])
def test_an_event_that_has_no_text(flaw: Any, caplog: pytest.LogCaptureFixture) -> None:
    events = Events(flaw)
    exchange = run(converse(app_of(events)))
    assert not exchange.complete
    assert events.closed == 1
    assert len(errors(caplog)) == 1


def test_on_error_speaks_before_the_abort(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Exception] = []

    def on_error(error: Exception) -> Event:
        seen.append(error)
        return Event("sorry", event="error")

    failure = KeyError("x")
    exchange = run(converse(app_of(Events("a", failure), on_error=on_error)))
    assert seen == [failure]
    assert exchange.chunks[-1] == b"event: error\ndata: sorry\n\n"
    assert not exchange.complete
    assert len(errors(caplog)) == 1


def test_on_error_that_has_nothing_to_say() -> None:
    exchange = run(converse(app_of(Events(KeyError("x")), on_error=lambda error: None)))
    assert exchange.chunks == [b":\n\n"]


def test_on_error_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def on_error(error: Exception) -> Event:
        raise ValueError("in on_error")

    exchange = run(converse(app_of(Events(KeyError("first")), on_error=on_error)))
    assert not exchange.complete
    (text,) = errors(caplog)
    assert "in on_error" in text


async def test_on_error_to_a_client_that_left(caplog: pytest.LogCaptureFixture) -> None:
    exchange: Http

    async def events() -> AsyncIterator[str]:
        yield "a"
        exchange.leave()
        raise KeyError("x")

    exchange = Http.begin(app_of(events(), on_error=lambda error: Event("sorry")), lost=True)
    await exchange.finish()
    assert exchange.chunks[-1] == b"data: a\n\n"
    assert len(errors(caplog)) == 1


async def test_a_disconnect_is_not_told_to_on_error() -> None:
    seen: list[Exception] = []
    exchange = await started(app_of(Events(), on_error=seen.append))
    exchange.leave()
    await exchange.finish()
    assert seen == []


async def test_cleanup_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise KeyError("in cleanup")

    exchange = await started(app_of(events()), 3)
    exchange.leave()
    await exchange.finish()
    gc.collect()
    assert len(errors(caplog)) == 1


# Pings


def pings(exchange: Http) -> int:
    return exchange.chunks[1:].count(b":\n\n")


async def test_a_ping_after_a_time_of_silence(clock: FakeClock) -> None:
    exchange = await started(app_of(Events()))
    await advance(clock, DEFAULT_PING - TICK)
    assert pings(exchange) == 0
    for number in range(1, 4):
        await advance(clock, DEFAULT_PING + TICK)
        assert pings(exchange) == number
    exchange.leave()
    await exchange.finish()
    await advance(clock, DEFAULT_PING * 2)
    assert clock.waiting == 0, "the ticker has stopped"
    assert pings(exchange) == 3


async def test_no_ping_where_events_come(clock: FakeClock) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def events() -> AsyncIterator[str]:
        while True:
            yield await queue.get()

    exchange = await started(app_of(events(), ping=5))
    for _ in range(10):
        await advance(clock, 3)
        queue.put_nowait("x")
    assert pings(exchange) == 0
    exchange.leave()
    await exchange.finish()


async def test_no_ping_if_none_is_wanted(clock: FakeClock) -> None:
    exchange = await started(app_of(Events(), ping=None))
    await advance(clock, 1000)
    await advance(clock, 1000)
    assert pings(exchange) == 0
    exchange.leave()
    await exchange.finish()


class Stalled(Http):
    """Its client takes nothing from the `after`th body message on."""

    after = 1

    async def send(self, message: Any) -> None:
        await super().send(message)
        if len(self.sent) > 1 + self.after:
            await asyncio.Event().wait()


async def test_no_ping_during_a_send(clock: FakeClock) -> None:
    exchange = Stalled(app_of(Events("x"), ping=2))
    exchange.start()
    for _ in range(6):
        await advance(clock, 3)
    assert pings(exchange) == 0
    exchange.leave()
    await advance(clock, 40)
    await exchange.finish()


class Recording(Http):
    """Keeps what it is sent too late as well, which the in-process server refuses."""

    late = 0

    async def send(self, message: Any) -> None:
        self.late += self.complete
        await super().send(message)


@pytest.mark.parametrize("end", ["end", "leave", "notice"])
async def test_no_ping_after_the_end(end: str, clock: FakeClock) -> None:
    """The end and the ping in one turn of the loop: the server's `send` refuses what comes after the end."""
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def events() -> AsyncIterator[str]:
        yield "x"
        await gate

    exchange = Recording(app_of(events(), ping=2))
    exchange.start()
    await settle()
    clock.advance(3)
    if end == "end":
        gate.set_result(None)
    elif end == "leave":
        exchange.leave()
    else:
        _shutdown.notice().begin()
    await exchange.finish()
    await settle()
    gc.collect()
    assert exchange.complete is (end != "leave")
    assert exchange.late == 0


async def test_a_ping_whose_client_takes_nothing_ends_the_stream(clock: FakeClock) -> None:
    events = Events()
    before = stats()
    exchange = Stalled(app_of(events, ping=2, limits=Limits(send=2)))
    exchange.start()
    for _ in range(4):
        await advance(clock, 2)
    await exchange.finish()
    assert (events.closed, events.cancelled) == (1, 1)
    assert stats().send_timeouts == before.send_timeouts + 1


async def test_a_ping_that_fails_ends_the_stream(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Http):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if len(self.sent) > 2:
                raise RuntimeError("the server broke")

    events = Events()
    exchange = Broken(app_of(events, ping=2))
    exchange.start()
    await settle()
    await advance(clock, 3)
    await exchange.finish()
    assert events.closed == 1
    gc.collect()
    (text,) = errors(caplog)
    assert "the server broke" in text


# A client that does not read


async def test_a_stalled_client_is_left_and_others_are_not_affected(clock: FakeClock) -> None:
    slow, healthy = Events("x"), Events("x")
    stalled = Stalled(app_of(slow, limits=Limits(send=5)))
    stalled.start()
    other = await started(app_of(healthy, limits=Limits(send=5)), 3)
    await advance(clock, 4)
    assert slow.closed == 0
    await advance(clock, 4)
    await stalled.finish()
    assert slow.closed == 1
    assert not stalled.complete
    assert healthy.closed == 0
    other.leave()
    await other.finish()


async def test_a_stalled_client_of_the_test_client(clock: FakeClock) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            closed.set()

    app = app_of(events(), limits=Limits(send=5))
    async with AsyncTestClient(app) as client, client.stream("GET", "/") as response:
        assert response.status_code == 200
        await settle()
        await advance(clock, 5)
        await advance(clock, 5)
        await closed.wait()


# Cancelled at any await


@contextlib.contextmanager
def loop_errors() -> Iterator[list[Any]]:
    """Collect what the event loop complains of, such as exceptions that were never retrieved."""
    found: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: found.append(context))
    try:
        yield found
    finally:
        gc.collect()
        loop.set_exception_handler(None)


async def cancel_at(step: int, exchange: Any) -> bool:
    """Start `exchange` and cancel its task after `step` turns of the loop; say whether it still ran."""
    exchange.start()
    for _ in range(step):
        await asyncio.sleep(0)
    running = not exchange.task.done()
    exchange.task.cancel()
    await asyncio.wait([exchange.task])
    if running:
        assert exchange.task.cancelled(), "the cancellation was swallowed"
    return running


def _short_stream() -> tuple[Any, Callable[[], bool]]:
    events = Events("a", "b", then="end")
    return app_of(events), lambda: events.closed == 1 or len(events.items) == 2


def _waiting_stream() -> tuple[Any, Callable[[], bool]]:
    events = Events("a")
    return app_of(events, start="first"), lambda: events.closed == 1 or len(events.items) == 1


@pytest.mark.parametrize("make", [_short_stream, _waiting_stream])
def test_cancelled_at_any_step(make: Any) -> None:
    async def main() -> int:
        with loop_errors() as complaints:
            for step in range(200):
                app, is_clean = make()
                running = await cancel_at(step, Http(app))
                await settle()
                assert is_clean(), f"not closed when cancelled at step {step}"
                if not running or step > 60:
                    break
        assert complaints == []
        return step

    assert run(main()) > 5

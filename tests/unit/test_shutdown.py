"""The notice that the server begins to stop: who is told, what it comes to, which signals give it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import DisconnectedError, HttpRequest, ServerClosing, WebsocketRequest, to_asgi
from asgineer._shutdown import AT_ONCE, SIGNALS, chain_signals, forget, notice, unless_closing

from .asgi import Http, Websocket
from .turns import errors, run, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def test_the_notice_is_given_once_to_everybody() -> None:
    told: list[str] = []

    def a() -> None:
        told.append("a")
        notice().discard(b)
        notice().begin()

    def b() -> None:
        told.append("b")

    notice().add(a)
    notice().add(b)
    notice().add(b)
    notice().discard(b)
    notice().discard(b)
    assert not notice().begun
    notice().begin()
    notice().begin()
    assert notice().begun
    assert told == ["a"]


def test_one_notice_for_each_loop() -> None:
    async def begin() -> None:
        assert not notice().begun
        notice().begin()
        assert notice() is notice()
        assert notice().begun

    run(begin())
    run(begin())


async def test_forget() -> None:
    forget()
    notice().begin()
    forget()
    assert not notice().begun


# unless_closing


async def test_a_wait_that_ends_by_itself() -> None:
    async def wait() -> str:
        await settle()
        return "done"

    assert await unless_closing(wait) == "done"


async def test_a_wait_that_fails() -> None:
    async def wait() -> str:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await unless_closing(wait)


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_wait_is_ended_by_the_notice() -> None:
    task = asyncio.ensure_future(unless_closing(_for_ever))
    await settle()
    notice().begin()
    with pytest.raises(ServerClosing):
        await task
    assert task.cancelling() == 0, "the cancellation was taken back"


async def test_a_wait_after_the_notice_does_not_begin() -> None:
    notice().begin()

    async def wait() -> None:
        raise AssertionError("it began")

    with pytest.raises(ServerClosing):
        await unless_closing(wait)


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    task = asyncio.ensure_future(unless_closing(_for_ever))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("first", ["notice", "cancel"])
async def test_a_cancellation_together_with_the_notice_stays_one(first: str) -> None:
    task = asyncio.ensure_future(unless_closing(_for_ever))
    await settle()
    if first == "cancel":
        task.cancel()
        notice().begin()
    else:
        notice().begin()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_around_it_works_as_ever() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await unless_closing(_for_ever)

    async def closes() -> str:
        try:
            async with asyncio.timeout(100):
                await unless_closing(_for_ever)
        except ServerClosing:
            await asyncio.sleep(0)  # a goodbye may wait
            return "closing"
        return "never"

    task = asyncio.ensure_future(closes())
    await settle()
    notice().begin()
    assert await task == "closing"


# What it comes to


def test_it_is_a_disconnect_for_who_does_not_ask() -> None:
    error = ServerClosing()
    assert isinstance(error, DisconnectedError)
    assert (str(error), error.code) == ("The server is closing", 1012)


@pytest.mark.parametrize("before", [True, False])
async def test_a_sleeping_request_is_answered_with_503(
    before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[Any] = []

    @to_asgi(done=lambda *report: reports.append(report))
    async def app(request: HttpRequest) -> str:
        await request.sleep_while_connected(100)
        return "never"

    exchange = Http(app)
    if before:
        notice().begin()
    exchange.start()
    await settle()
    notice().begin()
    await exchange.finish()
    assert (exchange.status, exchange.text) == (503, "Service Unavailable")
    assert exchange.headers["retry-after"] == "1"
    assert (reports[0][1], reports[0][4]) == (503, "shutdown")
    assert not errors(caplog)


async def test_a_handler_may_say_goodbye() -> None:
    @to_asgi
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        try:
            await request.sleep_while_connected(100)
        except ServerClosing:
            await request.send("bye")

    exchange = Http.begin(app)
    await settle()
    notice().begin()
    await exchange.finish()
    assert (exchange.text, exchange.complete) == ("bye", True)


async def test_a_response_that_had_begun_is_aborted(caplog: pytest.LogCaptureFixture) -> None:
    reports: list[Any] = []

    @to_asgi(done=lambda *report: reports.append(report))
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.send("half")
        await request.sleep_while_connected(100)

    exchange = Http.begin(app)
    await settle()
    notice().begin()
    await exchange.finish()
    assert (exchange.text, exchange.complete) == ("half", False)
    assert exchange.error is not None
    assert len(reports) == 1
    assert not errors(caplog)


async def test_a_response_that_had_ended_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    @to_asgi
    async def app(request: HttpRequest) -> None:
        await request.accept(200)
        await request.send("whole", more=False)
        raise ServerClosing

    exchange = Http.begin(app)
    await exchange.finish()
    assert (exchange.text, exchange.complete, exchange.error) == ("whole", True, None)
    assert not errors(caplog)


async def test_a_client_that_left_comes_first() -> None:
    ends: list[type] = []

    @to_asgi
    async def app(request: HttpRequest) -> None:
        try:
            await request.sleep_while_connected(100)
        except DisconnectedError as error:
            ends.append(type(error))

    exchange = Http.begin(app)
    await settle()
    exchange.leave()
    await settle()
    notice().begin()
    await exchange.finish()
    assert ends == [DisconnectedError]


@pytest.mark.parametrize("how", ["receive", "receive_iter"])
async def test_a_websocket_that_waits_is_closed_with_1012(how: str, caplog: pytest.LogCaptureFixture) -> None:
    reports: list[Any] = []

    @to_asgi(done=lambda *report: reports.append(report))
    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        if how == "receive":
            await request.receive()
        async for _ in request.receive_iter():
            pass

    socket = Websocket.begin(app)
    await settle()
    notice().begin()
    await socket.finish()
    assert socket.close_code == 1012
    assert socket.error is None
    assert (reports[0][1], reports[0][4]) == (101, "shutdown")
    assert not errors(caplog)


async def test_a_websocket_may_say_goodbye() -> None:
    @to_asgi
    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            await request.receive()
        except ServerClosing:
            await request.send("bye")
            await request.close(1001)

    socket = Websocket.begin(app)
    await settle()
    notice().begin()
    await socket.finish()
    assert socket.messages == ["bye"]
    assert socket.close_code == 1001


async def test_a_websocket_that_was_not_accepted_is_denied_with_503() -> None:
    @to_asgi
    async def app(request: WebsocketRequest) -> None:
        raise ServerClosing

    socket = Websocket.begin(app, denial=True)
    await socket.finish()
    assert socket.denial == (503, b"Service Unavailable")
    assert (b"retry-after", b"1") in socket.sent[0]["headers"]


# Signals


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Put handlers in the place that a server's would have; return what they were called with."""
    called: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda signum, frame: called.append(signum))
    yield called
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_gives_the_notice_and_then_the_server_has_it(number: int, handlers: list[int]) -> None:
    async def main() -> None:
        undo = chain_signals()
        waiting = [asyncio.ensure_future(say_goodbye(handlers)) for _ in range(3 * AT_ONCE)]
        try:
            await settle()
            assert not notice().begun
            os.kill(os.getpid(), number)
            await until(lambda: number in handlers)
            assert notice().begun
            assert handlers == [0] * len(waiting) + [number]
        finally:
            undo()

    asyncio.run(main())


async def say_goodbye(said: list[int]) -> None:
    """Wait for the notice, and then as often as a server's `send` may, before 0 is said."""
    with contextlib.suppress(ServerClosing):
        await unless_closing(asyncio.get_running_loop().create_future)
    await settle()
    said.append(0)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await settle()


@pytest.mark.parametrize("second", SIGNALS)
async def test_a_second_signal_is_passed_on_at_once(second: int, handlers: list[int]) -> None:
    undo = chain_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    assert handlers == []
    os.kill(os.getpid(), second)  # without a turn of the event loop, which may be stuck
    assert handlers == [signal.SIGTERM, second]
    os.kill(os.getpid(), second)
    assert handlers == [signal.SIGTERM, second, second]
    await until(lambda: notice().begun)
    undo()


async def test_a_signal_after_the_notice_is_passed_on(handlers: list[int]) -> None:
    told = notice()
    told.begin()
    undo = chain_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: handlers)
    os.kill(os.getpid(), signal.SIGTERM)
    assert handlers == [signal.SIGTERM] * 2
    undo()


async def test_what_comes_after_the_notice_waits_for_the_goodbyes() -> None:
    calls: list[str] = []
    notice().begin(lambda: calls.append("first"))
    notice().begin(lambda: calls.append("second"))
    assert calls == []
    await until(lambda: calls)
    assert calls == ["first", "second"]
    notice().begin(lambda: calls.append("later"))
    assert calls == ["first", "second", "later"]


async def test_undone_it_is_as_before(handlers: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    undo = chain_signals()
    assert [signal.getsignal(number) for number in SIGNALS] != before
    undo()
    assert [signal.getsignal(number) for number in SIGNALS] == before
    undo()


async def test_what_somebody_put_there_later_is_left(handlers: list[int]) -> None:
    def later(signum: int, frame: Any) -> None: ...

    undo = chain_signals()
    signal.signal(signal.SIGTERM, later)
    undo()
    assert signal.getsignal(signal.SIGTERM) is later


@pytest.mark.parametrize("default", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
async def test_pythons_own_handlers_are_left(default: Any, handlers: list[int]) -> None:
    for number in SIGNALS:
        signal.signal(number, default)
    chain_signals()()
    undo = chain_signals()
    assert [signal.getsignal(number) for number in SIGNALS] == [default, default]
    undo()


def test_only_in_the_main_thread(handlers: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    async def main() -> None:
        chain_signals()()
        assert [signal.getsignal(number) for number in SIGNALS] == before

    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []


async def test_the_lifespan_chains_and_undoes(handlers: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    @to_asgi
    async def app(request: HttpRequest) -> str:
        return "x"

    life = asyncio.ensure_future(app({"type": "lifespan"}, incoming.get, send))
    incoming.put_nowait({"type": "lifespan.startup"})
    await settle()
    assert sent == ["lifespan.startup.complete"]
    assert signal.getsignal(signal.SIGTERM) is not before
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: handlers)
    assert notice().begun
    incoming.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert signal.getsignal(signal.SIGTERM) is before
    assert handlers == [signal.SIGTERM]


async def test_a_lifespan_that_is_cancelled_undoes_too(handlers: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    incoming: asyncio.Queue[Any] = asyncio.Queue()

    async def send(message: Any) -> None: ...

    @to_asgi
    async def app(request: HttpRequest) -> str:
        return "x"

    life = asyncio.ensure_future(app({"type": "lifespan"}, incoming.get, send))
    incoming.put_nowait({"type": "lifespan.startup"})
    await settle()
    life.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life
    assert signal.getsignal(signal.SIGTERM) is before

"""Requests that live: streams cut off where they wait, cancel_on_disconnect, cancellations at any await."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    BodyTooLarge,
    DisconnectedError,
    HttpRequest,
    Limits,
    ServerClosing,
    _shutdown,
    stats,
    to_asgi,
)

from .asgi import Http, converse
from .asking import ask
from .test_stream import Events, Stalled, cancel_at, loop_errors
from .turns import advance, errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from asgineer.testing._fakeclock import FakeClock


def returning(result: Any, **settings: Any) -> Any:
    async def handler(request: HttpRequest) -> Any:
        return result

    return to_asgi(handler, **settings)


# Returned streams


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_stream_is_cancelled_where_it_waits_when_the_client_leaves(
    before: int, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events(*["x"] * before)
    exchange = Http.begin(returning(events))
    await settle()
    exchange.leave()
    await exchange.finish()
    assert (events.cancelled, events.closed) == (1, 1)
    assert not exchange.complete
    assert errors(caplog) == []


async def test_a_stream_deep_in_an_upstream_request_is_cancelled_then_closed() -> None:
    notes: list[str] = []

    async def upstream() -> AsyncGenerator[str]:
        try:
            yield "token"
            async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
                await group.create_task(asyncio.Event().wait())
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            notes.append("upstream closed")

    async def tokens() -> AsyncIterator[str]:
        async with contextlib.aclosing(upstream()) as source:
            async for token in source:
                yield token

    exchange = Http.begin(returning(tokens()))
    await exchange.until(lambda: len(exchange.sent) == 2)
    await settle()
    exchange.leave()
    await exchange.finish()
    assert notes == ["cancelled", "upstream closed"]


async def test_a_stream_that_was_never_started_is_closed_when_the_client_had_left() -> None:
    events = Events()
    exchange = Http(returning(events))
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert events.closed == 1


async def test_the_notice_does_not_cut_a_plain_stream() -> None:
    events = Events("a", then="end")
    _shutdown.notice().begin()
    exchange = await converse(returning(events))
    assert (exchange.complete, exchange.text) == (True, "a")


@pytest.mark.parametrize(("body", "complete"), [("abcdef", True), ("abc", False), ("", False)])
def test_a_stream_that_is_shorter_than_its_length(
    body: str, complete: bool, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events(*body, then="end")
    exchange = run(converse(returning(({"content-length": "6"}, events))))
    assert exchange.complete is complete
    assert events.closed == 1
    assert len(errors(caplog)) == (0 if complete else 1)


async def test_a_stalled_client_is_left(clock: FakeClock) -> None:
    seen: list[BaseException] = []
    before = stats()

    async def handler(request: HttpRequest) -> None:
        await request.accept(200, {})
        try:
            await request.send("x")
        except DisconnectedError as error:
            seen.append(error)
            with pytest.raises(DisconnectedError):
                await request.send("y")
            with pytest.raises(DisconnectedError):
                await request.sleep_while_connected(1)
            raise

    exchange = Stalled(to_asgi(handler, limits=Limits(send=3)))
    exchange.after = 0
    exchange.start()
    await advance(clock, 3)
    assert seen == []
    await advance(clock, 3)
    await exchange.finish()
    assert "does not read" in str(seen[0])
    assert stats().send_timeouts == before.send_timeouts + 1


async def test_a_whole_response_and_no_limit_have_no_deadline(clock: FakeClock) -> None:
    plain, endless = Stalled(returning("x")), Stalled(returning(Events("x"), limits=Limits(send=None)))
    for exchange in (plain, endless):
        exchange.after = 0
        exchange.start()
    await advance(clock, 10_000)
    await advance(clock, 10_000)
    for exchange in (plain, endless):
        assert not exchange.task.done()
        exchange.task.cancel()
        await asyncio.wait([exchange.task])


# cancel_on_disconnect


class Computing:
    """A handler that computes inside of cancel_on_disconnect."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.notes: list[Any] = []

    async def __call__(self, request: HttpRequest) -> Any:
        try:
            async with request.cancel_on_disconnect():
                self.notes.append("began")
                await self.work()
                self.notes.append("worked")
        except BaseException as error:
            self.notes.append(type(error))
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            self.cancelling = task.cancelling()
        return "done"


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def swallow() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def work_a_little() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("work", "notes"),
    [(wait_for_ever, ["began", DisconnectedError]), (swallow, ["began", "worked", DisconnectedError])],
)
async def test_the_block_is_cancelled_when_the_client_leaves(
    work: Any, notes: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    computing = Computing(work)
    exchange = Http.begin(to_asgi(computing))
    await settle()
    assert computing.notes == ["began"]
    exchange.leave()
    await exchange.finish()
    assert computing.notes == notes
    assert computing.cancelling == 0
    assert exchange.sent == []
    assert errors(caplog) == []


async def test_a_block_that_ends_before() -> None:
    computing = Computing(work_a_little)
    exchange = await converse(to_asgi(computing))
    assert (exchange.text, computing.notes) == ("done", ["began", "worked"])


async def test_a_client_that_leaves_after_the_block_cancels_nothing() -> None:
    async def handler(request: HttpRequest) -> str:
        async with request.cancel_on_disconnect():
            await asyncio.sleep(0)
        exchange.leave()
        await settle()
        return "done"

    exchange = Http.begin(to_asgi(handler))
    await exchange.finish()
    assert exchange.text == "done"


async def test_a_client_that_has_left_before_the_block() -> None:
    computing = Computing(wait_for_ever)
    exchange = Http(to_asgi(computing))
    exchange.leave()
    exchange.start()
    await exchange.finish()
    assert computing.notes[-1] is DisconnectedError
    assert computing.cancelling == 0


async def test_blocks_in_each_other_after_the_word_that_the_client_left() -> None:
    seen: list[str] = []

    async def handler(request: HttpRequest) -> None:
        with pytest.raises(DisconnectedError):
            await request.sleep_while_connected(1000)
        try:
            async with request.cancel_on_disconnect(), request.cancel_on_disconnect():
                await wait_for_ever()
        except DisconnectedError:
            seen.append("told")
            await asyncio.sleep(0)
            raise

    exchange = Http.begin(to_asgi(handler))
    await settle()
    exchange.leave()
    await exchange.finish()
    assert (seen, exchange.task.cancelling()) == (["told"], 0)


async def test_the_notice_does_not_cancel_the_block() -> None:
    gate = asyncio.Event()
    computing = Computing(gate.wait)
    exchange = Http.begin(to_asgi(computing))
    await settle()
    _shutdown.notice().begin()
    await settle()
    assert computing.notes == ["began"]
    gate.set()
    await exchange.finish()
    assert exchange.text == "done"


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_cancellation_by_somebody_else_stays_one(leaves: bool) -> None:
    computing = Computing(wait_for_ever)
    exchange = Http.begin(to_asgi(computing))
    await settle()
    exchange.task.cancel()
    if leaves:
        exchange.leave()
    await asyncio.wait([exchange.task])
    assert exchange.task.cancelled()
    assert computing.notes == ["began", asyncio.CancelledError]


async def test_a_timeout_inside_and_around_stays_one() -> None:
    async def inside(request: HttpRequest) -> str:
        async with request.cancel_on_disconnect():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wait_for_ever(), 0.001)
        return "inside"

    async def around(request: HttpRequest) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001), request.cancel_on_disconnect():
                await wait_for_ever()
        return "around"

    assert (await converse(to_asgi(inside))).text == "inside"
    assert (await converse(to_asgi(around))).text == "around"


async def test_what_the_block_raises_is_raised() -> None:
    async def handler(request: HttpRequest) -> str:
        with pytest.raises(KeyError):
            async with request.cancel_on_disconnect():
                raise KeyError
        await asyncio.sleep(0)
        return "done"

    assert (await converse(to_asgi(handler))).text == "done"


async def test_a_send_in_the_block_that_finds_the_client_gone() -> None:
    """The send tells the guard of its own task: no cancellation may be left for what comes later."""
    notes: list[Any] = []

    async def handler(request: HttpRequest) -> None:
        await request.accept(200, {})
        try:
            async with request.cancel_on_disconnect():
                exchange.left = True  # as the server knows, and nobody was told yet
                await request.send("x")
        except DisconnectedError:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            notes.append(task.cancelling())
            raise

    exchange = Http.begin(to_asgi(handler), lost=True)
    await exchange.finish()
    assert not exchange.task.cancelled()
    assert notes == [0]


def test_the_body_is_read_before_up_to_its_limit() -> None:
    async def handler(request: HttpRequest) -> Any:
        async with request.cancel_on_disconnect():
            await asyncio.sleep(0)
        return await request.get_body()

    app = to_asgi(handler, limits=Limits(body=6))
    assert ask(app, method="POST", body=[b"abc", b"def"]).content == b"abcdef"
    assert ask(app, method="POST", body=[b"abc", b"defg"]).status_code == 413


def test_the_body_that_is_too_large_is_told_in_the_handler() -> None:
    seen: list[Any] = []

    async def handler(request: HttpRequest) -> str:
        try:
            async with request.cancel_on_disconnect():
                seen.append("began")
        except BodyTooLarge as error:
            seen.append(error.status)
        return "x"

    ask(to_asgi(handler, limits=Limits(body=1)), method="POST", body=b"abc")
    assert seen == [413]


async def test_a_body_that_the_handler_read_already() -> None:
    async def handler(request: HttpRequest) -> None:
        assert [piece async for piece in request.iter_body()] == [b"abc"]
        async with request.cancel_on_disconnect():
            await wait_for_ever()

    exchange = Http.begin(to_asgi(handler), method="POST", body=b"abc")
    await settle()
    exchange.leave()
    await exchange.finish()
    assert exchange.sent == []


async def test_a_watcher_beside_a_task_that_reads_the_body_is_told() -> None:
    """The reader asks the server itself; when it is done, somebody has to listen for the others."""
    notes: list[str] = []

    async def handler(request: HttpRequest) -> Any:
        reading = asyncio.ensure_future(request.get_body())
        await settle()
        events = Events("x")

        async def stream() -> AsyncIterator[str]:
            try:
                yield await events.__anext__()
                await events.__anext__()
            finally:
                notes.append((await reading).decode())

        return stream()

    exchange = Http.begin(to_asgi(handler), method="POST", rest=True)
    await exchange.until(lambda: len(exchange.sent) == 2)
    await settle()
    exchange.feed(b"body", more=False)
    await settle()
    exchange.leave()
    await exchange.finish()
    assert notes == ["body"]


# Cancelled at any await


async def _sleep(request: HttpRequest) -> str:
    await request.sleep_while_connected(0)
    await request.sleep_while_connected(0)
    return "slept"


async def _read(request: HttpRequest) -> str:
    return str(len([piece async for piece in request.iter_body()]))


async def _send(request: HttpRequest) -> None:
    await request.accept(200, {})
    for _ in range(20):
        await request.send("x")


async def _compute(request: HttpRequest) -> str:
    async with request.cancel_on_disconnect():
        await asyncio.sleep(0)
        await request.sleep_while_connected(0)
    return "computed"


async def _stream(request: HttpRequest) -> Any:
    return Events("a", "b", then="end")


async def _sleep_and_read(request: HttpRequest) -> str:
    await request.sleep_while_connected(0)
    return str(len(await request.get_body()))


@pytest.mark.parametrize("handler", [_sleep, _read, _send, _compute, _stream, _sleep_and_read])
def test_cancelled_at_any_step(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        app = to_asgi(handler)
        closing = _shutdown.notice()
        with loop_errors() as complaints:
            for step in range(200):
                exchange = Http(app, method="POST", body=[b"a", b"b", b"c"])
                running = await cancel_at(step, exchange)
                await settle()
                if not running:
                    break
            del exchange
        assert complaints == []
        assert not closing._waiting, "somebody is still to be told"
        return step

    assert 2 < run(main()) < 199
    assert errors(caplog) == []


@pytest.mark.parametrize("how", ["leave", "notice"])
@pytest.mark.parametrize("handler", [_sleep, _read, _send, _compute, _stream, _sleep_and_read])
async def test_told_at_any_step(handler: Any, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client leaves, or the server begins to stop, after any number of turns: nothing is left behind."""
    app = to_asgi(handler)
    with loop_errors() as complaints:
        for step in range(200):
            exchange = Http.begin(app, method="POST", body=[b"a", b"b", b"c"])
            for _ in range(step):
                await asyncio.sleep(0)
            running = not exchange.task.done()
            if how == "leave":
                exchange.leave()
            else:
                _shutdown.notice().begin()
            await exchange.finish()
            assert (exchange.error, exchange.task.cancelling()) == (None, 0)
            await settle()
            _shutdown.forget()
            gc.collect(0)
            if not running:
                break
    assert complaints == []
    assert errors(caplog) == []


async def test_server_closing_is_a_503_before_the_response_and_an_abort_after_it() -> None:
    async def after(request: HttpRequest) -> None:
        await request.accept(200, {})
        await request.send("x")
        raise ServerClosing

    async def before(request: HttpRequest) -> None:
        raise ServerClosing

    exchange = await converse(to_asgi(before))
    assert (exchange.status, exchange.headers["retry-after"]) == (503, "1")
    exchange = await converse(to_asgi(after))
    assert not exchange.complete
    assert exchange.error is not None

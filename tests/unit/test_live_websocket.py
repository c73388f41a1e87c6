"""Websockets that live: sending beside receiving, limits of messages, who is told that the client left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    DisconnectedError,
    Event,
    Limits,
    ServerClosing,
    UsageError,
    WebsocketRequest,
    _shutdown,
    stats,
    to_asgi,
)

from .asgi import Websocket
from .test_stream import Events, cancel_at, loop_errors
from .turns import advance, errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgineer.testing._fakeclock import FakeClock

    from .asgi import Message


def socket_of(work: Callable[[WebsocketRequest], Awaitable[Any]], **options: Any) -> Websocket:
    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        await work(request)

    limits = Limits(**{name: options.pop(name) for name in ("message", "pending", "send") if name in options})
    return Websocket(to_asgi(handler, limits=limits), **options)


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


# Messages that are too big


@pytest.mark.parametrize("text", ["x" * 10, "é" * 5, "✓" * 3 + "x", "\U0001f600" * 2 + "xx"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_the_limit_of_a_message_is_in_bytes(text: str, binary: bool, more: int) -> None:
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        try:
            seen.append(await request.receive())
        except DisconnectedError as error:
            seen.append((error.code, error.reason))
            with pytest.raises(UsageError):
                await request.receive()
            raise

    socket = socket_of(work, message=10)
    message = text[:-1] if more < 0 and text.endswith("x") else text + "x" * more
    if binary:
        socket.binary(message.encode())
    else:
        socket.text(message)
    socket.start()
    await socket.finish()
    if more > 0:
        assert seen == [(1009, "Message too big")]
        assert socket.close_code == 1009
    else:
        assert seen == [message.encode() if binary else message]
        assert socket.close_code == 1000


async def test_without_a_limit_any_message_is_taken() -> None:
    sizes: list[int] = []

    async def work(request: WebsocketRequest) -> None:
        sizes.append(len(await request.receive()))

    socket = socket_of(work, message=None)
    socket.binary(bytes(5_000_000))
    socket.start()
    await socket.finish()
    assert sizes == [5_000_000]


async def test_receive_iter_ends_at_a_message_that_is_too_big() -> None:
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        async for message in request.receive_iter():
            seen.append(message)

    socket = socket_of(work, message=3)
    for text in ("abc", "abcd", "x"):
        socket.text(text)
    socket.start()
    await socket.finish()
    assert (seen, socket.close_code) == (["abc"], 1009)


# Who only sends


async def test_who_only_sends_is_told_within_two_sends() -> None:
    sends = 0
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        nonlocal sends
        socket.leave(1001, "bye")
        try:
            while sends < 10:
                await request.send("x")
                sends += 1
        except DisconnectedError as error:
            seen.append((error.code, error.reason))

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert sends <= 2
    assert seen == [(1001, "bye")]


async def test_messages_before_the_end_are_received_after_many_sends() -> None:
    """The listener has seen the client leave: what it sent before is still there, in order."""
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        with contextlib.suppress(DisconnectedError):
            for _ in range(10):
                await request.send("x")
                await settle()
                if not socket.left:
                    for text in ("a", "b", "c"):
                        socket.text(text)
                    socket.leave(3001)
        async for message in request.receive_iter():
            seen.append(message)
        with pytest.raises(DisconnectedError) as caught:
            await request.receive()
        seen.append(caught.value.code)

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert seen == ["a", "b", "c", 3001]


async def test_messages_are_kept_for_who_sends_up_to_a_limit() -> None:
    gate = asyncio.Event()
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        for _ in range(3):
            await request.send("x")
        await gate.wait()
        async for message in request.receive_iter():
            seen.append(message)

    socket = socket_of(work, pending=10)
    socket.start()
    await settle()
    for _ in range(50):
        socket.text("é" * 3)  # 6 bytes
    socket.leave()
    await settle()
    assert socket.received == 1 + 2, "12 bytes are over the limit: no more is taken off the server"
    gate.set()
    await socket.finish()
    assert seen == ["é" * 3] * 50


@pytest.mark.parametrize("pending", [0, None])
async def test_no_message_is_lost_whatever_the_limit(pending: int | None) -> None:
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        for _ in range(3):
            await request.send("x")
        async for message in request.receive_iter():
            seen.append(message)
            with contextlib.suppress(DisconnectedError):
                await request.send("y")
                await request.send("z")

    socket = socket_of(work, pending=pending)
    socket.start()
    for number in range(20):
        socket.text(str(number))
        await settle()
    for number in range(20, 40):
        socket.text(str(number))
    await settle()
    socket.leave()
    await socket.finish()
    assert seen == [str(number) for number in range(40)]


async def test_a_server_whose_receive_fails_is_a_disconnect() -> None:
    class Broken(Websocket):
        async def receive(self) -> Any:
            if self.received:
                raise OSError("gone")
            return await super().receive()

    seen: list[Any] = []

    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            for _ in range(10):
                await request.send("x")
        except DisconnectedError as error:
            seen.append(error.code)

    socket = Broken(to_asgi(handler))
    socket.start()
    await socket.finish()
    assert seen == [1006]


async def test_receive_in_two_tasks_beside_the_listener() -> None:
    async def work(request: WebsocketRequest) -> None:
        for _ in range(3):
            await request.send("x")
        first = asyncio.ensure_future(request.receive())
        await settle()
        with pytest.raises(UsageError, match="two tasks"):
            await request.receive()
        socket.text("a")
        assert await first == "a"

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert socket.close_code == 1000


async def test_a_client_that_reads_nothing_is_left(clock: FakeClock) -> None:
    class Stalled(Websocket):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()

    before = stats()
    seen: list[Any] = []

    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            await request.send("x")
        except DisconnectedError as error:
            seen.append(str(error))
            with pytest.raises(DisconnectedError) as caught:
                await request.send("y")
            seen.append(caught.value.code)
            raise

    socket = Stalled(to_asgi(handler, limits=Limits(send=3)))
    socket.start()
    await advance(clock, 3)
    assert seen == []
    await advance(clock, 3)
    await socket.finish()
    assert ("does not read" in seen[0], seen[1]) == (True, 1006)
    assert stats().send_timeouts == before.send_timeouts + 1


# sending


async def take(request: WebsocketRequest, notes: list[Any]) -> None:
    async for message in request.receive_iter():
        notes.append(message)


async def test_events_are_sent_while_the_block_receives() -> None:
    notes: list[Any] = []
    events = Events("text", b"bytes", {"a": 1}, Event("x", id="1"), Event({"b": 2}, event="e"), Event(None))

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            await take(request, notes)
        notes.append("after")

    socket = socket_of(work)
    socket.start()
    await socket.until(lambda: len(socket.messages) == 6)
    socket.text("hi")
    await settle()
    assert notes == ["hi"]
    socket.leave()
    await socket.finish()
    assert notes == ["hi", "after"], "receive_iter ends, and so does the block, by itself"
    assert (events.closed, events.cancelled) == (1, 1)
    texts = [json.loads(m) for m in socket.messages[2:] if isinstance(m, str)]
    assert socket.messages[:2] == ["text", b"bytes"]
    assert texts == [{"a": 1}, {"id": "1", "data": "x"}, {"event": "e", "data": {"b": 2}}, {}]


async def test_the_end_of_the_block_closes_the_events() -> None:
    events = Events("x")

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            await settle()
        assert events.closed == 1
        await request.send("after")

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert (socket.messages, socket.close_code) == (["x", "after"], 1000)


async def test_a_block_that_ends_before_the_first_event_closes_them() -> None:
    events = Events("x")

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            pass

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert (socket.messages, events.closed) == ([], 1)


async def test_the_end_of_the_events_ends_nothing() -> None:
    notes: list[Any] = []
    events = Events("x", then="end")

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            await take(request, notes)

    socket = socket_of(work)
    socket.start()
    await settle()
    socket.text("still here")
    await settle()
    assert notes == ["still here"]
    socket.leave()
    await socket.finish()
    assert events.closed == 1


async def test_an_error_of_the_events_ends_the_block_with_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    events = Events("x", KeyError("mine"))

    async def work(request: WebsocketRequest) -> None:
        try:
            async with request.sending(events):
                await take(request, [])
        except KeyError as error:
            seen.append(error)
            await asyncio.sleep(0)
            raise

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert seen[0].args == ("mine",)
    assert (events.closed, socket.close_code) == (1, 1011)
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("item", [42, object(), "\ud800"])
async def test_an_event_that_cannot_be_sent_ends_the_block(item: Any) -> None:
    events = Events(item)

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            await take(request, [])

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert (events.closed, socket.close_code) == (1, 1011)


async def test_cleanup_of_the_events_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncIterator[str]:
        try:
            yield "x"
            await asyncio.Event().wait()
        finally:
            raise KeyError("in cleanup")

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events()):
            await request.receive()

    socket = socket_of(work)
    socket.start()
    await socket.until(lambda: socket.messages)
    await settle()
    socket.text("end")
    await socket.finish()
    gc.collect()
    assert len(errors(caplog)) == 1


async def test_what_is_no_async_iterable() -> None:
    async def work(request: WebsocketRequest) -> None:
        things: Any = ["a"]
        with pytest.raises(TypeError):
            async with request.sending(things):
                raise AssertionError("it began")

    socket = socket_of(work)
    socket.start()
    await socket.finish()
    assert socket.close_code == 1000


@pytest.mark.parametrize("when", ["before accept", "after close"])
async def test_sending_in_another_state(when: str) -> None:
    events = Events("x")

    async def handler(request: WebsocketRequest) -> None:
        if when == "after close":
            await request.accept()
            await request.close()
        with pytest.raises(UsageError):
            async with request.sending(events):
                raise AssertionError("it began")

    socket = Websocket.begin(to_asgi(handler))
    await socket.finish()


async def test_the_client_leaves_a_block_that_receives_nothing() -> None:
    seen: list[Any] = []
    events = Events()

    async def work(request: WebsocketRequest) -> None:
        try:
            async with request.sending(events):
                await wait_for_ever()
        except DisconnectedError as error:
            seen.append((error.code, error.reason))
            raise

    socket = socket_of(work)
    socket.start()
    await settle()
    socket.leave(3000, "bye")
    await socket.finish()
    assert seen == [(3000, "bye")]
    assert (events.closed, events.cancelled) == (1, 1)


async def test_a_block_that_works_on_a_message_is_not_cut_off_by_the_client_that_left() -> None:
    notes: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(Events()):
            async for message in request.receive_iter():
                await settle()
                notes.append(message)

    socket = socket_of(work)
    socket.start()
    for text in ("a", "b", "c"):
        socket.text(text)
    socket.leave()
    await socket.finish()
    assert notes == ["a", "b", "c"]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("receives", [False, True])
async def test_the_notice_ends_the_block(before: bool, receives: bool) -> None:
    notes: list[Any] = []
    events = Events()

    async def work(request: WebsocketRequest) -> None:
        try:
            async with request.sending(events):
                await (take(request, []) if receives else wait_for_ever())
        except ServerClosing:
            notes.append("closing")
            await request.send("goodbye")
            raise

    socket = socket_of(work)
    if before:
        _shutdown.notice().begin()
    socket.start()
    await settle()
    _shutdown.notice().begin()
    await socket.finish()
    assert notes == ["closing"]
    assert (socket.messages, socket.close_code, events.closed) == (["goodbye"], 1012, 1)


async def test_two_sendings_beside_each_other() -> None:
    one, two = Events("1"), Events("2")

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(one), request.sending(two):
            await take(request, [])

    socket = socket_of(work)
    socket.start()
    await socket.until(lambda: len(socket.messages) == 2)
    socket.leave()
    await socket.finish()
    assert (one.closed, two.closed) == (1, 1)


async def test_sending_beside_a_task_that_receives_already() -> None:
    async def work(request: WebsocketRequest) -> None:
        receiving = asyncio.ensure_future(request.receive())
        await settle()
        async with request.sending(Events("x")):
            assert await receiving == "hi"

    socket = socket_of(work)
    socket.start()
    await socket.until(lambda: socket.messages)
    socket.text("hi")
    await socket.finish()
    assert socket.close_code == 1000


async def test_a_cancellation_by_the_server_stays_one() -> None:
    events = Events()

    async def work(request: WebsocketRequest) -> None:
        async with request.sending(events):
            await wait_for_ever()

    socket = socket_of(work)
    socket.start()
    await settle()
    socket.task.cancel()
    await asyncio.wait([socket.task])
    assert socket.task.cancelled()
    assert events.closed == 1


# At any step


async def _send(request: WebsocketRequest) -> None:
    for _ in range(10):
        await request.send("x")


async def _receive(request: WebsocketRequest) -> None:
    await take(request, [])


async def _chat(request: WebsocketRequest) -> None:
    async with request.sending(Events("a", "b")):
        await take(request, [])


@pytest.mark.parametrize("how", ["cancel", "leave", "notice"])
@pytest.mark.parametrize("work", [_send, _receive, _chat])
async def test_ended_at_any_step(work: Any, how: str, caplog: pytest.LogCaptureFixture) -> None:
    with loop_errors() as complaints:
        for step in range(60):
            socket = socket_of(work)
            socket.text("hi")
            if how == "cancel":
                await cancel_at(step, socket)
            else:
                socket.start()
                for _ in range(step):
                    await asyncio.sleep(0)
                if how == "leave":
                    socket.leave()
                else:
                    _shutdown.notice().begin()
                await socket.finish()
                assert (socket.error, socket.task.cancelling()) == (None, 0)
            await settle()
            assert not _shutdown.notice()._waiting
            _shutdown.forget()
    assert complaints == []
    assert errors(caplog) == []


# Closing while somebody waits for a message


class StubbornSocket(Websocket):
    """As granian: it takes no close while the app waits in `receive`."""

    waiting = 0

    async def receive(self) -> Any:
        self.waiting += 1
        try:
            return await super().receive()
        finally:
            self.waiting -= 1

    async def send(self, message: Message) -> None:
        assert message["type"] != "websocket.close" or not self.waiting
        await super().send(message)


def stubborn_socket_of(work: Callable[[WebsocketRequest], Awaitable[Any]]) -> StubbornSocket:
    async def handler(request: WebsocketRequest) -> None:
        await request.accept()
        await work(request)

    return StubbornSocket(to_asgi(handler))


async def serve_stubbornly(work: Callable[[WebsocketRequest], Awaitable[Any]], *texts: str) -> StubbornSocket:
    socket = stubborn_socket_of(work)
    for text in texts:
        socket.text(text)
    socket.start()
    await socket.finish()
    assert socket.error is None
    return socket


def test_close_after_sends_in_a_row_ends_the_listener_first() -> None:
    async def work(request: WebsocketRequest) -> None:
        for number in range(5):
            await request.send(str(number))

    socket = run(serve_stubbornly(work))
    assert socket.sent[-1] == {"type": "websocket.close", "code": 1000, "reason": ""}


@pytest.mark.parametrize("sends", [0, 5])
def test_close_ends_the_wait_of_another_task(sends: int) -> None:
    ends: list[DisconnectedError] = []

    async def wait(request: WebsocketRequest) -> None:
        assert await request.receive() == "first"
        with pytest.raises(DisconnectedError, match="The websocket was closed") as end:
            await request.receive()
        ends.append(end.value)

    async def work(request: WebsocketRequest) -> None:
        for number in range(sends):
            await request.send(str(number))
        waiting = asyncio.ensure_future(wait(request))
        await settle()
        await request.close(4001, "enough")
        await waiting

    socket = run(serve_stubbornly(work, "first"))
    assert socket.sent[-1] == {"type": "websocket.close", "code": 4001, "reason": "enough"}
    (end,) = ends
    assert (type(end), end.code, end.reason) == (DisconnectedError, 4001, "enough")


def test_close_ends_the_iteration_of_another_task() -> None:
    async def work(request: WebsocketRequest) -> None:
        async def collect() -> list[str | bytes]:
            return [message async for message in request.receive_iter()]

        collecting = asyncio.ensure_future(collect())
        await settle()
        await request.close()
        assert await collecting == ["one", "two"]

    run(serve_stubbornly(work, "one", "two"))


def test_a_handler_that_fails_beside_a_receiver_closes() -> None:
    async def work(request: WebsocketRequest) -> None:
        await asyncio.gather(request.receive(), request.receive())

    socket = run(serve_stubbornly(work))
    assert socket.sent[-1]["code"] == 1011


# What a server's send and receive may do


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.send"])
@pytest.mark.parametrize("error", [BrokenPipeError("gone"), DisconnectedError("told so", code=1001)])
async def test_a_send_that_fails_says_that_the_client_left(waits: bool, kind: str, error: OSError) -> None:
    raised: list[DisconnectedError] = []

    async def work(request: WebsocketRequest) -> None:
        try:
            await request.accept()
            await request.send("x")
        except DisconnectedError as caught:
            raised.append(caught)
            raise

    inner = to_asgi(work)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def failing(message: Message) -> None:
            if message["type"] == kind:
                if waits:
                    await asyncio.sleep(0)
                raise error
            await send(message)

        await inner(scope, receive, failing)

    socket = Websocket(app, lost=True)
    socket.start()
    await socket.finish()
    if isinstance(error, DisconnectedError):
        assert raised == [error]
        assert error.__cause__ is None
    else:
        assert [(each.code, each.__cause__) for each in raised] == [(1006, error)]


async def test_a_server_that_swallows_the_end_of_a_wait_leaves_no_cancellation() -> None:
    seen: list[Any] = []

    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        seen.append(await request.receive())
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())
        with pytest.raises(ServerClosing):
            await request.receive()

    inner = to_asgi(work)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def stubborn() -> Message:
            try:
                message: Message = await receive()
            except asyncio.CancelledError:
                message = {"type": "websocket.receive", "text": "kept"}
            return message

        await inner(scope, stubborn, send)

    socket = Websocket(app)
    socket.start()
    await settle()
    _shutdown.notice().begin()
    await socket.finish()
    assert seen == ["kept", 0]


async def test_a_cancellation_between_receives_is_not_ours() -> None:
    """The guard is made once, but counts the cancellations anew for each wait."""
    waiting: list[asyncio.Task[Any] | None] = []

    async def work(request: WebsocketRequest) -> None:
        waiting.append(asyncio.current_task())
        assert await request.receive() == "one"
        with contextlib.suppress(asyncio.CancelledError):
            await wait_for_ever()  # it lives with a cancellation, and doesn't take it back
        with pytest.raises(ServerClosing):
            await request.receive()
        waiting.append(None)

    socket = socket_of(work)
    socket.text("one")
    socket.start()
    await settle()
    (task,) = waiting
    assert task is not None
    task.cancel()
    await settle()
    _shutdown.notice().begin()
    await socket.finish()
    assert waiting[1:] == [None]

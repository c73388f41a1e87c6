"""One request and its response, as an ASGI app sees them, over a real socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import _abort
from asgineer._exchange import PIECE
from tests.unit.turns import run
from tests.unit.uvicorn_wire import GET, OK, body, connected, direct, echo, hello, settled, start, until

if TYPE_CHECKING:
    from collections.abc import Callable

POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED_HEAD = OK + b"transfer-encoding: chunked\r\n\r\n"
CLOSED_500 = b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error"


class Told:
    """What an app that waits is told, and what its sends come to."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.errors: list[str] = []
        self.ended = asyncio.Event()

    async def receive(self, receive: Callable[[], Any]) -> Any:
        message = await receive()
        self.messages.append(message["type"])
        return message


def records(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the texts of all errors that were logged, with what was raised."""
    found = [record for record in caplog.records if record.levelno >= logging.ERROR]
    return [f"{record.getMessage()}{record.exc_info and record.exc_info[1]!r}" for record in found]


# Whole responses


def test_whole_response_in_one_call() -> None:
    async def main() -> None:
        async with connected(direct) as client:
            assert await client.ask(GET, b"\r\n\r\n/") == OK + b"content-length: 1\r\n\r\n/"
            assert client.state.total_requests == 1

    run(main())


def test_whole_response_to_head_has_no_body() -> None:
    async def main() -> None:
        async with connected(direct) as client:
            await client.ask(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", b"content-length: 1\r\n\r\n")
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


@pytest.mark.parametrize("value", [b"close", b"x, Close"])
def test_whole_response_may_close(value: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.respond(200, [(b"content-length", b"2"), (b"connection", value)], b"ok")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            assert await client.rest() == OK + b"content-length: 2\r\nconnection: close\r\n\r\nok"

    run(main())


def test_whole_response_keeps_the_date_that_it_has() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.respond(200, [(b"server", b"mine"), (b"content-length", b"0")], b"")

    async def main() -> None:
        async with connected(app) as client:
            head = await client.ask(GET, b"\r\n\r\n")
            assert head == b"HTTP/1.1 200 OK\r\nserver: mine\r\ncontent-length: 0\r\n\r\n"

    run(main())


def test_last_whole_response_says_so() -> None:
    async def main() -> None:
        async with connected(direct) as client:
            await client.send(GET[:-2] + b"connection: close\r\n\r\n")
            assert await client.rest() == OK + b"content-length: 1\r\nconnection: close\r\n\r\n/"

    run(main())


def test_second_whole_response_is_an_error() -> None:
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await direct(scope, receive, send)
        with pytest.raises(RuntimeError) as error:
            await direct(scope, receive, send)
        errors.append(str(error.value))

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"\r\n\r\n/")
            await settled()

    run(main())
    assert errors == ["The response is ended"]


def test_whole_response_to_a_client_that_left() -> None:
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        told.append(await receive())
        with pytest.raises(OSError, match="^$"):
            send.respond(200, [], b"")
        await direct(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await settled()
            client.close()
            await settled()

    run(main())
    assert told == [{"type": "http.disconnect"}]


# Responses in messages


def test_stream_is_chunked() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, (b"content-type", b"x"))
        await body(send, b"one", True)
        await body(send, b"", True)
        await body(send, b"two" * 8)

    async def main() -> None:
        async with connected(app) as client:
            head = OK + b"content-type: x\r\ntransfer-encoding: chunked\r\n\r\n"
            whole = await client.ask(GET, b"0\r\n\r\n")
            assert whole == head + b"3\r\none\r\n18\r\n" + b"two" * 8 + b"\r\n0\r\n\r\n"

    run(main())


def test_chunk_that_many_get_is_made_once() -> None:
    large = b"x" * (PIECE + 1)
    changing = bytearray(b"aa")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for data in (b"same", b"same", large, large, changing):
            await body(send, data, True)  # type: ignore[arg-type]  # what uvicorn takes too
        changing[:] = b"bb"
        await body(send, changing)  # type: ignore[arg-type]

    async def main() -> None:
        async with connected(app) as client:
            whole = (await client.ask(GET, b"0\r\n\r\n")).removeprefix(CHUNKED_HEAD)
            big = b"10001\r\n%b\r\n" % large
            assert whole == b"4\r\nsame\r\n" * 2 + big * 2 + b"2\r\naa\r\n2\r\nbb\r\n0\r\n\r\n"

    run(main())


def test_push_is_a_piece_of_a_chunked_body() -> None:
    pushed: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pushed.append(send.push(b"before the head"))
        await start(send, *([(b"content-length", b"0")] if scope["path"] == "/length" else []))
        for data in (b"same", b"same", b"other", b""):
            pushed.append(send.push(data))
        await body(send)
        pushed.append(send.push(b"behind the end"))

    async def main() -> None:
        async with connected(app) as client:
            whole = await client.ask(GET, b"0\r\n\r\n")
            assert whole == CHUNKED_HEAD + b"4\r\nsame\r\n" * 2 + b"5\r\nother\r\n0\r\n\r\n"
            await settled()
            assert pushed == [False, True, True, True, False, False]
            await client.ask(GET.replace(b"/ ", b"/length "), b"content-length: 0\r\n\r\n")
            await settled()
            assert not any(pushed[6:])

    run(main())


def test_push_does_not_wait() -> None:
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        while send.push(b"x" * 65_536):
            pass
        assert send.connection.write_paused
        await receive()
        await receive()
        assert not send.push(b"x")
        try:
            await body(send, b"x")
        except OSError as error:
            errors.append(type(error).__name__)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.write_paused)
            await settled()
            client.close()
            await until(lambda: errors)

    run(main())


# What goes out together


class Writes:
    """The transport of the server's end, and the pieces that it was given."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def writes_of(app: Any, requests: int = 1) -> list[bytes]:
    """Return what an app wrote in answer to GET, write by write."""
    async with connected(app) as client:
        writes = client.connection.transport = Writes(client.connection.transport)
        await client.send(GET)
        await until(lambda: client.state.total_requests == requests or client.transport.is_closing())
        return writes.pieces


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"9")]])
def test_what_is_sent_in_one_turn_is_one_write(fields: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, *fields)
        await body(send, b"one", True)
        await body(send, b"two", True)
        assert not send.connection.transport.pieces
        await settled()
        assert len(send.connection.transport.pieces) == 1
        await body(send, b"end")

    writes = run(writes_of(app))
    framed = b"onetwo" if fields else b"3\r\none\r\n3\r\ntwo\r\n"
    assert writes[0].startswith(OK)
    assert writes[0].endswith(b"\r\n\r\n" + framed)
    assert writes[1:] == [b"end" if fields else b"3\r\nend\r\n0\r\n\r\n"]


def test_a_head_alone_goes_out_at_the_end_of_the_turn() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await settled()
        await body(send)

    assert run(writes_of(app)) == [CHUNKED_HEAD, b"0\r\n\r\n"]


def test_held_pieces_go_out_with_the_end() -> None:
    held: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        held.append(send.hold(b"before the head"))
        await start(send)
        held.extend([send.hold(b"one"), send.hold(b"")])
        await body(send)
        held.append(send.hold(b"behind the end"))

    assert run(writes_of(app)) == [CHUNKED_HEAD + b"3\r\none\r\n0\r\n\r\n"]
    assert held == [False, True, False, False]


def test_what_is_pushed_brings_what_is_held() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        send.push(b"one")
        assert send.connection.transport.pieces == [CHUNKED_HEAD, b"3\r\none\r\n"]
        send.push(b"two")
        await body(send)

    assert run(writes_of(app))[2:] == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


def test_no_more_is_held_than_a_piece() -> None:
    half = b"x" * (PIECE // 2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, half, True)
        assert not send.connection.transport.pieces
        await body(send, half, True)
        assert len(send.connection.transport.pieces) == 1
        await body(send, b"end")

    assert run(writes_of(app))[1:] == [b"\r\n3\r\nend\r\n0\r\n\r\n"]


def test_a_large_piece_is_not_copied() -> None:
    large = b"x" * (PIECE + 1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, large, True)
        await body(send)

    size = b"%x\r\n" % len(large)
    assert run(writes_of(app)) == [CHUNKED_HEAD + size, large, b"\r\n0\r\n\r\n"]


@pytest.mark.parametrize("how", ["raise", "abort"])
def test_what_is_held_goes_out_before_the_connection_is_cut(how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"half", True)
        if how == "raise":
            raise KeyError
        assert _abort.abort(send)

    assert run(writes_of(app)) == [CHUNKED_HEAD + b"4\r\nhalf\r\n"]


def test_what_is_held_goes_out_before_a_broken_request_cuts_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send)
        await body(send, b"half", True)
        send.connection.data_received(b"no size of a chunk\r\n")

    async def main() -> None:
        async with connected(app) as client:
            writes = client.connection.transport = Writes(client.connection.transport)
            await client.send(POST + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
            await until(client.transport.is_closing)
            assert writes.pieces == [CHUNKED_HEAD + b"4\r\nhalf\r\n"]

    run(main())


def test_nothing_is_written_to_a_client_that_left() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        send.connection.eof_received()
        await settled()

    async def main() -> None:
        async with connected(app) as client:
            writes = client.connection.transport = Writes(client.connection.transport)
            await client.send(GET)
            await until(lambda: client.state.tasks)
            await settled()
            await settled()
            assert writes.pieces == []

    run(main())


def test_body_with_a_length() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, (b"content-length", b"4"))
        await body(send, b"ab", True)
        await body(send, b"", True)
        await body(send, b"cd")

    async def main() -> None:
        async with connected(app) as client:
            assert await client.ask(GET, b"abcd") == OK + b"content-length: 4\r\n\r\nabcd"
            await client.ask(GET, b"abcd")

    run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, status=status)
        await body(send, b"lost", True)
        await body(send, b"lost")

    async def main() -> None:
        async with connected(app) as client:
            assert (await client.ask(GET, b"\r\n\r\n")).endswith(b"\r\nserver: unit\r\n\r\n")
            assert (await client.ask(GET, b"\r\n\r\n")).startswith(b"HTTP/1.1 %d " % status)

    run(main())


def test_stream_to_http_1_0_ends_with_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["http_version"] == "1.0"
        await start(send)
        await body(send, b"one", True)
        await body(send, b"two")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert await client.rest() == OK + b"connection: close\r\n\r\nonetwo"

    run(main())


@pytest.mark.parametrize(
    ("length", "pieces", "text"),
    [(b"1", [b"ab"], "longer than"), (b"3", [b"ab"], "shorter than"), (b"1", [b"a", b"b"], "longer than")],
)
def test_body_of_another_length_is_cut(
    length: bytes, pieces: list[bytes], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, (b"content-length", length))
        for piece in pieces[:-1]:
            await body(send, piece, True)
        await body(send, pieces[-1])

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(GET)
            assert len(await client.rest()) <= len(OK) + 40
            assert client.transport.is_closing()

    run(main())
    assert text in records(caplog)[0]


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body"}],
        [{"type": "http.response.start", "status": 200}] * 2,
        [{"type": "http.response.start", "status": 200, "headers": [(b"a b", b"")]}],
        [{"type": "unknown"}],
    ],
)
def test_message_that_cannot_come(messages: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(GET)
            rest = await client.rest()
            assert rest.endswith(CLOSED_500) or rest in (b"", CHUNKED_HEAD)

    run(main())
    assert "RuntimeError" in records(caplog)[0]


def test_message_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await body(send, b"more")

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"\r\n\r\n/")
            await client.ask(GET, b"\r\n\r\n/")  # the connection has nothing to do with it

    run(main())
    assert "the response is ended" in records(caplog)[0]


# Apps that fail


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_app_that_raises_is_a_500(method: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("mine")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET.replace(b"GET", method))
            rest = await client.rest()
            assert rest.startswith(b"HTTP/1.1 500 Internal Server Error\r\nserver: unit\r\n")
            assert rest.endswith(CLOSED_500 if method == b"GET" else b"\r\nconnection: close\r\n\r\n")

    run(main())
    assert records(caplog) == ["Exception in ASGI application\nValueError('mine')"]


@pytest.mark.parametrize(
    ("steps", "text"),
    [(0, "without starting response"), (1, "without completing response"), (2, "should return None")],
)
def test_app_that_ends_too_early(steps: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> Any:
        if steps == 1:
            await start(send)
        return 1 if steps == 2 else None

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(GET)
            await client.rest()

    run(main())
    assert text in records(caplog)[0]


def test_stream_that_fails_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"some", True)
        await asyncio.sleep(0)
        raise ValueError("late")

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(GET)
            assert not (await client.rest()).endswith(b"0\r\n\r\n")

    run(main())
    assert len(records(caplog)) == 1


def test_app_that_is_cancelled_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.state.tasks)
            await settled()
            for task in client.state.tasks:
                task.cancel()
            assert (await client.rest()).startswith(b"HTTP/1.1 503 ")

    run(main())
    assert records(caplog) == []


# The client leaves


@pytest.mark.parametrize("abruptly", [False, True])
def test_send_raises_once_the_client_is_gone(abruptly: bool, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await told.receive(receive)
        await start(send)
        await body(send, b"some", True)
        await told.receive(receive)
        await told.receive(receive)  # again and again
        try:
            await body(send, b"more", True)
        except OSError as error:
            told.errors.append(type(error).__name__)
            told.ended.set()
            raise ValueError("of it") from None

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.ask(GET, b"some\r\n")
            client.close(abruptly)
            await told.ended.wait()

    run(main())
    assert told.messages == ["http.request", "http.disconnect", "http.disconnect"]
    assert told.errors == ["ClientDisconnected"]
    assert records(caplog) == []


def test_who_listens_in_another_task_acts_before_send_raises() -> None:
    """As Django does, which cleans up after the cancellation, and not after the error."""
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def stream() -> None:
            await start(send)
            try:
                while True:
                    await asyncio.sleep(0)
                    await body(send, b"some", True)
            except BaseException as error:
                raised.append(type(error).__name__)
                raise

        async def listen() -> None:
            await receive()
            await receive()

        tasks = [asyncio.ensure_future(listen()), asyncio.ensure_future(stream())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks[1].cancel()
        await asyncio.wait(tasks)

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"some\r\n")
            client.close()
            await until(lambda: raised)

    run(main())
    assert raised == ["CancelledError"]


@pytest.mark.parametrize("group", [False, True])
def test_error_that_does_not_come_of_the_leaving_is_logged(
    group: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        ended.set()
        raise ExceptionGroup("two", [OSError(), ValueError()]) if group else ValueError("mine")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await settled()
            client.close()
            await ended.wait()

    run(main())
    assert len(records(caplog)) == 1


def test_group_of_what_comes_of_the_leaving_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        async with asyncio.TaskGroup() as group:
            group.create_task(start(send))
            group.create_task(start(send))

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await settled()
            client.close()

    run(main())
    assert records(caplog) == []


def test_abort_finds_the_transport() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        assert _abort.abort(send)

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(GET)
            await client.rest()

    run(main())


# Bodies of requests


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        POST + b"content-length: 5\r\n\r\nhello",
        POST + b"content-length: 5 \t\r\n\r\nhello",
        POST + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-trailer: t\r\n\r\n",
    ],
)
def test_body_comes_in(data: bytes, bytewise: bool) -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        whole = b""
        more = True
        while more:
            message = await receive()
            whole += message["body"]
            more = message["more_body"]
        await start(send, (b"content-length", b"5"))
        await body(send, whole)

    async def main() -> None:
        async with connected(app) as client:
            for _ in range(2):
                await (client.send_bytewise(data) if bytewise else client.send(data))
                assert (await client.until(b"hello")).startswith(OK)

    run(main())
    assert all(name != b"x-trailer" for name, _ in scopes[0]["headers"])


def test_body_that_is_not_received_stops_the_reading() -> None:
    size = 2 * PIECE

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await wait.wait()
        await echo(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            sending = asyncio.create_task(
                client.send(POST + b"content-length: %d\r\n\r\n" % size + b"x" * size)
            )
            await until(lambda: client.connection.read_paused)
            wait.set()
            whole = await client.until(b"0\r\n\r\n")
            await sending
            assert whole.count(b"x") == size

    wait = asyncio.Event()
    run(main())


def test_body_that_nobody_wants_does_not_stop_the_connection() -> None:
    size = 3 * PIECE

    async def main() -> None:
        async with connected(hello) as client:
            await client.ask(POST + b"content-length: %d\r\n\r\n" % size, b"\r\n\r\n/")
            await client.send(b"x" * size)
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


def test_reading_goes_on_after_a_response_that_came_before_the_body_was_received() -> None:
    size = PIECE + 1

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await until(lambda: scope["path"] == "/go" or client_of[0].connection.read_paused)
        await hello(scope, receive, send)

    client_of: list[Any] = []

    async def main() -> None:
        async with connected(app) as client:
            client_of.append(client)
            await client.ask(POST + b"content-length: %d\r\n\r\n" % size + b"x" * size, b"\r\n\r\n/")
            await client.ask(GET.replace(b"/ ", b"/go "), b"/go")

    run(main())


def test_continue_is_sent_when_the_body_is_wanted() -> None:
    async def main() -> None:
        async with connected(echo) as client:
            head = POST + b"content-length: 2\r\nexpect: 100-Continue\r\n\r\n"
            assert await client.ask(head, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await client.ask(b"ok", b"0\r\n\r\n") == CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n"
            await client.ask(POST + b"content-length: 1\r\n\r\nx", b"0\r\n\r\n")

    run(main())


@pytest.mark.parametrize(
    "lines",
    [b"content-length: 2\r\nexpect: 100-continue\r\n\r\nok", b"content-length: 2\r\nexpect: other\r\n\r\nok"],
)
def test_continue_is_not_sent_where_it_is_of_no_use(lines: bytes) -> None:
    async def main() -> None:
        async with connected(echo) as client:
            assert (await client.ask(POST + lines, b"0\r\n\r\n")).startswith(CHUNKED_HEAD)

    run(main())


def test_http_1_0_gets_no_continue() -> None:
    async def main() -> None:
        async with connected(echo) as client:
            await client.send(b"POST / HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
            await settled()
            await client.send(b"ok")
            assert (await client.rest()).startswith(b"HTTP/1.1 200")

    run(main())


@pytest.mark.parametrize("app", [hello, direct])
def test_answer_in_the_place_of_a_continue_is_the_last(app: Any) -> None:
    async def main() -> None:
        async with connected(app) as client:
            await client.send(POST + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
            assert b"\r\nconnection: close\r\n" in await client.rest()

    run(main())


def test_receive_can_be_given_up() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(3):
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
        assert send.waiters == []
        await hello(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


def test_receive_and_its_end_may_come_together() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await hello(scope, receive, send)  # which ends the wait, in the turn in which it is cancelled
        waiting.cancel()

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"\r\n\r\n/")
            await settled()

    run(main())


def test_who_waits_is_told_that_the_response_has_ended() -> None:
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await hello(scope, receive, send)
        told.append(await waiting)

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(GET, b"\r\n\r\n/")
            await settled()

    run(main())
    assert told == [{"type": "http.disconnect"}]


# Flow


def test_send_waits_for_a_client_that_does_not_read() -> None:
    sent = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(64):
            await body(send, b"x" * 65_536, True)
            sent.append(number)
        await body(send)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.write_paused)
            await settled()
            assert len(sent) < 32
            assert (await client.until(b"\r\n0\r\n\r\n")).count(b"x") == 64 * 65_536

    run(main())


def test_send_that_waits_ends_when_the_client_leaves() -> None:
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        try:
            while True:
                await body(send, b"x" * 65_536, True)
        except OSError as error:
            errors.append(error)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.writers)
            client.close()
            await until(lambda: errors)

    run(main())


def test_send_that_waits_can_be_given_up() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        sending = asyncio.ensure_future(body(send, b"x" * 4_000_000, True))
        await until(lambda: send.connection.writers)
        sending.cancel()
        await body(send, b"end")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            whole = await client.until(b"end\r\n0\r\n\r\n")
            assert whole.count(b"x") == 4_000_000

    run(main())


# Logs


def test_access_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for app in (hello, direct):
            async with connected(app, access_log=True, tcp=True) as client:
                await client.ask(GET.replace(b"/ ", b"/%20b?c "), b"\r\n\r\n/ b")

    caplog.set_level(logging.INFO, "uvicorn.access")
    run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert [line.partition(" - ")[2] for line in lines] == ['"GET /%20b?c HTTP/1.1" 200'] * 2

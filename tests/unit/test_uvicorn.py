"""One connection: what comes in, the order of the answers, limits and time-outs, how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from asgineer import _shutdown
from asgineer._deadlines import WRITE_TIMEOUT
from asgineer._exchange import PIECE
from asgineer._h1 import MAX_HEADERS, MAX_HEADERS_SIZE, MAX_TARGET
from asgineer._uvicorn import (
    BODY_TIMEOUT,
    HEAD_TIMEOUT,
    LINGER_LIMIT,
    LINGER_TIMEOUT,
    MAX_OVERHEAD,
    Connection,
)
from tests.unit.turns import run
from tests.unit.uvicorn_wire import (
    DEFAULTS,
    GET,
    OK,
    body,
    connected,
    direct,
    echo,
    hello,
    settled,
    start,
    until,
)

if TYPE_CHECKING:
    from asgineer.testing._fakeclock import FakeClock
    from tests.unit.uvicorn_wire import Client

POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\n"
LATE = 2  # seconds that a deadline may be late, and a little more is in the tests


def get(path: bytes) -> bytes:
    return GET.replace(b"/ ", path + b" ", 1)


class Gate:
    """An app that answers with the path when the test lets it, and notes what it began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        await self.open.wait()
        await hello(scope, receive, send)


async def refusal(client: Client, data: bytes, *, bytewise: bool = False) -> bytes:
    """Send what is refused, and return the status line and the text."""
    await (client.send_bytewise(data) if bytewise else client.send(data))
    head, _, text = (await client.rest()).partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nconnection: close")
    return head.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ") + b": " + text


# The scope


def test_scope() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    async def main() -> None:
        state = {"from": "lifespan"}
        async with connected(
            app, app_state=state, root_path="/root", tcp=True, proxy_headers=False
        ) as client:
            await client.ask(
                b"PUT /%C3%A4?%C3 HTTP/1.1\r\nHost: a\r\nX-Y:  b c \t\r\n\r\n", "/root/ä".encode()
            )
            scopes[0]["state"]["own"] = 1
            assert state == {"from": "lifespan"}
            assert scopes[0]["client"] == client.socket.getsockname()
            assert scopes[0]["server"] == client.socket.getpeername()

    run(main())
    scope = scopes[0]
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["headers"] == [(b"host", b"a"), (b"x-y", b"b c")]
    shown = {name: scope[name] for name in ("type", "http_version", "method", "scheme", "path", "raw_path")}
    assert shown == {
        **{"type": "http", "http_version": "1.1", "method": "PUT", "scheme": "http"},
        **{"path": "/root/ä", "raw_path": b"/root/%C3%A4"},
    }
    assert (scope["query_string"], scope["root_path"]) == (b"%C3", "/root")


def test_config_is_loaded_where_it_is_not() -> None:
    async def main() -> None:
        config = uvicorn.Config(hello, log_config=None)
        connection = Connection(config, ServerState(), {})
        assert config.loaded
        assert connection.loop is asyncio.get_running_loop()

    run(main())


# Order


@pytest.mark.parametrize("app", [hello, direct])
def test_pipelined_requests_are_answered_in_order(app: Any) -> None:
    async def main() -> None:
        async with connected(app) as client:
            await client.send(b"".join(get(b"/%d;" % number) for number in range(100)))
            for number in range(100):
                assert (await client.until(b"/%d;" % number)).startswith(OK)

    run(main())


def test_one_request_at_a_time_is_with_the_app() -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(get(b"/n1") + get(b"/n2"))
            await until(lambda: gate.begun)
            await client.send(get(b"/n3") + get(b"/n4")[:20])
            await until(lambda: client.connection.backlog)
            assert gate.begun == ["/n1"]
            gate.open.set()
            await client.until(b"/n3")
            await client.ask(get(b"/n4")[20:], b"/n4")

    run(main())


def test_requests_that_come_too_early_are_kept_as_bytes_and_not_without_end() -> None:
    count = 4 * PIECE // len(GET)

    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            sending = asyncio.create_task(client.send(GET * count))
            await until(lambda: client.connection.read_paused)
            connection = client.connection
            assert len(connection.waiting) <= PIECE // len(GET) + 1
            assert len(connection.backlog) <= PIECE + 262_144  # one piece of the loop's
            gate.open.set()
            answers, rest = 0, b""
            while answers < count:
                rest += await client.read()
                answers += rest.count(b"HTTP/1.1 200")
                rest = rest[-11:]  # less than what is counted
            await sending

    run(main(), seconds=30)


def test_a_piece_with_many_requests_that_ends_badly_is_left() -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.send(GET * 2 + b"BAD\r\n" + b"x" * 2 * PIECE)
            rest = await client.rest()
            assert rest.count(b" 200 OK") == 2
            assert BAD in rest

    run(main())


def test_a_piece_with_many_requests_is_parsed_to_its_end() -> None:
    long = GET[:-2] + b"x: " + b"y" * 40_000 + b"\r\n\r\n"

    async def main() -> None:
        async with connected(hello) as client:
            connection = client.connection
            connection.data_received(long * 3)
            connection.data_received(b"")
            await client.until(b"\r\n\r\n/")
            await client.until(b"\r\n\r\n/")
            await client.until(b"\r\n\r\n/")

    run(main())


def test_a_piece_that_is_all_of_one_body() -> None:
    async def main() -> None:
        async with connected(echo) as client:
            size = 3 * PIECE
            head = POST + b"content-length: %d\r\n\r\n" % size
            client.connection.data_received(head + b"x" * (size - 1))
            await client.send(b"x")
            assert (await client.until(b"\r\n0\r\n\r\n")).count(b"x") == size

    run(main())


def test_body_behind_a_request_that_waits() -> None:
    async def main() -> None:
        gate = Gate()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await (gate if scope["method"] == "GET" else echo)(scope, receive, send)

        async with connected(app) as client:
            await client.send(GET + POST + b"content-length: 4\r\n\r\nab")
            await settled()
            await client.send(b"cd")
            await until(lambda: client.connection.incoming is None)
            gate.open.set()
            assert (await client.until(b"0\r\n\r\n")).endswith(b"4\r\nabcd\r\n0\r\n\r\n")

    run(main())


def test_next_request_waits_until_the_client_has_read() -> None:
    large = 4_000_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        send.respond(200, [(b"content-length", b"%d" % large)], b"x" * large)

    begun: list[str] = []

    async def main() -> None:
        async with connected(app) as client:
            await client.send(get(b"/n1") + get(b"/n2"))
            await until(lambda: client.connection.write_paused)
            await settled()
            assert begun == ["/n1"]
            await client.send(get(b"/n3"))
            got = 0
            while got < 3 * large:
                got += (await client.read()).count(b"x")
            assert begun == ["/n1", "/n2", "/n3"]

    run(main())


def test_request_that_comes_while_the_client_has_not_read() -> None:
    large = 4_000_000
    begun: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        send.respond(200, [(b"content-length", b"%d" % large)], b"x" * large)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(get(b"/n1"))
            await until(lambda: client.connection.write_paused)
            await client.send(get(b"/n2"))
            await until(lambda: client.connection.waiting)
            got = 0
            while got < 2 * large:
                got += (await client.read()).count(b"x")

    run(main())


# What is refused


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1\nhost: a\n\n", b"400 Bad Request: Invalid HTTP request received."),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request: Missing Host header"),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
            b"400 Bad Request: Invalid HTTP request received.",
        ),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", b"400 Bad Request: Invalid HTTP request received."),
        (b"GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", b"400 Bad Request: Bad request target"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", b"400 Bad Request: Unknown method"),
        (b"DESCRIBE / RTSP/1.0\r\n\r\n", b"400 Bad Request: Unknown method"),
        (b"GET /\r\n\r\n", b"505 HTTP Version Not Supported: HTTP version not supported"),
        (
            POST + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx",
            b"400 Bad Request: Invalid HTTP request received.",
        ),
        (
            POST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"400 Bad Request: Invalid HTTP request received.",
        ),
        (POST + b"transfer-encoding: gzip, chunked\r\n\r\n", b"501 Not Implemented: Unknown transfer coding"),
        (b"GET /" + b"x" * MAX_TARGET, f"414 {HTTPStatus(414).phrase}: Request target too long".encode()),
    ],
)
def test_head_is_refused(data: bytes, expected: bytes, bytewise: bool) -> None:
    async def main() -> None:
        if len(data) > 10_000 and bytewise:
            return
        async with connected(hello) as client:
            assert await refusal(client, data, bytewise=bytewise) == expected
            await settled()

    run(main())


def test_refusal_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await refusal(client, b"GET / HTTP/1.1\r\n\r\n")

    caplog.set_level(logging.INFO)
    run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert lines == ["Invalid HTTP request received: Missing Host header"]


def test_error_of_ours_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("asgineer._uvicorn.check_fields", broken)

    async def main() -> None:
        async with connected(hello) as client:
            assert (await refusal(client, GET)).startswith(b"400 ")

    run(main())
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("behind", [b"", GET])
def test_size_of_header_fields(more: int, behind: bytes) -> None:
    """Also behind another request, where the count of bytes doesn't begin with the head."""
    value = b"v" * (MAX_HEADERS_SIZE - len(b"hostax") + more)

    async def main() -> None:
        async with connected(hello) as client:
            head = behind + GET[:-2] + b"x: "
            await client.send(head + value[:1000])
            await settled()
            await client.send(value[1000:] + b"\r\n\r\n")
            if behind:
                await client.until(b"\r\n\r\n/")
            line = await client.until(b"\r\n")
            assert line == (b"HTTP/1.1 431 Request Header Fields Too Large\r\n" if more > 0 else OK[:17])

    run(main())


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_number_of_header_fields(more: int) -> None:
    fields = b"".join(b"x%d: y\r\n" % number for number in range(MAX_HEADERS - 1 + more))

    async def main() -> None:
        async with connected(hello) as client:
            await client.send(GET[:-2] + fields + b"\r\n")
            assert (await client.until(b"\r\n"))[9:12] == (b"431" if more > 0 else b"200")

    run(main())


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_size_of_target(more: int) -> None:
    async def main() -> None:
        async with connected(direct) as client:
            await client.send(get(b"/" + b"x" * (MAX_TARGET - 1 + more)))
            assert (await client.until(b"\r\n"))[9:12] == (b"414" if more > 0 else b"200")

    run(main())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\r\n" * MAX_OVERHEAD, b"431 "),
        (GET[:-2] + b"x: " + b"y" * 2 * MAX_OVERHEAD, b"431 "),
        (POST + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * 2 * MAX_OVERHEAD, b"400 "),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 2 * MAX_OVERHEAD, b"400 "),
    ],
)
def test_what_never_comes_to_an_end_is_refused(data: bytes, expected: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def main() -> None:
        async with connected(app) as client:
            sending = asyncio.create_task(client.send(data))
            assert (await client.until(b"\r\n"))[9:].startswith(expected)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    run(main())


def test_malformed_body_is_a_disconnect_for_the_app() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not told or told[-1] != "http.disconnect":
            told.append((await receive())["type"])
        await hello(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(POST + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
            await settled()
            assert (await refusal(client, b"zz\r\n")).startswith(b"400 ")

    run(main())
    assert told == ["http.request", "http.disconnect"]


def test_malformed_body_behind_a_response_that_began_cuts_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"some", True)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.ask(POST + b"transfer-encoding: chunked\r\n\r\n", b"some\r\n")
            await client.send(b"zz\r\n")
            assert await client.rest() == b""

    run(main())


def test_malformed_body_behind_a_response_that_ended() -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.ask(POST + b"transfer-encoding: chunked\r\n\r\n", b"\r\n\r\n/")
            await client.send(b"zz\r\n")
            assert await client.rest() == b""

    run(main())


@pytest.mark.parametrize("bad", [b"BAD\r\n\r\n", POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"])
def test_bad_request_is_answered_after_those_before_it(bad: bytes) -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(get(b"/n1") + get(b"/n2") + bad)
            await client.send(b"what comes then is dropped")
            await settled()
            gate.open.set()
            await client.until(b"/n1")
            await client.until(b"/n2")
            assert (await client.rest()).startswith(BAD)
            assert gate.begun == ["/n1", "/n2"]

    run(main())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_what_comes_behind_a_last_request_is_dropped(version: bytes) -> None:
    last = b"GET /1 HTTP/%b\r\nhost: a\r\nconnection: close\r\n\r\n" % version

    async def main() -> None:
        for data in (last + get(b"/n2"), last + b"\0\0\0"):
            async with connected(hello) as client:
                await client.send(data)
                assert (await client.rest()).count(b"HTTP/1.1 ") == 1

    run(main())


# Other protocols


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAME = b"\x81\x82\0\0\0\0hi"


async def socket_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        return await hello(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"] + scope["path"]})
    await send({"type": "websocket.close"})
    return None


@pytest.mark.parametrize("before", [b"", GET, GET + GET])
@pytest.mark.parametrize("together", [False, True])
def test_websocket_is_handed_over(before: bytes, together: bool) -> None:
    async def main() -> None:
        async with connected(socket_app) as client:
            if together:
                await client.send(before + HANDSHAKE + FRAME)
            else:
                await client.send(before + HANDSHAKE)
            for _ in range(before.count(b"GET")):
                await client.until(b"\r\n\r\n/")
            assert b" 101 " in await client.until(b"\r\n\r\n")
            if not together:
                await client.send(FRAME)
            await client.until(b"\x81\x05hi/ws")
            assert not client.state.connections & {client.connection}
            await client.send(b"\x88\x82\0\0\0\0\x03\xe8")
            await client.rest()
            await until(lambda: not client.state.tasks)

    run(main())


def test_handshake_waits_for_the_response_before_it() -> None:
    async def main() -> None:
        gate = Gate()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await (gate if scope["type"] == "http" else socket_app)(scope, receive, send)

        async with connected(app) as client:
            await client.send(GET + HANDSHAKE)
            await client.send(FRAME)
            await until(lambda: client.connection.backlog)
            gate.open.set()
            await client.until(b"/")
            await client.until(b"\x81\x05hi/ws")
            client.close()
            await until(lambda: not client.state.tasks)

    run(main())


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"GET", b"POST"), (b"HTTP/1.1", b"HTTP/1.0"), (b"upgrade:", b"content-length: 1\r\nupgrade:")],
)
def test_bad_handshake_is_refused(old: bytes, new: bytes) -> None:
    async def main() -> None:
        async with connected(socket_app) as client:
            assert (await refusal(client, HANDSHAKE.replace(old, new, 1))).startswith(b"400 ")

    run(main())


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("lines", "sent", "expected"),
    [
        (b"", b"", b""),
        (b"content-length: 0\r\n", b"", b""),
        (b"content-length: 3\r\n", b"abc", b"abc"),
        (b"transfer-encoding: chunked\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
    ],
)
def test_other_upgrades_are_ignored(lines: bytes, sent: bytes, expected: bytes, bytewise: bool) -> None:
    """Also with a body, which llhttp takes for the other protocol."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        whole = b""
        more = True
        while more:
            message = await receive()
            whole += message["body"]
            more = message["more_body"]
        paths.append(scope["path"])
        await start(send, (b"content-length", b"%d" % (len(whole) + 1)))
        await body(send, whole + b";")

    paths: list[str] = []
    head = b"POST /h2 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + lines + b"\r\n"

    async def main() -> None:
        async with connected(app) as client:
            for _ in range(2):
                data = head + sent + GET
                await (client.send_bytewise(data) if bytewise else client.send(data))
                assert (await client.until(b";")).endswith(b"\r\n\r\n" + expected + b";")
                await client.until(b"\r\n\r\n;")

    run(main())
    assert paths == ["/h2", "/"] * 2


def test_websocket_without_a_library_is_a_request() -> None:
    async def main() -> None:
        async with connected(hello, ws="none") as client:
            await client.ask(HANDSHAKE, b"\r\n\r\n/ws")
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


# Time


def test_head_that_does_not_come_to_an_end_is_408(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.send(GET[:-3])
            await settled()
            clock.advance(HEAD_TIMEOUT - 1)
            await client.send(b"\n")  # more of it gives no more time
            await settled()
            assert not client.transport.is_closing()
            clock.advance(1 + LATE)
            assert (await client.rest()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")

    run(main())


def test_head_of_a_second_request_has_its_own_time(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.ask(GET, b"\r\n\r\n/")
            clock.advance(3)
            await settled()
            await client.send(GET[:-3])
            await settled()
            clock.advance(HEAD_TIMEOUT - 1)
            await settled()
            assert not client.transport.is_closing()
            clock.advance(1 + LATE)
            assert (await client.rest()).startswith(b"HTTP/1.1 408 ")

    run(main())


@pytest.mark.parametrize("before", [b"", GET])
def test_silent_connection_is_closed_without_a_word(before: bytes, clock: FakeClock) -> None:
    seconds = 5 if before else HEAD_TIMEOUT

    async def main() -> None:
        async with connected(hello) as client:
            if before:
                await client.ask(before, b"\r\n\r\n/")
            clock.advance(seconds - 0.5)
            await settled()
            assert not client.transport.is_closing()
            clock.advance(0.5 + LATE)
            assert await client.rest() == b""

    run(main())


def test_keep_alive_is_uvicorns_option(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello, timeout_keep_alive=60) as client:
            await client.ask(GET, b"\r\n\r\n/")
            clock.advance(59)
            await settled()
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


def test_body_that_stops_is_408(clock: FakeClock) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not told or told[-1] != "http.disconnect":
            told.append((await receive())["type"])

    async def main() -> None:
        async with connected(app) as client:
            await client.send(POST + b"content-length: 3\r\n\r\na")
            for _ in range(2):
                await settled()
                clock.advance(BODY_TIMEOUT - 1)
                await settled()
                assert not client.transport.is_closing()
                await client.send(b"b")  # which begins the time anew
            clock.advance(BODY_TIMEOUT + LATE)

    async def stop() -> None:
        async with connected(app) as client:
            await client.send(POST + b"content-length: 3\r\n\r\na")
            await settled()
            clock.advance(BODY_TIMEOUT + LATE)
            assert (await client.rest()).startswith(b"HTTP/1.1 408 ")

    run(stop())
    assert told == ["http.request", "http.disconnect"]
    told.clear()
    run(main())


def test_body_that_the_app_does_not_wait_for_has_time(clock: FakeClock) -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(POST + b"content-length: 3\r\n\r\na")
            await settled()
            clock.advance(10 * BODY_TIMEOUT)
            await settled()
            gate.open.set()
            await client.until(b"\r\n\r\n/")

    run(main())


def test_body_beside_a_response_has_time(clock: FakeClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await start(send)
        await body(send, b"some", True)
        await waiting
        await receive()
        await body(send, b"more")

    async def main() -> None:
        async with connected(app) as client:
            await client.ask(POST + b"content-length: 3\r\n\r\n", b"some\r\n")
            clock.advance(10 * BODY_TIMEOUT)
            await settled()
            await client.send(b"a")
            await settled()
            clock.advance(10 * BODY_TIMEOUT)
            await settled()
            await client.ask(b"bc", b"more\r\n0\r\n\r\n")

    run(main())


def test_body_of_an_answered_request_has_little_time(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.ask(POST + b"content-length: 3\r\n\r\na", b"\r\n\r\n/")
            clock.advance(LINGER_TIMEOUT + LATE)
            assert await client.rest() == b""

    run(main())


def test_connection_goes_on_after_the_body_of_an_answered_request(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello) as client:
            await client.ask(POST + b"content-length: 3\r\n\r\na", b"\r\n\r\n/")
            await client.send(b"bc")
            await settled()
            clock.advance(4)
            await settled()
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


def test_client_that_takes_nothing_is_left(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(stream) as client:
            await client.send(GET)
            await until(lambda: client.connection.write_paused)
            clock.advance(WRITE_TIMEOUT - 1)
            await settled()
            await client.read(1_000_000)
            clock.advance(1)
            await settled()
            clock.advance(WRITE_TIMEOUT - 2)
            await settled()
            assert not client.transport.is_closing()
            clock.advance(WRITE_TIMEOUT + LATE)
            await until(lambda: ended)

    ended: list[bool] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        try:
            while True:
                await body(send, b"x" * 1_000_000, True)
        except OSError:
            ended.append(True)

    run(main())


def test_client_that_does_not_take_the_last_response_is_left(clock: FakeClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.respond(200, [(b"connection", b"close")], b"x" * 4_000_000)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.closing)
            clock.advance(WRITE_TIMEOUT + 2 * LATE)
            await settled()
            assert client.state.connections == set()

    run(main())


def test_no_timer_is_left_when_no_connection_is(clock: FakeClock) -> None:
    async def main() -> None:
        async with connected(hello):
            assert clock.waiting == 1
        assert clock.waiting == 1
        clock.advance(LATE)
        await settled()
        assert clock.waiting == 0
        async with connected(hello) as client:
            assert clock.waiting == 1
            await client.ask(GET, b"\r\n\r\n/")

    run(main())


# Ends


def test_what_comes_while_a_refusal_waits_is_dropped() -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(GET + b"BAD\r\n")
            await until(lambda: client.connection.deaf)
            await client.send(b"x" * 1000)
            await settled()
            assert not client.connection.backlog
            gate.open.set()
            await client.until(b"\r\n\r\n/")
            assert (await client.rest()).startswith(BAD)

    run(main())


def test_last_response_is_read_late() -> None:
    """The transport tells that there is room again, and nothing is to go on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.respond(200, [(b"connection", b"close")], b"x" * 4_000_000)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.closing)
            assert (await client.rest()).count(b"x") == 4_000_000

    run(main())


def test_reading_is_not_resumed_where_the_connection_ends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await until(lambda: send.connection.read_paused)
        send.transport.close()
        await hello(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            size = 2 * PIECE
            await client.send(POST + b"content-length: %d\r\n\r\n" % size + b"x" * size)
            await client.rest()

    run(main())


@pytest.mark.parametrize("sent", [b"", b"more"])
def test_client_that_goes_on_sending_gets_its_answer_first(sent: bytes, clock: FakeClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.respond(413, [(b"connection", b"close"), (b"content-length", b"0")], b"")

    async def main() -> None:
        async with connected(app, tcp=True) as client:
            await client.send(POST + b"content-length: 1000000\r\n\r\n")
            await client.until(b"\r\n\r\n")
            assert await client.read() == b""
            for _ in range(LINGER_LIMIT // 4 if sent else 0):
                await client.send(sent)
                await settled()
                assert not client.transport.is_closing()
                clock.advance(4)
                await settled()
            if sent:
                await client.send(sent)
                await settled()
            clock.advance(4 if sent else LINGER_TIMEOUT + LATE)  # past the limit, or past the time
            await settled()
            assert client.transport.is_closing()

    run(main())


def test_shutdown_closes_what_is_idle_and_lets_the_rest_end() -> None:
    async def main() -> None:
        gate = Gate()
        state = ServerState()
        state.default_headers = DEFAULTS
        async with connected(hello, state=state) as idle, connected(gate, state=state) as busy:
            await busy.send(GET + GET)
            await settled()
            for connection in list(state.connections):
                connection.shutdown()
            assert await idle.rest() == b""
            assert _shutdown.notice().begun
            gate.open.set()
            rest = await busy.rest()
            assert rest.count(b"HTTP/1.1 200") == 1
            assert b"\r\nconnection: close\r\n" in rest

    run(main())


def test_shutdown_does_not_wait_for_a_client_that_is_sending() -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(POST + b"content-length: 3\r\n\r\na")
            await settled()
            client.connection.shutdown()
            gate.open.set()
            await client.rest()
            await settled()
            assert not client.state.connections

    run(main())


def test_client_that_leaves_drops_what_waits() -> None:
    async def main() -> None:
        gate = Gate()
        async with connected(gate) as client:
            await client.send(get(b"/n1") + get(b"/n2"))
            await settled()
            client.close()
            await until(lambda: client.transport.is_closing())
            gate.open.set()
            await settled()
            assert gate.begun == ["/n1"]

    run(main())


def test_client_that_sends_its_end_and_reads_nothing_is_told_of_at_once() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send)
        sending = asyncio.ensure_future(body(send, b"x" * 4_000_000, True))
        told.append((await receive())["type"])
        sending.cancel()

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.connection.write_paused)
            client.socket.shutdown(socket.SHUT_WR)
            await until(lambda: told)
            assert client.state.connections  # what was written has not gone out

    run(main())
    assert told == ["http.disconnect"]


def test_response_that_fails_does_not_wait_for_its_client(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        sending = asyncio.ensure_future(body(send, b"x" * 4_000_000, True))
        await until(lambda: send.connection.write_paused)
        sending.cancel()
        raise ValueError("late")

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET)
            await until(lambda: client.transport.is_closing())
            await settled()
            assert not client.state.connections

    run(main())
    assert "ValueError: late" in caplog.text


def test_close_of_what_is_closing_already() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send.transport.close()
        await hello(scope, receive, send)

    async def main() -> None:
        async with connected(app) as client:
            await client.send(GET[:-2] + b"connection: close\r\n\r\n")
            await client.rest()

    run(main())


# uvicorn's options


def test_limit_of_concurrency() -> None:
    async def main() -> None:
        async with connected(hello, limit_concurrency=1) as client:
            await client.send(GET)
            assert (await client.rest()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")

    run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_context_can_be_reset(reset: bool) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        await hello(scope, receive, send)

    async def main() -> None:
        variable.set("set")
        async with connected(app, reset_contextvars=reset) as client:
            await client.ask(GET, b"\r\n\r\n/")

    run(main())
    assert seen == ["unset" if reset else "set"]

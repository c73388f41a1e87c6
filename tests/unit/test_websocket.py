"""WebsocketRequest: the handshake, messages both ways, the end, and each wrong call in each state."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import DisconnectedError, HTTPError, UsageError, WebsocketRequest, to_asgi

from .asgi import Websocket, converse_ws
from .asking import ask_ws
from .turns import drain, errors, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgineer._request import Message, Receive, Scope, Send

    from .asgi import App


def app_of(work: Callable[[WebsocketRequest], Awaitable[Any]], **settings: Any) -> App:
    async def handler(request: WebsocketRequest) -> Any:
        return await work(request)

    return to_asgi(handler, **settings)


def socket_for(work: Callable[[WebsocketRequest], Awaitable[Any]], **options: Any) -> Websocket:
    return Websocket(app_of(work), **options)


async def finish(socket: Websocket) -> Websocket:
    socket.start()
    await socket.finish()
    return socket


# The handshake


def test_what_it_is() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.send(f"{request.method} {request.verb} {request.scheme} {request.path} {request.url}")

    socket = ask_ws(app_of(work), "/a?b=c", headers={"host": "example.com"})
    assert socket.messages == ["GET WEBSOCKET ws /a ws://example.com/a?b=c"]


def test_accept() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()

    socket = ask_ws(app_of(work))
    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.close"]
    assert socket.sent[0]["subprotocol"] is None
    assert socket.sent[0]["headers"] == []
    assert socket.close_code == 1000, "the connection is closed when the handler returns"


def test_accept_with_subprotocol_and_headers() -> None:
    async def work(request: WebsocketRequest) -> None:
        assert request.subprotocols == ("a", "b")
        await request.accept("b", {"X-A": "1", "Set-Cookie": ["c", "d"]})

    socket = ask_ws(app_of(work), subprotocols=["a", "b"])
    assert socket.sent[0]["subprotocol"] == "b"
    assert socket.sent[0]["headers"] == [(b"x-a", b"1"), (b"set-cookie", b"c"), (b"set-cookie", b"d")]


def test_subprotocols_that_a_server_leaves_out() -> None:
    async def work(request: WebsocketRequest) -> None:
        assert request.subprotocols == ()
        await request.accept()

    assert ask_ws(app_of(work), subprotocols=None).accepted


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"subprotocol": "c"}, ValueError),
        ({"headers": {"x": "\n"}}, ValueError),
        ({"headers": {"x": 1}}, TypeError),
        ({"headers": []}, TypeError),
        ({"origins": "https://example.com"}, TypeError),
    ],
)
def test_accept_checks_its_arguments_first(arguments: dict[str, Any], error: type[Exception]) -> None:
    async def work(request: WebsocketRequest) -> None:
        with pytest.raises(error):
            await request.accept(**arguments)
        await request.accept()

    assert ask_ws(app_of(work), subprotocols=["a"]).accepted


@pytest.mark.parametrize(
    ("origin", "host", "listed", "accepted"),
    [
        (None, "good.com", None, True),
        ("https://good.com", "good.com", None, True),
        ("http://good.com", "good.com", None, True),
        ("http://good.com:8080", "good.com:8080", None, True),
        ("https://good.com", "GOOD.com", None, True),
        ("http://[::1]:80", "[::1]:80", None, True),
        ("https://evil.com", "good.com", None, False),
        ("null", "good.com", None, False),
        ("", "good.com", None, False),
        ("http://good.com.evil.com", "good.com", None, False),
        ("https://GOOD.com:443", "good.com", None, False),
        ("https://good.com.", "good.com", None, False),
        ("https://good.com:8443", "good.com", None, False),
        ("https://good.com", "good.com:8080", None, False),
        ("https://good.com/", "good.com", None, False),
        ("https://user@good.com", "good.com", None, False),
        ("good.com", "good.com", None, False),
        ("file://good.com", "good.com", None, False),
        ("https://", None, None, False),
        ("https://good.com", None, None, False),
        ("https://evil.com", "good.com", ["https://evil.com"], True),
        ("https://good.com", "good.com", ["https://evil.com"], True),
        ("https://evil.com.x", "good.com", ["https://evil.com"], False),
        ("https://x", "good.com", ["*"], True),
        ("null", "good.com", ["null"], True),
        ("null", "good.com", [], False),
    ],
)
def test_origin(
    origin: str | None,
    host: str | None,
    listed: list[str] | None,
    accepted: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept(origins=listed)

    headers = [(name, value) for name, value in (("host", host), ("origin", origin)) if value is not None]
    socket = ask_ws(app_of(work), headers=headers, denial=True)
    assert socket.accepted is accepted
    if not accepted:
        assert socket.denial == (403, b"Origin not allowed")
    assert not caplog.records


def test_two_origins() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()

    headers = [("host", "good.com"), ("origin", "https://good.com"), ("origin", "https://good.com")]
    assert ask_ws(app_of(work), headers=headers).denial[0] == 403


# Denials


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        (None, 403, b"Forbidden"),
        ("no", 200, b"no"),
        ((401, {"x-a": "1"}, "who?"), 401, b"who?"),
        ({"error": 1}, 200, b'{"error":1}'),
        (HTTPError(404), 404, b"Not Found"),
        (ValueError("secret"), 500, b"Internal server error"),
        (42, 500, b"Internal server error"),
        ((404, "x"), 500, b"Internal server error"),
        ((101, {}, ""), 500, b"Internal server error"),
    ],
)
def test_a_handler_that_ends_before_accept_denies(
    result: Any, status: int, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(request: WebsocketRequest) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    rich = ask_ws(app_of(work), denial=True)
    assert rich.denial == (status, body)
    assert len(errors(caplog)) == (status == 500)
    poor = ask_ws(app_of(work))
    assert poor.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


class DaphneServer:
    """As daphne: it hands out a partial of this, and knows no denial but 403 and an exception."""

    def __init__(self, send: Send) -> None:
        self.send = send

    async def handle_reply(self, protocol: object, message: Message) -> None:
        await self.send(message)


DaphneServer.__module__ = "daphne.server"


@pytest.mark.parametrize(("result", "raised"), [(ValueError("x"), True), (42, True), (HTTPError(404), False)])
def test_a_denial_with_500_on_daphne(result: Any, raised: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await app_of(work)(scope, receive, functools.partial(DaphneServer(send).handle_reply, object()))

    socket = run(converse_ws(app))
    assert (socket.sent == []) is raised
    assert (type(socket.error).__name__ == "ResponseAborted") is raised
    assert len(errors(caplog)) == raised


def test_a_denial_has_the_headers_of_the_response() -> None:
    async def work(request: WebsocketRequest) -> Any:
        raise HTTPError(401, headers={"www-authenticate": "Basic"})

    socket = ask_ws(app_of(work), denial=True)
    headers = dict(socket.sent[0]["headers"])
    assert headers[b"www-authenticate"] == b"Basic"
    assert headers[b"content-length"] == b"12"


def test_a_denial_by_a_stream() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async def work(request: WebsocketRequest) -> Any:
        return 404, {}, stream()

    assert ask_ws(app_of(work), denial=True).denial == (404, b"ab")


def test_a_denial_by_a_stream_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def stream() -> AsyncIterator[Any]:
        yield "a"
        yield 3

    async def work(request: WebsocketRequest) -> Any:
        return 404, {}, stream()

    assert ask_ws(app_of(work), denial=True).denial[0] == 500
    assert "Response chunks must be bytes or str" in errors(caplog)[0]


def test_the_renderer_makes_the_denial() -> None:
    async def work(request: WebsocketRequest) -> None:
        raise HTTPError(404)

    app = app_of(work, error=lambda request, error: {"status": error.status})
    assert ask_ws(app, denial=True).denial == (404, b'{"status":404}')


@pytest.mark.parametrize("denial", [True, False])
def test_close_before_accept_denies_with_403(denial: bool) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.close()
        await request.close(3000)
        with pytest.raises(UsageError, match="Cannot accept a closed websocket"):
            await request.accept()
        with pytest.raises(UsageError, match="Cannot send to a closed"):
            await request.send("x")
        with pytest.raises(UsageError, match="Cannot receive from a closed"):
            await request.receive()
        assert await drain(request.receive_iter()) == []

    assert ask_ws(app_of(work), denial=denial).denial == (403, b"")


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("result", [None, (404, {}, "x"), HTTPError(404)])
async def test_a_client_that_left_before_the_answer_gets_none(result: Any, denial: bool) -> None:
    async def work(request: WebsocketRequest) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    socket = socket_for(work, denial=denial)
    socket._told_connect = True  # the connect: some servers tell of the disconnect in its place
    socket.leave()
    await finish(socket)
    assert (socket.sent, socket.error) == ([], None)


async def test_accept_of_a_client_that_left() -> None:
    async def work(request: WebsocketRequest) -> None:
        for _ in range(2):
            with pytest.raises(
                DisconnectedError, match="Cannot accept ws that already disconnected"
            ) as caught:
                await request.accept()
            assert caught.value.code == 1006

    socket = socket_for(work)
    socket._told_connect = True
    socket.leave(1006)
    await finish(socket)
    assert (socket.sent, socket.error) == ([], None)


# Messages


async def test_messages_both_ways() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        async for message in request.receive_iter():
            await request.send(message)

    socket = socket_for(work)
    socket.text("é")
    socket.binary(b"\x00\xff")
    socket.text("")
    socket.binary(b"")
    socket.leave()
    await finish(socket)
    assert socket.messages == ["é", b"\x00\xff", "", b""]
    assert [type(message) for message in socket.messages] == [str, bytes, str, bytes]
    assert socket.close_code is None, "there is nobody to be told"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"text": "a", "bytes": None}, "a"),
        ({"text": "a"}, "a"),
        ({"text": "", "bytes": None}, ""),
        ({"text": None, "bytes": b"a"}, b"a"),
        ({"bytes": b"a"}, b"a"),
        ({"text": None, "bytes": b""}, b""),
        ({"bytes": b""}, b""),
        ({"text": None, "bytes": None}, b""),
    ],
)
async def test_each_way_in_which_servers_write_a_message(
    message: dict[str, Any], expected: str | bytes
) -> None:
    found = []

    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        found.append(await request.receive())

    socket = socket_for(work)
    socket.feed({"type": "websocket.receive", **message})
    await finish(socket)
    assert found == [expected]
    assert type(found[0]) is type(expected)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        ("é", "é"),
        ("", ""),
        (b"\xff", b"\xff"),
        (b"", b""),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
        ({}, "{}"),
    ],
)
def test_send(data: Any, sent: str | bytes) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.send(data)

    (message,) = ask_ws(app_of(work)).messages
    assert message == sent
    assert type(message) is type(sent)


@pytest.mark.parametrize("data", [None, 3, [], ("a",), object(), {"a": object()}, {(1, 2): 3}])
def test_send_something_else(data: Any) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        with pytest.raises(TypeError, match="Can only send bytes/str|Could not JSON encode"):
            await request.send(data)

    socket = ask_ws(app_of(work))
    assert socket.messages == []
    assert socket.close_code == 1000


@pytest.mark.parametrize("data", ["\ud800", {"a": "\ud800"}])
def test_send_what_is_no_unicode(data: Any) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        with pytest.raises(ValueError, match="surrogates not allowed"):
            await request.send(data)

    assert ask_ws(app_of(work)).messages == []


@pytest.mark.parametrize(
    ("data", "value"), [('{"a": 1}', {"a": 1}), (b"[1]", [1]), ('"\u20ac"', "€"), ("3", 3), ("null", None)]
)
async def test_receive_json(data: str | bytes, value: Any) -> None:
    found = []

    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        found.append(await request.receive_json())

    socket = socket_for(work)
    socket.text(data) if isinstance(data, str) else socket.binary(data)
    await finish(socket)
    assert found == [value]


@pytest.mark.parametrize("data", ["", "{", "NaN", "[" * 100_000, b"\xff"])
async def test_receive_json_of_something_else_closes_with_1007(
    data: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.receive_json()

    socket = socket_for(work)
    socket.text(data) if isinstance(data, str) else socket.binary(data)
    await finish(socket)
    assert socket.close_code == 1007
    assert socket.error is None
    assert not caplog.records


async def test_receive_json_with_a_type() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        assert await request.receive_json(list[int]) == [1]
        await request.receive_json(list[int])

    socket = socket_for(work)
    socket.text("[1]")
    socket.text('["x"]')
    await finish(socket)
    assert socket.close_code == 1007


def test_concurrent_sends() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await asyncio.gather(*[request.send(str(number)) for number in range(50)])

    assert sorted(ask_ws(app_of(work)).messages, key=str) == sorted(map(str, range(50)))


async def test_receive_in_two_tasks() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        first = asyncio.ensure_future(request.receive())
        await settle()
        with pytest.raises(UsageError, match="Cannot receive in two tasks at once"):
            await request.receive()
        socket.text("x")
        assert await first == "x"
        socket.text("y")
        assert await request.receive() == "y"

    socket = socket_for(work)
    await finish(socket)
    assert socket.error is None
    assert socket.close_code == 1000


async def test_a_receive_that_is_cancelled_loses_no_message() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await request.receive()
        socket.text("x")
        await request.send(await request.receive())

    socket = socket_for(work)
    assert (await finish(socket)).messages == ["x"]


async def test_receive_iter_passed_to_another_object() -> None:
    class Room:
        def __init__(self, messages: AsyncIterator[str | bytes]) -> None:
            self.messages = messages

        async def listen(self) -> list[str | bytes]:
            return [message async for message in self.messages]

    found = []

    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        found.extend(await Room(request.receive_iter()).listen())

    socket = socket_for(work)
    socket.text("a")
    socket.text("b")
    socket.leave()
    await finish(socket)
    assert found == ["a", "b"]


async def test_receive_iter_ends_with_our_own_close() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        async for message in request.receive_iter():
            if message == "bye":
                await request.close()

    socket = socket_for(work)
    socket.text("x")
    socket.text("bye")
    await finish(socket)
    assert socket.close_code == 1000


def test_receive_iter_before_accept() -> None:
    async def work(request: WebsocketRequest) -> None:
        with pytest.raises(UsageError, match="Cannot receive before calling accept"):
            await drain(request.receive_iter())
        await request.accept()

    assert ask_ws(app_of(work)).accepted


# The client leaves


async def test_a_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.receive()

    socket = socket_for(work)
    socket.leave()
    await finish(socket)
    assert (socket.error, socket.close_code) == (None, None)
    assert not caplog.records


async def test_after_the_client_left() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        with pytest.raises(DisconnectedError) as caught:
            await request.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "bored")
        assert isinstance(caught.value, OSError)
        with pytest.raises(
            DisconnectedError, match="Cannot receive from ws that already disconnected"
        ) as late:
            await request.receive()
        assert late.value.code == 4001
        with pytest.raises(DisconnectedError, match="Cannot send to a disconnected ws"):
            await request.send("x")
        assert await drain(request.receive_iter()) == []
        with pytest.raises(DisconnectedError, match="Cannot receive from ws that already disconnected"):
            await request.receive()
        await request.close()

    socket = socket_for(work)
    socket.leave(4001, "bored")
    await finish(socket)
    assert socket.error is None
    assert [message["type"] for message in socket.sent] == ["websocket.accept"]


async def test_a_disconnect_without_a_code() -> None:
    codes = []

    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            await request.receive()
        except DisconnectedError as error:
            codes.append((error.code, error.reason))

    socket = socket_for(work)
    socket.feed({"type": "websocket.disconnect"})
    await finish(socket)
    assert codes == [(1005, "")]


async def test_a_server_that_raises_os_error_for_a_lost_client(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        socket.leave()
        with pytest.raises(DisconnectedError) as caught:
            await request.send("x")
        assert caught.value.code == 1006
        with pytest.raises(DisconnectedError, match="Cannot send to a disconnected ws"):
            await request.send("x")

    socket = socket_for(work, lost=True)
    await finish(socket)
    assert socket.error is None
    assert not caplog.records


async def test_send_and_receive_of_a_lost_client_tell_the_same_story(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        reading = asyncio.ensure_future(request.receive())
        await settle()
        socket.leave(4001, "bored")
        with pytest.raises(DisconnectedError) as sending:
            await request.send("a")  # without a turn for the reader
        with pytest.raises(DisconnectedError) as receiving:
            await reading
        assert sending.value.code == receiving.value.code == 1006

    socket = socket_for(work, lost=True)
    await finish(socket)
    assert socket.error is None
    assert not caplog.records


async def test_a_lost_client_at_the_closing(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        socket.leave()

    socket = socket_for(work, lost=True)
    await finish(socket)
    assert socket.error is None
    assert not caplog.records


# Closing


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [((), 1000, ""), ((1001,), 1001, ""), ((1014,), 1014, ""), ((3000,), 3000, ""), ((4999, "é"), 4999, "é")],
)
def test_close(arguments: tuple[Any, ...], code: int, reason: str) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.close(*arguments)
        await request.close(3333)
        with pytest.raises(UsageError, match="Cannot send to a closed"):
            await request.send("x")
        with pytest.raises(UsageError, match="Cannot receive from a closed"):
            await request.receive()
        with pytest.raises(UsageError, match="Cannot accept a closed"):
            await request.accept()

    socket = ask_ws(app_of(work))
    assert (socket.close_code, socket.sent[-1]["reason"]) == (code, reason)


@pytest.mark.parametrize("code", [0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 10**9])
def test_close_with_a_code_that_may_not_be_sent(code: int) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        with pytest.raises(ValueError, match=f"can't be closed with code {code}"):
            await request.close(code)

    assert ask_ws(app_of(work)).close_code == 1000


@pytest.mark.parametrize(("reason", "fits"), [("x" * 123, True), ("x" * 124, False), ("é" * 62, False)])
def test_close_with_a_long_reason(reason: str, fits: bool) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        if fits:
            await request.close(1000, reason)
        else:
            with pytest.raises(ValueError, match="at most 123 bytes"):
                await request.close(1000, reason)

    assert ask_ws(app_of(work)).sent[-1]["reason"] == (reason if fits else "")


@pytest.mark.parametrize(
    ("error", "code", "reason", "logged"),
    [
        (HTTPError(404), 1008, "Not Found", False),
        (HTTPError(303), 1008, "See Other", False),
        (HTTPError(503), 1011, "Internal server error", False),
        (ValueError("secret"), 1011, "Internal server error", True),
        (KeyboardInterrupt(), 1011, "Internal server error", True),
        (asyncio.CancelledError(), 1011, "Internal server error", True),
        (ExceptionGroup("g", [HTTPError(404)]), 1008, "Not Found", False),
        (ExceptionGroup("g", [ValueError("x"), HTTPError(404)]), 1011, "Internal server error", True),
    ],
)
def test_an_exception_after_accept_closes(
    error: BaseException, code: int, reason: str, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        raise error

    socket = ask_ws(app_of(work))
    assert (socket.close_code, socket.sent[-1]["reason"]) == (code, reason)
    found = errors(caplog)
    assert len(found) == logged
    if logged:
        assert f"{type(error).__name__} in websocket handler: " in found[0]


def test_an_exception_after_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.close()
        raise ValueError("late")

    assert ask_ws(app_of(work)).close_code == 1000
    assert "ValueError in websocket handler: late" in errors(caplog)[0]


async def test_a_cancellation_passes_through(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        await request.receive()

    socket = socket_for(work)
    socket.start()
    await settle()
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.finish()
    assert not caplog.records


# Mistakes


async def _accept_twice(request: WebsocketRequest) -> None:
    await request.accept()
    await request.accept()


async def _send_first(request: WebsocketRequest) -> None:
    await request.send("x")


async def _receive_first(request: WebsocketRequest) -> None:
    await request.receive()


async def _return_after_accept(request: WebsocketRequest) -> str:
    await request.accept()
    return "x"


async def _return_after_close(request: WebsocketRequest) -> str:
    await request.accept()
    await request.close()
    return "x"


async def _fail_before(request: WebsocketRequest) -> None:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (_accept_twice, "UsageError in websocket handler: Cannot accept an already accepted"),
        (_send_first, "UsageError in websocket handler: Cannot send before calling accept"),
        (_receive_first, "UsageError in websocket handler: Cannot receive before calling accept"),
        (_return_after_accept, "A websocket handler should return None"),
        (_return_after_close, "A websocket handler should return None"),
        (_fail_before, "KeyError in websocket handler: 'x'"),
    ],
)
def test_mistakes(work: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    socket = run(converse_ws(app_of(work), denial=True))
    assert socket.error is None
    (record,) = errors(caplog)
    assert words in record
    if work is _return_after_close:
        assert socket.close_code == 1000
    elif socket.accepted:
        assert socket.close_code == 1011
    else:
        assert socket.denial == (500, b"Internal server error")


async def test_the_connect_message_is_taken_once() -> None:
    async def work(request: WebsocketRequest) -> None:
        await request.accept()
        assert await request.receive() == "first"

    socket = socket_for(work)
    socket.text("first")
    await finish(socket)
    assert socket.close_code == 1000

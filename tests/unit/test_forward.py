"""request.forward: what the other app gets, and what this app makes of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    DisconnectedError,
    HttpRequest,
    UsageError,
    WebsocketRequest,
    response_of,
    running,
    to_asgi,
)

from .asgi import Http, Websocket, converse, converse_ws
from .asking import ask, ask_ws
from .turns import errors, run, settle

if TYPE_CHECKING:
    from asgineer._request import Receive, Scope, Send

START = {"type": "http.response.start", "status": 201, "headers": [(b"x-other", b"yes")]}


def whole(body: bytes = b"other") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


def sending(*messages: Any) -> Any:
    """Return an app that sends `messages`, and raises those that are exceptions."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return app


def forwarding(other: Any, prefix: str = "", **options: Any) -> Any:
    async def main(request: HttpRequest) -> None:
        await request.forward(other, prefix)

    return to_asgi(main, **options)


async def tell_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the scope says."""
    told = {
        "path": scope["path"],
        "raw_path": scope.get("raw_path", b"").decode(),
        "root_path": scope["root_path"],
        "state": scope["state"],
    }
    await send(START)
    await send(whole(json.dumps(told).encode()))


# What the other app gets


def scope_seen(target: str, prefix: str, **scope: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ask(forwarding(tell_scope, prefix), target, **scope).content)
    return told


@pytest.mark.parametrize(
    ("target", "prefix", "root_path", "path", "mounted_at"),
    [
        ("/a/b", "", "", "/a/b", ""),
        ("/a/b", "/", "", "/a/b", ""),
        ("/a/b", "/a", "", "/a/b", "/a"),
        ("/a/b", "/a/", "", "/a/b", "/a"),
        ("/a", "/a", "", "/a", "/a"),
        ("/a/", "/a", "", "/a/", "/a"),
        ("/a/b/c", "/a/b", "", "/a/b/c", "/a/b"),
        ("/site/a/b", "/a", "/site", "/site/a/b", "/site/a"),  # as uvicorn has it
        ("/a/b", "/a", "/site", "/site/a/b", "/site/a"),  # as hypercorn has it
        ("/a/b", "", "/site", "/site/a/b", "/site"),
    ],
)
def test_scope(target: str, prefix: str, root_path: str, path: str, mounted_at: str) -> None:
    seen = scope_seen(target, prefix, root_path=root_path)
    assert seen == {"path": path, "raw_path": path, "root_path": mounted_at, "state": {}}


@pytest.mark.parametrize(
    ("target", "prefix", "raw_path"),
    [
        ("/%61/b", "/a", "/a/b"),
        ("/a/b%2Fc/%C3%A4", "/a", "/a/b%2Fc/%C3%A4"),
        ("/%E4%BD%A0/b%2Fc", "/\u4f60", "/%E4%BD%A0/b%2Fc"),
        ("/@me/b%2Fc", "/@me", "/%40me/b%2Fc"),
    ],
)
def test_raw_path_begins_with_where_it_is_mounted(target: str, prefix: str, raw_path: str) -> None:
    seen = scope_seen(target, prefix)
    assert (seen["raw_path"], seen["root_path"]) == (raw_path, prefix)


@pytest.mark.parametrize("prefix", ["", "/a"])
def test_raw_path_that_is_right_already_keeps_its_bytes(prefix: str) -> None:
    seen = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["raw_path"])
        await tell_scope({**scope, "raw_path": b""}, receive, send)

    ask(forwarding(other, prefix), "/a/x", raw_path=b"/a/\xff")
    assert seen == [b"/a/\xff"]


def test_an_app_of_ours_sees_its_own_part_of_the_path() -> None:
    seen = []

    @to_asgi
    async def inner(request: HttpRequest) -> str:
        seen.append((request.path, request.parts, request.root_path, request.url))
        return "inner"

    assert ask(forwarding(inner, "/a"), "/%61/b%2Fc?d", headers={"host": "x"}).text == "inner"
    assert seen == [("/b/c", ("b/c",), "/a", "http://x/a/b%2Fc?d")]


def test_a_server_without_a_raw_path() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope = dict(scope)
        del scope["raw_path"]
        await forwarding(tell_scope, "/a")(scope, receive, send)

    assert json.loads(ask(app, "/a/b").content)["raw_path"] == ""


@pytest.mark.parametrize("target", ["/", "/b", "/ab", "/A", "/b/a", "//a", "/a%2Fb", "/a%2F"])
def test_a_path_outside_the_prefix_is_404(target: str, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(forwarding(tell_scope, "/a"), target).status_code == 404
    assert errors(caplog) == []


def test_a_prefix_that_is_no_path() -> None:
    app = forwarding(tell_scope, "a", debug=True)
    assert "The prefix must be a path such as '/admin', not 'a'" in ask(app, "/a").text


def test_the_scope_of_the_request_stays_as_it_was() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> None:
        before = dict(request.scope)
        await request.forward(tell_scope, "/a")
        assert request.scope == before

    assert ask(main, "/a/b", state={"x": 1}).status_code == 201


def test_state_is_that_of_the_request() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> None:
        request.state["user"] = "me"
        await request.forward(tell_scope)

    assert json.loads(ask(main, state={"x": 1}).content)["state"] == {"x": 1, "user": "me"}


class Unhashable:
    """An app with a lifespan, which is equal to others and has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await tell_scope(scope, receive, send)
        scope["state"]["pool"] = "its own"
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def method(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self(scope, receive, send)


@pytest.mark.parametrize("by_method", [False, True])
def test_state_that_the_lifespan_of_the_app_left_wins(by_method: bool) -> None:
    other = Unhashable()

    @to_asgi
    async def main(request: HttpRequest) -> None:
        await request.forward(other.method if by_method else other)

    async def serve() -> list[Any]:
        async with running(other.method if by_method else other):
            answers = [await converse(main, state={"x": 1, "pool": "ours"})]
        answers.append(await converse(main, state={"x": 1, "pool": "ours"}))
        return [json.loads(answer.body)["state"] for answer in answers]

    assert run(serve()) == [{"x": 1, "pool": "its own"}, {"x": 1, "pool": "ours"}]


# HTTP: messages and outcomes


def test_messages_pass_untouched() -> None:
    received = []
    head = {**START, "trailers": True}
    messages: list[Any] = [
        {"type": "http.response.push", "path": "/x", "headers": []},
        head,
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body"},
        {"type": "http.response.trailers", "headers": [], "more_trailers": False},
    ]

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([await receive(), await receive()])
        for message in messages:
            await send(message)

    async def serve() -> tuple[list[Any], list[Any]]:
        incoming = [
            {"type": "http.request", "body": b"1", "more_body": True, "other": 2},
            {"type": "http.request"},
        ]
        outgoing: list[Any] = []
        source = list(incoming)

        async def receive() -> Any:
            return source.pop(0)

        async def send(message: Any) -> None:
            outgoing.append(message)

        scope = Http(other, method="POST").scope
        await forwarding(other)(scope, receive, send)
        return incoming, outgoing

    incoming, outgoing = run(serve())
    assert [id(message) for message in received] == [id(message) for message in incoming]
    assert [id(message) for message in outgoing] == [id(message) for message in messages]


def outcome_of(other: Any, **options: Any) -> tuple[Any, ...]:
    """Return what the `done` function is told: status, bytes, outcome."""
    told: list[tuple[Any, ...]] = []
    exchange = run(converse(forwarding(other, done=lambda *args: told.append(args)), **options))
    (args,) = told
    return (exchange, args[1], args[2], args[4])


def test_answer_and_what_done_is_told() -> None:
    chunk = {"type": "http.response.body", "body": b"one", "more_body": True}
    exchange, status, size, outcome = outcome_of(sending(START, chunk, whole(b"four")))
    assert (exchange.status, exchange.headers, exchange.body) == (201, {"x-other": "yes"}, b"onefour")
    assert (status, size, outcome) == (201, 7, "ok")


def test_head_counts_no_body() -> None:
    assert outcome_of(sending(START, whole()), method="HEAD")[1:] == (201, 0, "ok")


def test_a_file_that_the_server_sends_ends_the_response(caplog: pytest.LogCaptureFixture) -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = forwarding(sending(START, {"type": "http.response.pathsend", "path": "/x"}))
    run(app(Http(app).scope, None, send))
    assert sent == ["http.response.start", "http.response.pathsend"]
    assert errors(caplog) == []


def test_it_reads_the_body() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        pieces = [(await receive())["body"], (await receive())["body"]]
        await send(START)
        await send(whole(b"|".join(pieces)))

    assert ask(forwarding(other), method="POST", body=[b"a", b"b"]).content == b"a|b"


def test_a_piece_of_the_body_that_came_during_a_sleep_is_not_lost() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> None:
        request.wakeup()
        await request.sleep_while_connected(9)
        await settle()
        await request.forward(other)

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        pieces = [(await receive())["body"], (await receive())["body"]]
        await send(START)
        await send(whole(b"|".join(pieces)))

    assert ask(main, method="POST", body=[b"a", b"b"]).content == b"a|b"


@pytest.mark.parametrize("messages", [(), ({"type": "http.response.push", "path": "/", "headers": []},)])
def test_an_app_that_sent_nothing_is_a_500(messages: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def send(message: Any) -> None:
        sent.append(message)

    sent: list[Any] = []
    app = forwarding(sending(*messages))
    run(app(Http(app).scope, None, send))
    assert sent[len(messages)]["status"] == 500
    (record,) = errors(caplog)
    assert "RuntimeError in forwarded app: The app that the request was forwarded to returned" in record


def test_an_app_that_raises_first_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    exchange, status, _, outcome = outcome_of(sending(ValueError("its mistake")))
    assert (exchange.status, exchange.text, status, outcome) == (500, "Internal server error", 500, "error")
    (record,) = errors(caplog)
    assert "ValueError in forwarded app: its mistake" in record


class Transport:
    def __init__(self, exchange: Http) -> None:
        self.exchange = exchange
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Server(Http):
    """One request on a server whose connection can be torn down, as uvicorn's can."""

    transport: Transport


@pytest.mark.parametrize("last", [(), (ValueError("its mistake"),)])
def test_an_app_that_does_not_end_its_response_is_cut_off(
    last: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> Server:
        chunk = {"type": "http.response.body", "body": b"one", "more_body": True}
        exchange = Server(forwarding(sending(START, chunk, *last)))
        exchange.transport = Transport(exchange)
        exchange.start()
        await exchange.finish()
        return exchange

    exchange = run(serve())
    assert exchange.transport.aborted
    assert not exchange.complete
    (record,) = errors(caplog)
    assert ("its mistake" if last else "without a whole response") in record


def test_an_app_that_raises_after_its_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    exchange, status, size, outcome = outcome_of(sending(START, whole(), ValueError("its mistake")))
    assert (exchange.body, status, size, outcome) == (b"other", 201, 5, "error")
    assert len(errors(caplog)) == 1


def test_a_result_after_it_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    @to_asgi
    async def main(request: HttpRequest) -> str:
        await request.forward(sending(START, whole()))
        return "twice"

    assert ask(main).content == b"other"
    (record,) = errors(caplog)
    assert "UsageError in request handler: Handlers that call request.accept() should return None" in record


def test_accept_after_it_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    @to_asgi
    async def main(request: HttpRequest) -> None:
        await request.forward(sending(START, whole()))
        await request.accept()

    assert ask(main).content == b"other"
    assert "Cannot accept an already accepted request" in errors(caplog)[0]


def test_the_body_is_consumed_after_it() -> None:
    seen = []

    @to_asgi
    async def main(request: HttpRequest) -> None:
        await request.forward(sending(START, whole()))
        try:
            await request.get_body()
        except UsageError as error:
            seen.append(str(error))

    ask(main, method="POST", body=b"unread")
    assert seen == ["Request body was already consumed"]


def test_response_of_is_none() -> None:
    async def part(request: HttpRequest) -> None:
        await request.forward(sending(START, whole()))

    @to_asgi
    async def main(request: HttpRequest) -> Any:
        response = await response_of(request, part(request))
        assert response is None
        return response

    assert ask(main).content == b"other"


@pytest.mark.parametrize("way", ["get_body", "accept", "forward"])
def test_too_late(way: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    @to_asgi
    async def main(request: HttpRequest) -> None:
        if way == "get_body":
            await request.get_body()
        elif way == "accept":
            await request.accept()
        else:
            await request.forward(sending(START, whole()))
        try:
            await request.forward(sending(START, whole()))
        except UsageError as error:
            seen.append(str(error))
        if way == "get_body":
            await request.accept()

    ask(main)
    what = "request whose body was consumed" if way == "get_body" else "already accepted request"
    assert seen == [f"Cannot forward {'a' if way == 'get_body' else 'an'} {what}"]
    assert errors(caplog) == []


def test_the_body_limit_can_not_be_swallowed() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> None:
        try:
            await request.get_body(1)
        except OSError:
            await request.forward(sending(START, whole()))

    assert ask(main, method="POST", body=b"abc", headers={"content-length": "3"}).status_code == 413


class ClientDisconnect(Exception):
    """As Starlette has one."""


def waiting_for_the_end(*last: Any, start: bool = True) -> Any:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        if start:
            await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        for error in last:
            raise error

    return other


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("last", [(), (ClientDisconnect(),), (OSError(),), (DisconnectedError(),)])
def test_the_client_leaves(start: bool, last: Any, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    async def serve() -> Http:
        app = forwarding(waiting_for_the_end(*last, start=start), done=lambda *args: told.append(args[4]))
        exchange = Http.begin(app)
        await settle()
        exchange.leave()
        await exchange.finish()
        return exchange

    exchange = run(serve())
    assert len(exchange.sent) == int(start)
    assert exchange.error is None
    assert told == ["disconnect"]
    assert errors(caplog) == []


@pytest.mark.parametrize("error", [ValueError("its mistake"), ClientDisconnect("nobody left")])
def test_another_error_is_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def serve(other: Any) -> None:
        exchange = Http.begin(forwarding(other))
        await settle()
        exchange.leave()
        await exchange.finish()

    left = isinstance(error, ValueError)
    run(serve(waiting_for_the_end(error, start=False) if left else sending(error)))
    assert len(errors(caplog)) == 1


def test_a_send_that_fails_is_passed_to_the_app() -> None:
    seen = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await settle()
        try:
            await send(whole())
        except OSError as error:
            seen.append(str(error))
            raise

    async def serve() -> Any:
        told: list[Any] = []
        exchange = Http.begin(forwarding(other, done=lambda *args: told.append(args[4])), lost=True)
        await exchange.until(lambda: exchange.sent)
        exchange.leave()
        await exchange.finish()
        return told

    assert run(serve()) == ["disconnect"]
    assert seen == ["the client is gone"]


def test_a_cancellation_passes() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def serve() -> bool:
        exchange = Http.begin(forwarding(other))
        await settle()
        exchange.task.cancel()
        await asyncio.wait([exchange.task])
        return exchange.task.cancelled()

    assert run(serve())


# Websockets


def forwarding_ws(other: Any, prefix: str = "", **options: Any) -> Any:
    async def main(request: WebsocketRequest) -> None:
        await request.forward(other, prefix)

    return to_asgi(main, **options)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        content = message.get("text") if message.get("text") is not None else message["bytes"]
        await send({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})


def test_websocket() -> None:
    told: list[Any] = []

    async def serve() -> Websocket:
        app = forwarding_ws(echo, "/ws", done=lambda *args: told.append((args[1], args[2], args[4])))
        socket = Websocket(app, "/ws/x", headers={"origin": "https://other.example"})
        socket.text("hé")
        socket.binary(b"b")
        socket.leave()
        socket.start()
        await socket.finish()
        return socket

    assert run(serve()).messages == ["hé", b"b"]
    assert told == [(101, 4, "ok")]


def test_websocket_outside_the_prefix_is_denied() -> None:
    assert ask_ws(forwarding_ws(echo, "/ws"), "/w", denial=True).denial == (404, b"Not Found")


def test_websocket_that_the_app_leaves_open_is_closed() -> None:
    socket = ask_ws(forwarding_ws(sending({"type": "websocket.accept"})))
    assert (socket.accepted, socket.close_code) == (True, 1000)


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close", "code": 1000}], 403),
        (
            [
                {"type": "websocket.http.response.start", "status": 402, "headers": []},
                {"type": "websocket.http.response.body", "body": b"pay"},
            ],
            402,
        ),
    ],
)
def test_websocket_that_the_app_denies(messages: Any, status: int, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    app = forwarding_ws(sending(*messages), done=lambda *args: told.append((args[1], args[2], args[4])))
    socket = ask_ws(app, denial=True)
    assert socket.sent == messages
    assert told == [(status, 3 if status == 402 else 0, "ok")]
    assert errors(caplog) == []


def test_websocket_that_the_app_closes() -> None:
    told: list[Any] = []
    messages = [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 3000}]
    app = forwarding_ws(sending(*messages), done=lambda *args: told.append(args[1]))
    assert ask_ws(app).close_code == 3000
    assert told == [101]


def test_websocket_app_that_sent_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert ask_ws(forwarding_ws(sending()), denial=True).denial == (500, b"Internal server error")
    assert "RuntimeError in forwarded app" in errors(caplog)[0]


@pytest.mark.parametrize(
    ("messages", "code"), [([], None), ([{"type": "websocket.accept"}], 1011)], ids=["before", "after"]
)
def test_websocket_app_that_raises(messages: Any, code: int | None, caplog: pytest.LogCaptureFixture) -> None:
    socket = ask_ws(forwarding_ws(sending(*messages, ValueError("its mistake"))), denial=True)
    assert socket.close_code == code
    assert code is not None or socket.denial[0] == 500
    assert "ValueError in forwarded app: its mistake" in errors(caplog)[0]


def test_websocket_app_that_raises_after_it_took_the_handshake(caplog: pytest.LogCaptureFixture) -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ValueError("its mistake")

    assert ask_ws(forwarding_ws(other), denial=True).denial[0] == 500
    assert len(errors(caplog)) == 1


class WebSocketDisconnect(Exception):
    """As Starlette has one."""


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("raises", [True, False])
def test_websocket_client_that_leaves(accept: bool, raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if accept:
            await send({"type": "websocket.accept"})
        await receive()
        if raises:
            raise WebSocketDisconnect

    @to_asgi
    async def main(request: WebsocketRequest) -> None:
        try:
            await request.forward(other)
        except DisconnectedError as error:
            seen.append((error.code, error.reason))
            raise

    async def serve() -> Websocket:
        socket = Websocket(main)
        socket.leave(4001, "enough")
        socket.start()
        await socket.finish()
        return socket

    socket = run(serve())
    assert (socket.error, len(socket.sent)) == (None, int(accept))
    assert seen == ([] if accept and not raises else [(4001, "enough")])
    assert errors(caplog) == []


def test_websocket_whose_send_fails() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await settle()
        with pytest.raises(OSError, match="disconnected"):
            await send({"type": "websocket.send", "text": "x"})
        raise OSError

    async def serve() -> Any:
        socket = Websocket.begin(forwarding_ws(other), lost=True)
        await socket.until(lambda: socket.sent)
        socket.left = True
        await socket.finish()
        return socket.error

    assert run(serve()) is None


@pytest.mark.parametrize(("way", "text"), [("accept", "an already accepted"), ("close", "a closed")])
def test_websocket_too_late(way: str, text: str) -> None:
    seen = []

    @to_asgi
    async def main(request: WebsocketRequest) -> None:
        await (request.accept() if way == "accept" else request.close())
        try:
            await request.forward(echo)
        except UsageError as error:
            seen.append(str(error))

    ask_ws(main)
    assert seen == [f"Cannot forward {text} websocket"]


async def test_websocket_that_left_before() -> None:
    seen = []

    @to_asgi
    async def main(request: WebsocketRequest) -> None:
        with contextlib.suppress(DisconnectedError):
            await request.accept()
        try:
            await request.forward(echo)
        except DisconnectedError as error:
            seen.append(str(error))

    socket = Websocket(main)
    await socket.receive()
    socket.leave()
    socket.start()
    await socket.finish()
    assert seen == ["Cannot forward ws that already disconnected"]


def test_websocket_of_two_apps() -> None:
    """A part that is forwarded by a part that is forwarded."""
    socket = run(
        converse_ws(forwarding_ws(forwarding_ws(sending({"type": "websocket.accept"}), "/b"), "/a"), "/a/b")
    )
    assert (socket.accepted, socket.close_code) == (True, 1000)

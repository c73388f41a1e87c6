"""The server inside this process: what it tells an app, what it refuses, and how its connections end."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgineer.testing._exchange import HttpExchange, fetch
from asgineer.testing._inprocess import InProcessServer
from asgineer.testing._lifespan import Lifespan, LifespanFailed
from asgineer.testing._loopthread import LoopThread
from asgineer.testing._pipe import WINDOW
from asgineer.testing._scope import Place, http_scope, websocket_scope
from asgineer.testing._session import WebsocketSession
from asgineer.testing._wire import (
    Answer,
    IncompleteResponse,
    ProtocolViolation,
    WebsocketClosed,
    WebsocketDenied,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}
ACCEPT = {"type": "websocket.accept"}


def sends(*messages: Any) -> Any:
    """Return an app that sends `messages` and ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


async def ask(app: Any, method: str = "GET", target: str = "/", **options: Any) -> Answer:
    return await fetch(app, method, target, **options)


# The scope


def test_scope_of_a_request_is_a_servers() -> None:
    scope = http_scope("get", "/a%2Fb%20é?x=%20ü#top", [("X-Mark", "é")], Place(client=("1.2.3.4", 5)))
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "server": ("testserver", 80),
        "client": ("1.2.3.4", 5),
        "root_path": "",
        "path": "/a/b é",
        "raw_path": b"/a%2Fb%20%C3%A9",
        "query_string": b"x=%20%C3%BC",
        "headers": [(b"host", b"testserver"), (b"x-mark", b"\xe9")],
        "extensions": {},
    }


def test_scope_has_the_root_path_in_its_paths() -> None:
    scope = http_scope("GET", "/x", place=Place(root_path="/sub"))
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/sub", "/sub/x", b"/sub/x")


@pytest.mark.parametrize(
    ("place", "host"),
    [
        (Place(host="a.b", port=8080), b"a.b:8080"),
        (Place(host="a.b", port=443, scheme="https"), b"a.b"),
        (Place(host="a.b", port=80, scheme="https"), b"a.b:80"),
        (Place(host="::1", port=80), b"[::1]"),
    ],
)
def test_scope_names_the_host(place: Place, host: bytes) -> None:
    assert http_scope("GET", "/", place=place)["headers"] == [(b"host", host)]


def test_scope_keeps_the_clients_host() -> None:
    assert http_scope("GET", "/", [("Host", "x")])["headers"] == [(b"host", b"x")]


def test_scope_has_a_copy_of_the_state_for_each_request() -> None:
    place = Place(state={"a": 1})
    first, second = http_scope("GET", "/", place=place), http_scope("GET", "/", place=place)
    first["state"]["a"] = 2
    assert second["state"] == {"a": 1}
    assert "state" not in http_scope("GET", "/")


def test_scope_of_each_connection_has_another_client() -> None:
    assert http_scope("GET", "/")["client"] != http_scope("GET", "/")["client"]


def test_scope_of_a_websocket_is_a_servers() -> None:
    scope = websocket_scope("/x", subprotocols=["a", "b"], place=Place(scheme="https"))
    assert (scope["type"], scope["scheme"], scope["subprotocols"]) == ("websocket", "wss", ["a", "b"])
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert (b"sec-websocket-protocol", b"a, b") in scope["headers"]
    assert "method" not in scope


# What an app may not send


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (["text"], "must be a dict"),
        ([{"status": 200}], "must be a dict with a 'type'"),
        ([END], "expected 'http.response.start'"),
        ([{"type": "websocket.accept"}], "expected 'http.response.start'"),
        ([START, START], "expected 'http.response.body'"),
        ([START, END, END], "after the response was complete"),
        ([{**START, "status": "200"}], "no final status"),
        ([{**START, "status": True}], "no final status"),
        ([{**START, "status": 101}], "no final status"),
        ([{**START, "status": 600}], "no final status"),
        ([{**START, "headers": [("x", b"y")]}], "header name"),
        ([{**START, "headers": [(b"x y", b"y")]}], "header name"),
        ([{**START, "headers": [(b"", b"y")]}], "header name"),
        ([{**START, "headers": [(b"x", "y")]}], "legal value"),
        ([{**START, "headers": [(b"x", b"a\r\nb")]}], "legal value"),
        ([{**START, "headers": [(b"x", b"a\0")]}], "legal value"),
        ([{**START, "headers": [(b"content-length", b"-1")]}], "content-length"),
        ([{**START, "headers": [(b"content-length", b"1"), (b"content-length", b"2")]}], "content-length"),
        ([START, {"type": "http.response.body", "body": "text"}], "must be bytes, not str"),
        (
            [
                {**START, "headers": [(b"content-length", b"1")]},
                {"type": "http.response.body", "body": b"ab"},
            ],
            "longer than its content-length",
        ),
        ([{**START, "headers": [(b"content-length", b"3")]}, END], "3 bytes shorter"),
    ],
)
def test_message_against_the_specification_is_refused(messages: list[Any], told: str) -> None:
    async def main() -> HttpExchange:
        async with HttpExchange(sends(*messages), http_scope("GET", "/")) as exchange:
            await exchange.ended()
        return exchange

    exchange = asyncio.run(main())
    assert isinstance(exchange.error, ProtocolViolation)
    assert told in str(exchange.error)
    assert exchange.violation is exchange.error


def test_violation_is_kept_when_the_app_swallows_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ProtocolViolation):
            await send(END)
        await send(START)
        await send(END)

    async def main() -> HttpExchange:
        async with HttpExchange(app, http_scope("GET", "/")) as exchange:
            await exchange.answer()
        return exchange

    exchange = asyncio.run(main())
    assert exchange.error is None
    assert exchange.violation is not None


# Requests and responses


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-size", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 1_000_000])
def test_body_goes_both_ways(body: bytes) -> None:
    answer = asyncio.run(ask(echo, "POST", body=body))
    assert answer == Answer(200, [(b"x-size", b"%d" % len(body))], body)


@pytest.mark.parametrize(
    ("body", "lengths"), [(b"", []), (b"abc", [b"3"])], ids=["without-body", "with-body"]
)
def test_body_gets_a_length(body: bytes, lengths: list[bytes]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"content-length")
        await echo(scope, receive, send)

    asyncio.run(ask(app, "POST", body=body))
    assert seen == lengths


def test_body_that_is_not_read_does_not_hold_the_answer_up() -> None:
    assert asyncio.run(ask(sends(START, END), "POST", body=b"x" * 10 * WINDOW)).status == 200


def test_body_longer_than_announced_is_an_error() -> None:
    async def main() -> None:
        scope = http_scope("POST", "/", [("content-length", "2")])
        async with HttpExchange(echo, scope) as exchange:
            await exchange.write(b"abc")

    with pytest.raises(ValueError, match="longer than its content-length"):
        asyncio.run(main())


def test_body_without_length_ends_when_it_is_said() -> None:
    async def main() -> Answer:
        scope = http_scope("POST", "/", [("transfer-encoding", "chunked")])
        async with HttpExchange(echo, scope) as exchange:
            await exchange.write(b"ab")
            await exchange.write(b"cd")
            exchange.end()
            return await exchange.answer()

    assert asyncio.run(main()).body == b"abcd"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_body_that_may_not_be_is_dropped(method: str, status: int) -> None:
    app = sends(
        {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"9")]},
        {"type": "http.response.body", "body": b"dropped"},
    )
    assert asyncio.run(ask(app, method)).body == b""


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_app_that_raises_is_a_500(error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    assert asyncio.run(ask(app)).status == 500


def test_app_that_sends_nothing_is_a_500() -> None:
    assert asyncio.run(ask(sends())).status == 500


def test_app_that_breaks_off_leaves_an_incomplete_response() -> None:
    app = sends(START, {"type": "http.response.body", "body": b"part", "more_body": True})
    with pytest.raises(IncompleteResponse):
        asyncio.run(ask(app))


def test_pieces_before_the_break_are_read() -> None:
    async def main() -> bytes:
        app = sends(START, {"type": "http.response.body", "body": b"part", "more_body": True})
        async with HttpExchange(app, http_scope("GET", "/")) as exchange:
            await exchange.ended()
            return await exchange.read()

    assert asyncio.run(main()) == b"part"


def test_receive_waits_after_the_body_until_the_response_is_whole() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        seen.append(waiting.done())
        await send(START)
        await send(END)
        seen.append(await waiting)

    asyncio.run(ask(app))
    assert seen == [False, {"type": "http.disconnect"}]


def piece(size: int) -> Any:
    return {"type": "http.response.body", "body": b"x" * size, "more_body": True}


def test_send_waits_for_the_reader() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(3):
            await send(piece(WINDOW))
            sent.append(number)

    async def main() -> None:
        async with HttpExchange(app, http_scope("GET", "/")) as exchange:
            await settle()
            assert sent == [0]  # the second fills more than the window
            await exchange.read()
            await settle()
            assert sent == [0, 1]

    asyncio.run(main())


def test_write_waits_for_the_app() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.Event().wait()

    async def main() -> None:
        scope = http_scope("POST", "/", [("content-length", str(3 * WINDOW))])
        exchange = HttpExchange(app, scope)
        exchange.start()
        await exchange.write(b"x" * WINDOW)
        await exchange.write(b"x" * WINDOW)
        writing = asyncio.ensure_future(exchange.write(b"x" * WINDOW))
        await settle()
        assert not writing.done()
        with pytest.raises(
            TimeoutError, match="http / still ran 0 s after its client left, and was cancelled"
        ):
            await exchange.aclose(grace=0)
        await writing

    asyncio.run(main())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_client_that_leaves_is_told_by_receive_only() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        seen.append(await receive())
        await send(piece(10 * WINDOW))  # neither waits nor raises
        seen.append(await receive())

    async def main() -> None:
        scope = http_scope("POST", "/", [("content-length", "5")])
        async with HttpExchange(app, scope) as exchange:
            await exchange.head()
            exchange.leave()
            with pytest.raises(IncompleteResponse):
                await exchange.read()

    asyncio.run(main())
    assert seen == [{"type": "http.disconnect"}] * 2


def test_client_that_left_may_write_on() -> None:
    async def main() -> None:
        async with HttpExchange(echo, http_scope("POST", "/", [("content-length", "9")])) as exchange:
            exchange.leave()
            await exchange.write(b"x")

    asyncio.run(main())


def test_client_that_leaves_gets_no_head() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async def main() -> None:
        async with HttpExchange(app, http_scope("GET", "/")) as exchange:
            exchange.leave()
            with pytest.raises(IncompleteResponse):
                await exchange.head()

    asyncio.run(main())


def test_closing_what_was_not_started_does_nothing() -> None:
    async def main() -> None:
        exchange = HttpExchange(echo, http_scope("GET", "/"))
        await exchange.ended()
        await exchange.aclose()

    asyncio.run(main())


def test_in_process_server_serves_with_its_place_and_lifespan() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["colour"] = b"blue"
            return await serve_lifespan(receive, send)
        await send({**START, "headers": [(b"x-colour", scope["state"]["colour"])]})
        await send({"type": "http.response.body", "body": scope["server"][0].encode()})

    async def main() -> Answer:
        async with InProcessServer(app, Place(host="here")) as server:
            return await server.fetch("GET", "/")

    assert asyncio.run(main()) == Answer(200, [(b"x-colour", b"blue")], b"here")


# Websockets


def with_session(
    app: Any, use: Callable[[WebsocketSession], Awaitable[Any]], **options: Any
) -> tuple[Any, WebsocketSession]:
    """Run `use` on a websocket to `app`; return what it returns."""

    async def main() -> tuple[Any, WebsocketSession]:
        session = WebsocketSession(app, websocket_scope("/", **options))
        async with session:
            return await use(session), session

    return asyncio.run(main())


async def wait_for_end(session: WebsocketSession) -> WebsocketClosed:
    try:
        await session.handshake()
        while True:
            await session.receive_message()
    except WebsocketClosed as closed:
        return closed


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"type": "websocket.send", "text": "x"}], "before the websocket was accepted"),
        ([ACCEPT, ACCEPT], "expected 'websocket.send'"),
        ([ACCEPT, {"type": "websocket.send"}], "either 'text' or 'bytes'"),
        ([ACCEPT, {"type": "websocket.send", "text": "x", "bytes": b"x"}], "either 'text' or 'bytes'"),
        ([ACCEPT, {"type": "websocket.send", "text": b"x"}], "a str as 'text'"),
        ([ACCEPT, {"type": "websocket.send", "bytes": "x"}], "bytes as 'bytes'"),
        ([ACCEPT, {"type": "websocket.close", "code": 1005}], "no close code"),
        ([ACCEPT, {"type": "websocket.close", "code": 999}], "no close code"),
        ([ACCEPT, {"type": "websocket.close", "reason": "x" * 124}], "more than 123 bytes"),
        (
            [ACCEPT, {"type": "websocket.close"}, {"type": "websocket.send", "text": ""}],
            "after the app closed",
        ),
        ([{"type": "websocket.close"}, ACCEPT], "after the app closed"),
        ([{"type": "websocket.accept", "subprotocol": "x"}], "did not offer"),
        ([{"type": "websocket.accept", "headers": [(b"a b", b"")]}], "header name"),
        ([{"type": "websocket.http.response.start", "status": 101}], "no final status"),
        ([{"type": "websocket.http.response.start", "status": 400}, ACCEPT], "in a denial"),
    ],
)
def test_websocket_message_against_the_specification_is_refused(messages: list[Any], told: str) -> None:
    async def use(session: WebsocketSession) -> None:
        await session.ended()

    _, session = with_session(sends(*messages), use)
    assert isinstance(session.error, ProtocolViolation)
    assert told in str(session.error)


async def ws_echo(scope: Any, receive: Any, send: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-mark", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    await send({"type": "websocket.close"})


def test_websocket_carries_messages_both_ways() -> None:
    async def use(session: WebsocketSession) -> Any:
        chosen = await session.handshake()
        for message in ("text", b"bytes", "", b""):
            await session.send_message(message)
        return chosen, session.accept_headers, [await session.receive_message() for _ in range(4)]

    result, session = with_session(ws_echo, use, subprotocols=["a", "b"])
    assert result == ("b", [(b"x-mark", b"1")], ["text", b"bytes", "", b""])
    assert isinstance(session.error, OSError)  # the close after the client had left


def test_websocket_denied_has_no_accept_headers() -> None:
    _, session = with_session(sends(), wait_for_denial)
    assert session.accept_headers == []


async def wait_for_denial(session: WebsocketSession) -> WebsocketDenied:
    with pytest.raises(WebsocketDenied) as caught:
        await session.handshake()
    return caught.value


@pytest.mark.parametrize(
    ("app", "status", "body"),
    [
        (sends({"type": "websocket.close"}), 403, b""),
        (sends(), 500, b""),
        (sends({"type": "websocket.http.response.start", "status": 404}), 500, b""),
        (
            sends(
                {"type": "websocket.http.response.start", "status": 404, "headers": []},
                {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"b"},
            ),
            404,
            b"ab",
        ),
    ],
    ids=["close", "nothing", "half-a-response", "response"],
)
def test_websocket_that_is_not_accepted_is_denied(app: Any, status: int, body: bytes) -> None:
    denied, _ = with_session(app, wait_for_denial)
    assert (denied.status, denied.body, str(denied)) == (
        status,
        body,
        f"websocket handshake answered with {status} {body.decode()}".rstrip(),
    )


def test_websocket_that_the_app_closes_says_how() -> None:
    app = sends(
        ACCEPT,
        {"type": "websocket.send", "text": "last"},
        {"type": "websocket.close", "code": 3000, "reason": "r"},
    )

    async def use(session: WebsocketSession) -> Any:
        await session.handshake()
        await session.ended()
        return await session.receive_message(), await wait_for_end(session)

    (last, closed), session = with_session(app, use)
    assert (last, closed.code, closed.reason, session.closed) == ("last", 3000, "r", closed)


def test_websocket_that_the_app_leaves_open_breaks() -> None:
    closed, _ = with_session(sends(ACCEPT), wait_for_end)
    assert (closed.code, str(closed)) == (1006, "websocket closed with 1006")


def test_websocket_after_the_close_of_the_client() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        for _ in range(3):
            seen.append(await receive())
        with pytest.raises(OSError, match="client closed"):
            await send({"type": "websocket.send", "text": "x"})

    async def use(session: WebsocketSession) -> None:
        await session.handshake()
        await session.send_message("before")
        await session.close(4000, "enough")
        await session.close(4001)
        with pytest.raises(WebsocketClosed):
            await session.send_message("after")
        with pytest.raises(WebsocketClosed):
            await session.receive_message()

    _, session = with_session(app, use)
    assert session.error is None
    assert seen == [
        {"type": "websocket.receive", "text": "before"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
    ]


def test_websocket_client_that_leaves_before_the_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async def use(session: WebsocketSession) -> None:
        session.leave()
        with pytest.raises(WebsocketClosed):
            await session.handshake()

    with_session(app, use)


# Lifespan


async def serve_lifespan(receive: Any, send: Any) -> None:
    for what in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{what}"
        await send({"type": f"lifespan.{what}.complete"})


async def run_lifespan(app: Any) -> Lifespan:
    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()
    return lifespan


def test_lifespan_starts_and_stops() -> None:
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await serve_lifespan(receive, send)
        done.append(scope["type"])

    asyncio.run(run_lifespan(app))
    assert done == ["lifespan"]


def test_lifespan_that_an_app_does_not_know_is_no_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError(scope["type"])

    asyncio.run(run_lifespan(app))


@pytest.mark.parametrize("what", ["startup", "shutdown"])
def test_lifespan_that_fails_is_raised(what: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            kind = (await receive())["type"]
            failed = {"type": f"{kind}.failed", "message": "because"}
            await send(failed if kind.endswith(what) else {"type": f"{kind}.complete"})
            if kind.endswith(("shutdown", what)):
                return

    with pytest.raises(LifespanFailed, match=f"{what} failed: because"):
        asyncio.run(run_lifespan(app))


def test_lifespan_message_that_nobody_asked_for_is_refused() -> None:
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await send({"type": "lifespan.startup.complete"})
        except ProtocolViolation as error:
            errors.append(error)
        await receive()

    asyncio.run(run_lifespan(app))
    assert len(errors) == 1


def test_lifespan_that_was_not_started_stops() -> None:
    asyncio.run(Lifespan(echo).shutdown())


# The loop in a thread


def test_loop_thread_returns_and_raises() -> None:
    async def value() -> int:
        return 3

    async def failure() -> None:
        raise TimeoutError("its own")

    thread = LoopThread()
    assert thread.call(value()) == 3
    with pytest.raises(TimeoutError, match="its own"):
        thread.call(failure())
    thread.stop()
    thread.stop()


def test_loop_thread_gives_up_in_time() -> None:
    cancelled: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    thread = LoopThread()
    with pytest.raises(TimeoutError, match="no result after"):
        thread.call(forever(), 0.01)
    thread.stop()
    assert cancelled == [True]


def test_loop_thread_gives_up_at_ctrl_c() -> None:
    cancelled = threading.Event()
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def forever() -> None:
        # Not before the caller waits: a Ctrl-C on the way there finds nothing to cancel yet.
        while sys._current_frames()[main_thread].f_code.co_name != "wait":  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
        signal.pthread_kill(main_thread, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    thread = LoopThread()
    with pytest.raises(KeyboardInterrupt):
        thread.call(forever())
    assert cancelled.wait(5)
    thread.stop()


def test_loop_thread_says_what_does_not_end() -> None:
    go = threading.Event()
    begun = threading.Event()

    async def stubborn() -> None:
        begun.set()
        await asyncio.to_thread(go.wait)

    async def start() -> None:
        tasks.append(asyncio.create_task(stubborn()))

    tasks: list[Any] = []
    thread = LoopThread()
    thread.call(start())
    assert begun.wait(5)
    with pytest.raises(TimeoutError, match=r"still runs 0\.01 s after its end"):
        thread.stop(0.01)
    go.set()
    thread.stop()


def test_loop_thread_runs_functions_also_from_its_own() -> None:
    called: list[threading.Thread] = []
    thread = LoopThread()

    def note() -> None:
        called.append(threading.current_thread())

    async def inside() -> None:
        thread.run(note)

    thread.run(note)
    thread.call(inside())
    thread.stop()
    assert called[0] is called[1] is not threading.current_thread()


def test_loop_thread_cancels_what_still_runs() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("background")

    tasks: list[Any] = []

    async def start() -> None:
        tasks.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    thread = LoopThread()
    thread.call(start())
    thread.stop()
    assert ended == ["background"]

"""Websockets as `client.websocket` opens them: messages, how they end, and what a denial says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import DisconnectedError, HTTPError, ServerClosing, WebsocketRequest, to_asgi
from asgineer.testing import AsyncTestClient, TestClient, WebsocketClosed, WebsocketDenied

from .turns import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from asgineer.testing import Websocket

PIECE = "x" * 16_384
WINDOW = 5  # pieces that are sent before a writer waits: 64 KiB and what passes them


@to_asgi
async def app(request: WebsocketRequest) -> Any:
    match request.parts:
        case ("echo",):
            await request.accept()
            async for message in request.receive_iter():
                await request.send(message)
        case ("closes",):
            await request.accept()
            await request.send("last words")
            await request.close(4001, "good bye")
        case ("raises",):
            await request.accept()
            await request.send("last words")
            raise ValueError("in the socket")
        case ("raises-early",):
            raise ValueError("before accept")
        case ("denies",):
            return 401, {"x-mark": "denied"}, {"who": "are you?"}
        case ("moved",):
            return 307, {"location": "https://testserver/echo"}, ""
        case ("about",):
            subprotocol = request.subprotocols[-1] if request.subprotocols else None
            await request.accept(subprotocol, {"x-mark": "accepted", "set-cookie": "seen=yes; Secure"})
            fields = {name: request.headers.get(name) for name in ("x-mine", "cookie", "connection")}
            where = {"url": request.url, "query": request.querydict, "server": request.scope["server"]}
            await request.send({**fields, **where})
        case ("silent",):
            await request.accept()
            await request.receive()
        case ("undecided",):
            await asyncio.Event().wait()
        case _:
            raise HTTPError(404)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def test_messages_go_both_ways(client: TestClient) -> None:
    with client.websocket("/echo") as websocket:
        for message in ("text ✓", b"bytes \xff", "", b""):
            websocket.send(message)
            assert websocket.receive() == message
        websocket.send_json({"a": [1]})
        assert websocket.receive_json() == {"a": [1]}
    assert websocket.close_code == 1000


async def test_messages_go_both_ways_in_the_async_one() -> None:
    async with AsyncTestClient(app) as client, client.websocket("/echo") as websocket:
        await websocket.send(b"bytes")
        assert await websocket.receive() == b"bytes"
        await websocket.send_json([1])
        assert await websocket.receive_json() == [1]
        assert not websocket.close_code
        await websocket.close(4000, "enough")
        await websocket.close()
        assert (websocket.close_code, websocket.close_reason) == (4000, "enough")


def test_the_handshake_is_httpx2s(client: TestClient) -> None:
    with client.websocket("/about", subprotocols=["one", "two"]) as websocket:
        assert str(websocket.subprotocol) == "two"
        assert (websocket.response.status_code, websocket.response.headers["x-mark"]) == (101, "accepted")
    options: Any = {"params": {"a": "1"}, "headers": {"x-mine": "yes"}}
    with client.websocket("/about", **options) as websocket:
        assert websocket.subprotocol is None
        assert websocket.receive_json() == {
            "x-mine": "yes",
            "cookie": "seen=yes",
            "connection": "Upgrade",
            "url": "wss://testserver/about?a=1",
            "query": {"a": "1"},
            "server": ["testserver", 443],
        }


def test_a_full_url_works(client: TestClient) -> None:
    client.cookies.set("seen", "yes", domain="testserver.local")
    next(iter(client.cookies.jar)).secure = True
    with client.websocket("wss://testserver/about") as websocket:
        told = websocket.receive_json()
        assert (told["url"], told["server"]) == ("wss://testserver/about", ["testserver", 443])
        assert told["cookie"] == "seen=yes"
    with client.websocket("ws://a.example:8000/about") as websocket:
        assert websocket.receive_json()["url"] == "ws://a.example:8000/about"


def test_redirects_are_followed_when_asked() -> None:
    with TestClient(app, follow_redirects=True) as client, client.websocket("/moved") as websocket:
        websocket.send("hi")
        assert websocket.receive() == "hi"


# How it ends


def test_code_and_reason_of_the_app_are_told(client: TestClient) -> None:
    with client.websocket("/closes") as websocket:
        assert websocket.receive() == "last words"
        with pytest.raises(WebsocketClosed) as caught:
            websocket.receive()
    assert (caught.value.code, caught.value.reason) == (4001, "good bye")
    assert (websocket.close_code, websocket.close_reason) == (4001, "good bye")


async def test_iteration_ends_with_the_websocket(client: TestClient) -> None:
    with client.websocket("/closes") as websocket:
        assert list(websocket) == ["last words"]

    async with AsyncTestClient(app) as in_the_loop, in_the_loop.websocket("/closes") as same:
        assert [message async for message in same] == ["last words"]


def test_sending_after_the_end_is_told(client: TestClient) -> None:
    with client.websocket("/closes") as websocket:
        assert list(websocket) == ["last words"]
        with pytest.raises(WebsocketClosed):
            websocket.send("too late")


def test_the_app_hears_code_and_reason() -> None:
    heard: list[Any] = []

    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            await request.receive()
        except DisconnectedError as error:
            heard.append((error.code, error.reason))

    with TestClient(app) as client:
        with client.websocket("/") as websocket:
            websocket.close(4002, "enough")
        with client.websocket("/") as websocket:
            websocket.disconnect()
        with client.websocket("/"):
            pass
        with client.websocket("/"):
            client.disconnect()
    assert heard == [(4002, "enough"), (1006, ""), (1000, ""), (1006, "")]


async def test_disconnect_in_the_middle_of_a_message() -> None:
    ended: list[str] = []

    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            while True:
                await request.send(PIECE)
        except DisconnectedError:
            ended.append("DisconnectedError")
            raise

    async with AsyncTestClient(app) as client, client.websocket("/") as websocket:
        await settle()
        websocket.disconnect()
        await settle()
        assert ended == ["DisconnectedError"]


# Errors


def test_what_the_handler_raises_is_raised_once(client: TestClient) -> None:
    with client.websocket("/raises") as websocket:
        assert websocket.receive() == "last words"
        with pytest.raises(ValueError, match="in the socket"):
            websocket.receive()


def send_much(websocket: Websocket) -> None:
    for _ in range(100):
        websocket.send(PIECE)


def test_what_the_handler_raises_is_raised_by_send_too(client: TestClient) -> None:
    with client.websocket("/raises") as websocket:
        assert websocket.receive() == "last words"
        with pytest.raises(ValueError, match="in the socket"):
            send_much(websocket)


def test_what_the_handler_raises_is_raised_at_the_end_of_the_block(client: TestClient) -> None:
    with pytest.raises(ValueError, match="in the socket"), client.websocket("/raises"):
        pass


def test_what_the_handler_raises_before_accept_is_raised(client: TestClient) -> None:
    with pytest.raises(ValueError, match="before accept"), client.websocket("/raises-early"):
        pass


def test_what_the_test_raises_goes_first(client: TestClient) -> None:
    with pytest.raises(AssertionError, match="mine"), client.websocket("/raises"):
        raise AssertionError("mine")


def test_without_raise_errors_a_client_sees_what_it_sees() -> None:
    with TestClient(app, raise_errors=False) as client:
        with client.websocket("/raises") as websocket:
            assert list(websocket) == ["last words"]
        assert websocket.close_code == 1011
        with pytest.raises(WebsocketDenied) as caught:
            client.websocket("/raises-early").__enter__()
        assert caught.value.response.status_code == 500


def test_any_asgi_app_is_served() -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            message = await receive()
            await send({"type": "websocket.send", "text": message["text"]})
            raise KeyError("plain")

    with TestClient(plain) as client, client.websocket("/") as websocket:
        websocket.send("hi")
        assert websocket.receive() == "hi"
        with pytest.raises(KeyError, match="plain"):
            websocket.receive()


def test_an_app_that_minds_a_client_that_left_is_right() -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while True:
                await send({"type": "websocket.send", "text": "more"})
                await asyncio.sleep(0)

    with TestClient(plain) as client, client.websocket("/") as websocket:
        assert websocket.receive() == "more"


@pytest.mark.parametrize("raise_errors", [True, False])
def test_what_no_server_would_take_is_always_raised(raise_errors: bool) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.send", "text": "too early"})

    told = pytest.raises(RuntimeError, match="before the websocket was accepted")
    with TestClient(plain, raise_errors=raise_errors) as client, told:
        client.websocket("/").__enter__()


def test_an_app_that_answers_nothing_is_told_of() -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None: ...

    with TestClient(plain) as client, pytest.raises(RuntimeError, match="without an answer to the handshake"):
        client.websocket("/").__enter__()


# Denials


def test_a_denial_is_a_response_to_look_at(client: TestClient) -> None:
    with pytest.raises(WebsocketDenied, match="answered with 401") as caught:
        client.websocket("/denies").__enter__()
    response = caught.value.response
    assert (response.status_code, response.headers["x-mark"]) == (401, "denied")
    assert response.json() == {"who": "are you?"}
    assert response.request.url.path == "/denies"
    assert (caught.value.status, caught.value.body) == (401, b'{"who":"are you?"}')


def test_a_denial_shows_what_it_says(client: TestClient) -> None:
    with pytest.raises(WebsocketDenied, match="^websocket handshake answered with 404 Not Found$"):
        client.websocket("/nowhere").__enter__()


async def test_a_denial_by_the_async_one() -> None:
    async with AsyncTestClient(app) as client:
        with pytest.raises(WebsocketDenied) as caught:
            await client.websocket("/denies").__aenter__()
        assert caught.value.response.json() == {"who": "are you?"}


# Waiting


def test_an_app_that_says_nothing_is_a_timeout(client: TestClient) -> None:
    with client.websocket("/silent", timeout=0.01) as websocket:
        with pytest.raises(TimeoutError, match=r"The app sent no message for 0\.01 s"):
            websocket.receive()
        websocket.send("and it goes on")


def test_an_app_that_receives_nothing_is_a_timeout() -> None:
    async def deaf(request: WebsocketRequest) -> None:
        await request.accept()
        await request.send("begun")
        await asyncio.sleep(0.05)

    told = pytest.raises(TimeoutError, match=r"The app received nothing for 0\.01 s")
    with TestClient(deaf) as client, client.websocket("/", timeout=0.01) as websocket, told:
        send_much(websocket)


def test_an_app_that_does_not_decide_is_a_timeout(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgineer.testing._connection.GRACE", 0.01)
    with pytest.raises(TimeoutError, match=r"neither accepted nor denied the websocket for 0\.01 s"):
        client.websocket("/undecided", timeout=0.01).__enter__()


def test_a_websocket_wants_to_be_entered(client: TestClient) -> None:
    with pytest.raises(RuntimeError, match="The websocket is not open"):
        client.websocket("/echo").receive()


def test_what_is_open_is_left_at_the_end() -> None:
    with TestClient(app) as client:
        websocket = client.websocket("/echo").__enter__()
    assert websocket.close_code == 1006
    websocket.__exit__(None, None, None)


# Back-pressure and faults


async def test_send_of_the_app_waits_for_the_reader() -> None:
    sent: list[int] = []

    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        for number in range(20):
            await request.send(PIECE)
            sent.append(number)

    async with AsyncTestClient(app) as client, client.websocket("/") as websocket:
        await settle()
        assert len(sent) < WINDOW
        for taken in range(1, 21):
            await websocket.receive()
            await settle()
            assert taken <= len(sent) < taken + WINDOW


async def test_send_of_the_test_waits_for_the_app() -> None:
    go_on = asyncio.Event()

    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        await go_on.wait()
        for _ in range(20):
            await request.receive()

    async with AsyncTestClient(app) as client, client.websocket("/") as websocket:
        sent: list[int] = []

        async def send() -> None:
            for number in range(20):
                await websocket.send(PIECE)
                sent.append(number)

        sending = asyncio.ensure_future(send())
        await settle()
        assert len(sent) < WINDOW
        go_on.set()
        await sending


@pytest.mark.parametrize("closes", [True, False])
async def test_an_app_that_closes_or_ends_lets_a_waiting_send_go(closes: bool) -> None:
    go_on, end = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await send({"type": "websocket.accept"})
        await go_on.wait()
        if closes:
            await send({"type": "websocket.close", "code": 4001})
            await end.wait()

    async with AsyncTestClient(app) as client, client.websocket("/") as websocket:

        async def send() -> None:
            for _ in range(20):
                await websocket.send(PIECE)

        sending = asyncio.ensure_future(send())
        await settle()
        go_on.set()
        with pytest.raises(WebsocketClosed):
            await sending
        end.set()


@pytest.mark.parametrize("who", ["client", "websocket"])
async def test_stall_holds_the_app_up_until_the_client_leaves(who: str) -> None:
    sent: list[int] = []

    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        while True:
            await request.send("a little")
            sent.append(1)

    async with AsyncTestClient(app) as client, client.websocket("/") as websocket:
        await websocket.receive()
        client.stall() if who == "client" else websocket.stall()
        await settle()
        before = len(sent)
        await settle()
        assert len(sent) == before


def test_the_sync_one_stalls_too() -> None:
    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        await request.receive()
        await request.send("never passes")

    outcomes: list[str] = []
    reporting = to_asgi(app, done=lambda *report: outcomes.append(report[4]))
    with TestClient(reporting) as client, client.websocket("/") as websocket:
        websocket.stall()
        websocket.send("go on")
        assert websocket.receive() == "never passes"
        assert outcomes == []
    assert outcomes == ["disconnect"]


@pytest.mark.parametrize("goodbye", [True, False])
def test_shutdown_ends_a_receive(goodbye: bool) -> None:
    async def app(request: WebsocketRequest) -> None:
        await request.accept()
        try:
            await request.receive()
        except ServerClosing:
            if not goodbye:
                raise
            await request.send("goodbye")
            await request.close(1001)

    with TestClient(app) as client, client.websocket("/") as websocket:
        client.shutdown()
        assert list(websocket) == (["goodbye"] if goodbye else [])
        assert websocket.close_code == (1001 if goodbye else 1012)


def test_shutdown_denies_what_comes_later() -> None:
    async def app(request: WebsocketRequest) -> None:
        raise ServerClosing

    with TestClient(app) as client, pytest.raises(WebsocketDenied) as caught:
        client.websocket("/").__enter__()
    assert caught.value.response.headers["retry-after"] == "1"


def test_event_hooks_see_the_handshake() -> None:
    seen: list[int] = []

    def look(response: httpx2.Response) -> None:
        seen.append(response.status_code)

    with TestClient(app, event_hooks={"response": [look]}) as client:
        with client.websocket("/echo"):
            pass
        with pytest.raises(WebsocketDenied):
            client.websocket("/denies").__enter__()
    assert seen == [101, 401]

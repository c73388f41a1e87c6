"""Websockets: the handshake, messages both ways, and every way to end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.contract.harness import Denied, new_key

if TYPE_CHECKING:
    from tests.contract.harness import Reply, Server


@pytest.mark.parametrize(
    "message",
    ["text ✓", b"bytes \xff", "", b"", "x" * 500_000, b"x" * 500_000],
    ids=["text", "bytes", "empty-text", "empty-bytes", "large-text", "large-bytes"],
)
def test_message_comes_back_as_it_was(server: Server, message: str | bytes) -> None:
    with server.websocket("/ws/echo") as socket:
        socket.send(message)
        assert socket.receive() == message


@pytest.mark.parametrize(
    ("message", "seen"), [("abc", "str 3"), (b"abc", "bytes 3"), ("", "str 0"), (b"", "bytes 0")]
)
def test_message_has_its_type(server: Server, message: str | bytes, seen: str) -> None:
    with server.websocket("/ws/one") as socket:
        socket.send(message)
        assert socket.receive() == seen


def test_messages_keep_their_order(server: Server) -> None:
    with server.websocket("/ws/echo") as socket:
        for number in range(100):
            socket.send(str(number))
        assert [socket.receive() for _ in range(100)] == [str(number) for number in range(100)]


def test_handler_sends_text_bytes_dict_and_empty_messages(server: Server) -> None:
    with server.websocket("/ws/kinds") as socket:
        assert [socket.receive() for _ in range(5)] == ["text ✓", b"bytes \xff", '{"kind":"dict"}', "", b""]


def test_concurrent_sends_all_arrive(server: Server) -> None:
    with server.websocket("/ws/sends_at_once") as socket:
        assert sorted(int(socket.receive()) for _ in range(20)) == list(range(20))


def test_handler_that_ends_closes_with_1000(server: Server) -> None:
    with server.websocket("/ws/ends") as socket:
        assert socket.wait_closed().code == 1000
    assert server.all_errors() == []


def test_handler_that_raises_closes_with_1011(server: Server) -> None:
    with server.websocket("/ws/raises") as socket:
        assert socket.wait_closed().code == 1011


def test_handler_that_raises_is_logged_once(server: Server) -> None:
    with server.websocket("/ws/raises") as socket:
        socket.wait_closed()
    (story,) = server.log("in websocket handler")
    assert "ValueError in websocket handler: in the socket" in story


def test_handler_that_raises_sends_no_text_of_the_error(server: Server) -> None:
    with server.websocket("/ws/raises") as socket:
        assert "socket" not in socket.wait_closed().reason


def test_http_error_after_accept_closes_with_1008(server: Server) -> None:
    with server.websocket("/ws/http_error") as socket:
        assert socket.wait_closed().code == 1008


def test_value_returned_after_accept_closes_with_1011(server: Server) -> None:
    with server.websocket("/ws/returns_value") as socket:
        assert socket.wait_closed().code == 1011
    assert server.log("A websocket handler should return None")


def test_handler_closes_with_its_own_code(server: Server) -> None:
    with server.websocket("/ws/closes") as socket:
        assert socket.receive() == "last words"
        closed = socket.wait_closed()
    assert (closed.code, closed.reason) == (4001, "good bye")


def test_accept_twice_closes_with_1011(server: Server) -> None:
    with server.websocket("/ws/accepts_twice") as socket:
        assert socket.wait_closed().code == 1011
    assert server.log("Cannot accept an already accepted")


def denial(server: Server, path: str, headers: list[tuple[str, str | bytes]] | None = None) -> Reply:
    with pytest.raises(Denied) as caught:
        server.websocket(path, headers)
    return caught.value.reply


def test_handler_that_returns_before_accept_denies_with_403(server: Server) -> None:
    assert denial(server, "/ws/returns_early").status == 403


def test_handler_that_closes_before_accept_denies_with_403(server: Server) -> None:
    assert denial(server, "/ws/closes_early").status == 403
    assert server.all_errors() == []


def test_handler_that_raises_before_accept_denies_with_500(server: Server) -> None:
    assert denial(server, "/ws/raises_early").status == 500
    assert server.log("ValueError in websocket handler: before accept")


def test_response_before_accept_is_the_denial(server: Server) -> None:
    reply = denial(server, "/ws/denies")
    assert (reply.status, reply.header("x-mark"), reply.body) == (401, "denied", b"who are you?")


def test_http_error_before_accept_is_the_denial(server: Server) -> None:
    reply = denial(server, "/ws/denies_by_error")
    assert (reply.status, reply.body) == (404, b"Not Found")


def test_denial_is_not_logged(server: Server) -> None:
    denial(server, "/ws/denies")
    assert server.all_errors() == []


def test_other_origin_is_denied(server: Server) -> None:
    assert denial(server, "/ws/echo", [("origin", "https://evil.example")]).status == 403


def test_subprotocol_is_the_handlers_choice(server: Server) -> None:
    with server.websocket("/ws/subprotocol", subprotocols=["one", "two"]) as socket:
        assert socket.subprotocol == "two"


def test_accept_adds_headers(server: Server) -> None:
    with server.websocket("/ws/subprotocol", subprotocols=["one", "two"]) as socket:
        assert ("x-mark", b"accepted") in socket.fields


def test_wrong_calls_are_told(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/misuse?key={key}") as socket:
        socket.wait_closed()
    (texts,) = server.notes(key)
    expected = [
        "Cannot receive before calling accept",
        "Cannot send before calling accept",
        "UsageError: Cannot accept an already accepted",
        "TypeError: Can only send bytes/str",
        "Cannot send to a closed",
    ]
    assert [text[: len(begin)] for text, begin in zip(texts, expected, strict=True)] == expected


def test_close_of_the_client_is_told_with_code_and_reason(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/waits?key={key}") as socket:
        server.notes(key, ":began")
        socket.close(4002, "enough")
    assert server.notes(key) == [["receive", 4002, "enough"]]


def test_close_of_the_client_is_no_error(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/waits?key={key}") as socket:
        server.notes(key, ":began")
        socket.close()
    (done,) = server.notes(key, ":done")
    assert (done[0], done[2], server.all_errors()) == (101, "disconnect", [])


def test_client_that_crashes_is_a_disconnect(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/waits?key={key}") as socket:
        server.notes(key, ":began")
        socket.drop()
    ((place, code, _),) = server.notes(key)
    assert (place, code in (1005, 1006)) == ("receive", True)
    assert server.all_errors() == []


def test_client_that_crashes_ends_the_sending(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/sends_forever?key={key}") as socket:
        socket.receive()
        socket.drop()
    assert server.notes(key) == ["DisconnectedError"]
    assert server.all_errors() == []


def test_iteration_ends_when_the_client_closes(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/iterates?key={key}") as socket:
        for message in ("a", b"b", "", b""):
            socket.send(message)
        socket.close()
    assert server.notes(key) == [["str 1", "bytes 1", "str 0", "bytes 0"]]


def test_calls_after_the_client_closed_are_told(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/ws/too_late?key={key}") as socket:
        socket.close()
    assert server.notes(key, count=2) == [
        "Cannot receive from ws that already disconnected",
        "Cannot send to a disconnected ws",
    ]


def test_request_tells_of_the_handshake(server: Server) -> None:
    with server.websocket("/ws/about/a%2Fb?x=1", subprotocols=["one"]) as socket:
        told = json.loads(socket.receive())
    assert told == {
        "method": "GET",
        "verb": "WEBSOCKET",
        "path": "/ws/about/a/b",
        "parts": ["ws", "about", "a/b"],
        "scheme": "ws",
        "querydict": {"x": "1"},
        "client_type": "tuple",
        "subprotocols": ["one"],
    }


def test_json_message_is_decoded(server: Server) -> None:
    with server.websocket("/ws/json") as socket:
        socket.send('{"a": [1, "é"]}')
        assert json.loads(socket.receive()) == {"got": {"a": [1, "é"]}}


@pytest.mark.parametrize("message", ["{", "NaN"])
def test_json_message_that_is_none_closes_with_1007(server: Server, message: str) -> None:
    with server.websocket("/ws/json") as socket:
        socket.send(message)
        assert socket.wait_closed().code == 1007
    assert server.all_errors() == []

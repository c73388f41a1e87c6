"""What only a plain socket can say or see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.harness import Server


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    requests = b"".join(get(f"/items/{number}") for number in range(200))
    with server.raw(requests) as connection:
        answers = [connection.reply().json()["item"] for _ in range(200)]
    assert answers == list(range(200))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/result/204"), ("GET", "/result/304"), ("HEAD", "/result/text"), ("HEAD", "/stream/bytes")],
)
def test_connection_goes_on_after_a_response_without_body(server: Server, method: str, path: str) -> None:
    with server.raw(get(path, method)) as connection:
        assert connection.reply(method).body == b""
        connection.send(get("/result/text"))
        assert connection.reply().body == b"plain words"


def test_connection_goes_on_after_an_error(server: Server) -> None:
    with server.raw(get("/raised/value-error")) as connection:
        assert connection.reply().status == 500
        connection.send(get("/result/text"))
        assert connection.reply().body == b"plain words"


def test_cut_off_stream_has_no_last_chunk(server: Server) -> None:
    with server.raw(get("/stream/fails-later")) as connection:
        assert not connection.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("name", ["header-value-crlf", "header-value-lf", "header-name-crlf"])
def test_injected_header_is_not_on_the_wire(server: Server, name: str) -> None:
    request = get(f"/flaw/{name}").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with server.raw(request) as connection:
        assert b"x-injected" not in connection.rest().lower()


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"]
)
def test_bad_request_line_leaves_the_server_alive(server: Server, data: bytes) -> None:
    with server.raw(data) as connection:
        answer = connection.rest()
    assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0]
    assert server.get("/result/text").status == 200

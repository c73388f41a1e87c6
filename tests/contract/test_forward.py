"""Requests that are handed on to another app: as if the server called it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract import forwarded
from tests.contract.harness import Denied, Incomplete, new_key

if TYPE_CHECKING:
    from tests.contract.harness import Server


def test_forwarded_app_of_ours_sees_its_own_path(server: Server) -> None:
    told = server.get("/forward/about?a=b").json()
    assert (told["path"], told["root_path"].endswith("/forward")) == ("/about", True)


def test_forwarded_app_makes_links_with_the_prefix(server: Server) -> None:
    told = server.get("/starlette/about").json()
    assert told["url"].endswith("/starlette/about")
    assert told["path"] == told["root_path"] + "/about"


def test_forwarded_app_answers_what_it_does_not_have(server: Server) -> None:
    assert (server.get("/starlette/none").status, server.get("/forward/none").status) == (404, 404)


def test_forwarded_body_is_read(server: Server) -> None:
    assert server.post("/starlette/upload", b"x" * 1_000_000).text == "1000000"


def test_forwarded_stream_arrives_whole(server: Server) -> None:
    assert server.get("/starlette/count").text.split() == [str(number) for number in range(1000)]


def test_forwarded_file_arrives_whole(server: Server) -> None:
    reply = server.get("/starlette/source")
    assert reply.body == Path(forwarded.__file__).read_bytes()
    assert server.all_errors() == []


def test_forwarded_request_is_reported(server: Server) -> None:
    key = new_key()
    server.post(f"/starlette/upload?key={key}", b"12345")
    (done,) = server.notes(key, ":done")
    assert done == [200, 1, "ok"]


def test_forwarded_app_that_raises_is_500_and_told(server: Server) -> None:
    assert server.get("/starlette/fails").status == 500
    (story,) = server.log("in the other app")
    assert "ValueError in forwarded app: in the other app" in story


@pytest.mark.parametrize("path", ["/starlette/fails_later", "/forward/stream/fails-later"])
def test_forwarded_stream_that_fails_later_is_cut_off(server: Server, path: str) -> None:
    with pytest.raises(Incomplete):
        server.get(path)


def test_forwarded_stream_whose_client_leaves_ends(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/starlette/endless?key={key}") as wire:
        assert wire.status() == 200
        wire.read()
        wire.leave()
        (done,) = server.notes(key, ":done")
    assert (done[0], done[2], server.all_errors()) == (200, "disconnect", [])


def test_forwarded_websocket_echoes(server: Server) -> None:
    for path in ("/starlette/echo", "/forward/ws/echo"):
        with server.websocket(path) as socket:
            socket.send("text ✓")
            assert socket.receive() == "text ✓"


def test_forwarded_websocket_whose_client_leaves_is_no_error(server: Server) -> None:
    key = new_key()
    with server.websocket(f"/starlette/echo?key={key}") as socket:
        socket.send("x")
        assert socket.receive() == "x"
        socket.close()
        (done,) = server.notes(key, ":done")
    assert (done[0], done[2], server.all_errors()) == (101, "disconnect", [])


def test_forwarded_websocket_is_denied(server: Server) -> None:
    with pytest.raises(Denied) as caught, server.websocket("/starlette/deny"):
        pass
    assert caught.value.reply.status == 403


def test_forwarded_websocket_has_its_own_close_code(server: Server) -> None:
    with server.websocket("/forward/ws/closes") as socket:
        assert socket.wait_closed().code == 4001
    assert server.all_errors() == []

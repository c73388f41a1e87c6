"""Other people's ASGI middleware around our app, and the asset handler inside it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.contract.harness import Incomplete

if TYPE_CHECKING:
    from tests.contract.harness import Server

GZIP = [("accept-encoding", "gzip")]


@pytest.mark.parametrize(("name", "body"), [("whole", b"compress me " * 1000), ("stream", b"piece " * 1000)])
def test_gzip_middleware_compresses(server: Server, name: str, body: bytes) -> None:
    reply = server.get(f"/gzip/{name}", GZIP)
    assert (reply.header("content-encoding"), gzip.decompress(reply.body)) == ("gzip", body)


def test_gzip_middleware_leaves_others_alone(server: Server) -> None:
    reply = server.get("/gzip/whole", [("accept-encoding", "identity")])
    assert (reply.header("content-encoding"), reply.body) == (None, b"compress me " * 1000)


def test_gzip_of_a_stream_that_fails_is_cut_off(server: Server) -> None:
    with pytest.raises(Incomplete):
        server.get("/gzip/fails-later", GZIP)


def test_cors_middleware_adds_its_header(server: Server) -> None:
    reply = server.get("/cors", [("origin", "https://friend.example")])
    assert (reply.body, reply.header("access-control-allow-origin")) == (b"shared", "https://friend.example")


def test_cors_middleware_answers_preflights(server: Server) -> None:
    headers = [("origin", "https://friend.example"), ("access-control-request-method", "GET")]
    reply = server.request("OPTIONS", "/cors", headers)
    assert (reply.status, reply.header("access-control-allow-origin")) == (200, "https://friend.example")


def test_session_middleware_keeps_the_session(server: Server) -> None:
    first = server.get("/session")
    cookie = (first.header("set-cookie") or "").partition(";")[0]
    second = server.get("/session", [("cookie", cookie)])
    assert (first.json(), second.json()) == ({"count": 1}, {"count": 2})


def test_asset_is_served_with_its_type(server: Server) -> None:
    reply = server.get("/asset/PAGE.html")
    assert (reply.status, reply.body) == (200, b"<html>asset</html>")
    assert (reply.header("content-type") or "").startswith("text/html")
    assert "max-age=60" in (reply.header("cache-control") or "")


def test_asset_is_compressed_when_asked(server: Server) -> None:
    reply = server.get("/asset/long.js", GZIP)
    assert (reply.header("content-encoding"), gzip.decompress(reply.body)) == ("gzip", b"let x = 1;\n" * 1000)
    assert "accept-encoding" in (reply.header("vary") or "").lower()


def test_asset_that_the_client_has_is_304(server: Server) -> None:
    etag = server.get("/asset/page.html").header("etag") or ""
    reply = server.get("/asset/page.html", [("if-none-match", etag)])
    assert (reply.status, reply.body, reply.header("etag")) == (304, b"", etag)


def test_asset_head_has_no_body(server: Server) -> None:
    reply = server.request("HEAD", "/asset/pic.png")
    assert (reply.status, reply.body, reply.header("content-length")) == (200, b"", "4")


def test_asset_that_is_unknown_is_404(server: Server) -> None:
    assert server.get("/asset/none.html").status == 404


def test_asset_is_only_read(server: Server) -> None:
    assert server.post("/asset/page.html", b"x").status == 405


def test_request_made_by_hand_answers(server: Server) -> None:
    assert server.post("/by-hand/answered", b"body").text == "POST 4"


def test_request_made_by_hand_leaves_the_scope_as_it_was(server: Server) -> None:
    assert server.get("/by-hand/passed-on").json()["path"] == "/about"

"""What a handler returns, and what the client gets: statuses, headers, default content types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contract.harness import Server

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BYTES = "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "content_type", "body"),
    [
        ("text", TEXT, b"plain words"),
        ("unicode", TEXT, "grüße ✓".encode()),
        ("html", HTML, b"<html>page</html>"),
        ("html-indented", HTML, b" \n\t<HTML lang=en>page</HTML>"),
        ("html-doctype", HTML, b"<!DOCTYPE HTML><p>page"),
        ("html-lookalike", TEXT, b"<htmlx>"),
        ("html-later", TEXT, b"x <html>"),
        ("bytes", BYTES, b"\x00\x01\xff"),
        ("markup", HTML, b"<b>bold</b>"),
        ("empty-bytes", BYTES, b""),
        ("empty-text", TEXT, b""),
        ("one", TEXT, b"single"),
        ("html-in-pair", HTML, b"<html>page</html>"),
        ("html()", HTML, b"no tag"),
        ("text()", TEXT, b"<html>shown as it is"),
        ("json()", JSON, b'"a string"'),
    ],
)
def test_body_has_its_default_type(server: Server, name: str, content_type: str, body: bytes) -> None:
    reply = server.get(f"/result/{name}")
    assert (reply.status, reply.header("content-type"), reply.body) == (200, content_type, body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dict", {"a": [1, 2, None], "é": "ü"}),
        ("list", [1, "two", {}]),
        ("dataclass", {"x": 1, "y": 2}),
        ("struct", {"x": 1, "y": 2}),
        ("empty-dict", {}),
    ],
)
def test_value_is_sent_as_json(server: Server, name: str, value: Any) -> None:
    reply = server.get(f"/result/{name}")
    assert (reply.status, reply.header("content-type"), reply.json()) == (200, JSON, value)


def test_pair_gives_headers_and_body(server: Server) -> None:
    reply = server.get("/result/pair")
    assert (reply.status, reply.header("x-mark"), reply.body) == (200, "pair", b"body")


def test_triple_gives_status_too(server: Server) -> None:
    reply = server.get("/result/triple")
    assert (reply.status, reply.header("x-mark"), reply.body) == (201, "triple", b"body")
    assert reply.header("content-type") == TEXT


@pytest.mark.parametrize("status", [404, 599])
def test_status_is_the_handlers(server: Server, status: int) -> None:
    assert server.get(f"/result/{status}").status == status


def test_content_type_in_any_case_replaces_ours(server: Server) -> None:
    assert server.get("/result/own-type").values("content-type") == [b"text/css"]


def test_list_of_values_repeats_the_header(server: Server) -> None:
    assert server.get("/result/list-of-values").values("set-cookie") == [b"a=1", b"b=2"]


def test_header_value_goes_out_as_latin_1(server: Server) -> None:
    assert server.get("/result/latin-1").values("x-name") == [b"caf\xe9"]


@pytest.mark.parametrize("name", ["text", "bytes", "dict", "length"])
def test_body_has_its_length(server: Server, name: str) -> None:
    reply = server.get(f"/result/{name}")
    assert reply.values("content-length") == [str(len(reply.body)).encode()]


@pytest.mark.parametrize("name", ["204", "204-empty", "304"])
def test_status_without_body_has_none(server: Server, name: str) -> None:
    reply = server.get(f"/result/{name}")
    assert (reply.status, reply.body) == (int(name[:3]), b"")


def test_status_304_keeps_its_headers(server: Server) -> None:
    assert server.get("/result/304").header("etag") == '"v1"'


@pytest.mark.parametrize("name", ["204", "304"])
def test_connection_is_usable_after_a_status_without_body(server: Server, name: str) -> None:
    server.get(f"/result/{name}")
    assert server.get("/result/text").body == b"plain words"


@pytest.mark.parametrize("path", ["/result/text", "/result/dict", "/stream/bytes", "/body/large"])
def test_head_has_no_body(server: Server, path: str) -> None:
    reply = server.request("HEAD", path)
    assert (reply.status, reply.body) == (200, b"")


def test_head_has_the_headers_of_get(server: Server) -> None:
    reply = server.request("HEAD", "/result/text")
    assert (reply.header("content-type"), reply.header("content-length")) == (TEXT, "11")


def test_body_of_5_megabytes_arrives_whole(server: Server) -> None:
    assert server.get("/body/large").body == b"x" * 5_000_000


def test_unknown_path_is_the_apps_404(server: Server) -> None:
    reply = server.get("/no/such/page")
    assert (reply.status, reply.header("content-type"), reply.body) == (404, TEXT, b"Not Found")


def test_http_error_is_the_answer(server: Server) -> None:
    reply = server.get("/http_error/teapot")
    assert (reply.status, reply.text) == (418, "I'm a Teapot")


def test_http_error_redirects(server: Server) -> None:
    reply = server.get("/http_error/login")
    assert (reply.status, reply.header("location")) == (303, "/login")


def test_http_error_has_body_and_headers(server: Server) -> None:
    reply = server.get("/http_error/body")
    assert (reply.status, reply.json(), reply.header("x-mark")) == (409, {"why": "conflict"}, "json")


def test_http_error_in_group_counts_as_its_first(server: Server) -> None:
    assert server.get("/http_error/group").status == 404


def test_http_error_is_not_logged(server: Server) -> None:
    server.get("/http_error/teapot")
    assert server.all_errors() == []


def test_http_error_is_rendered_by_the_app(server: Server) -> None:
    reply = server.get("/rendered/http_error/teapot")
    assert (reply.status, reply.json()) == (418, {"status": 418, "path": "/rendered/http_error/teapot"})


def test_param_converts(server: Server) -> None:
    assert server.get("/items/42").json() == {"item": 42}


def test_param_that_does_not_fit_is_404(server: Server) -> None:
    assert server.get("/items/x").status == 404


def test_method_not_allowed_says_what_is(server: Server) -> None:
    reply = server.request("DELETE", "/items/42")
    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")


def test_done_is_told_how_it_went(server: Server) -> None:
    server.get("/result/text?key=done-ok")
    assert server.notes("done-ok", ":done") == [[200, 11, "ok"]]


def test_done_is_told_of_an_error(server: Server) -> None:
    server.get("/raised/value-error?key=done-error")
    assert server.notes("done-error", ":done") == [[500, len("Internal server error"), "error"]]

"""Responses that are sent in pieces, and how they end: whole, or seen to be cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.harness import Incomplete, new_key

if TYPE_CHECKING:
    from tests.contract.harness import Server


@pytest.mark.parametrize(
    ("name", "content_type", "body"),
    [
        ("bytes", "application/octet-stream", b"one two three"),
        ("text", "text/plain; charset=utf-8", "één twee".encode()),
        ("html", "text/html; charset=utf-8", b"<html>page</html>"),
        ("nothing", "application/octet-stream", b""),
    ],
)
def test_stream_arrives_whole_with_its_type(
    server: Server, name: str, content_type: str, body: bytes
) -> None:
    reply = server.get(f"/stream/{name}")
    assert (reply.status, reply.header("content-type"), reply.body) == (200, content_type, body)


def test_stream_has_the_status_and_type_of_the_handler(server: Server) -> None:
    reply = server.get("/stream/typed")
    assert (reply.status, reply.values("content-type"), reply.body) == (201, [b"text/csv"], b"a,b\n1,2\n")


def test_stream_of_5_megabytes_arrives_whole(server: Server) -> None:
    assert len(server.get("/stream/large").body) == 80 * 65536


def test_stream_that_fails_before_its_first_chunk_is_500(server: Server) -> None:
    reply = server.get("/stream/fails-first")
    assert (reply.status, reply.text) == (500, "Internal server error")


def test_stream_that_fails_before_its_first_chunk_is_logged(server: Server) -> None:
    server.get("/stream/fails-first")
    (story,) = server.log()
    assert "ValueError in sending chunked response: in the stream" in story


def test_stream_that_raises_an_answer_first_is_that_answer(server: Server) -> None:
    reply = server.get("/stream/error-first")
    assert (reply.status, reply.text) == (404, "not even begun")


@pytest.mark.parametrize("name", ["fails-later", "flawed-later"])
def test_stream_that_fails_later_is_seen_to_be_cut_off(server: Server, name: str) -> None:
    with pytest.raises(Incomplete):
        server.get(f"/stream/{name}")


def test_stream_that_fails_later_is_logged_once(server: Server) -> None:
    with pytest.raises(Incomplete):
        server.get("/stream/fails-later")
    stories = server.log("in the stream")
    assert [("ValueError in sending chunked response" in story) for story in stories] == [True]


def test_stream_that_fails_later_leaves_the_server_alive(server: Server) -> None:
    with pytest.raises(Incomplete):
        server.get("/stream/fails-later")
    assert server.get("/result/text").status == 200


def test_stream_is_closed_when_the_client_leaves(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/stream/until-left?key={key}") as wire:
        assert wire.status() == 200
        assert wire.read()
    assert server.notes(key) == ["closed"]


def test_stream_is_closed_when_the_client_crashes(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/stream/until-left?key={key}") as wire:
        assert wire.status() == 200
        wire.leave(abruptly=True)
    assert server.notes(key) == ["closed"]


def test_stream_whose_client_left_is_no_error(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/stream/until-left?key={key}") as wire:
        wire.status()
    (done,) = server.notes(key, ":done")
    assert (done[0], done[2], server.all_errors()) == (200, "disconnect", [])


def test_send_raises_when_the_client_left(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/endless_sends?key={key}") as wire:
        wire.status()
    assert server.notes(key) == ["DisconnectedError"]


def test_low_level_response_is_as_it_was_said(server: Server) -> None:
    reply = server.get("/lowlevel")
    assert (reply.status, reply.header("x-mark"), reply.body) == (202, "low", b"in pieces")


def test_low_level_response_has_no_headers_of_ours(server: Server) -> None:
    assert server.get("/lowlevel_only_accepts").values("content-type") == []


def test_low_level_loop_sends_all_chunks(server: Server) -> None:
    assert server.get("/lowlevel_loop").body == b"one two three"


def test_low_level_response_may_have_a_length(server: Server) -> None:
    reply = server.get("/lowlevel_length")
    assert (reply.header("content-length"), reply.body) == ("6", b"abcdef")


def test_low_level_accept_alone_is_an_empty_response(server: Server) -> None:
    reply = server.get("/lowlevel_only_accepts")
    assert (reply.status, reply.body) == (200, b"")


def test_low_level_head_has_no_body(server: Server) -> None:
    reply = server.request("HEAD", "/lowlevel")
    assert (reply.status, reply.body) == (202, b"")


def test_done_is_told_of_a_stream_that_was_cut_off(server: Server) -> None:
    key = new_key()
    with pytest.raises(Incomplete):
        server.get(f"/stream/fails-later?key={key}")
    assert server.notes(key, ":done") == [[200, len("before before "), "error"]]

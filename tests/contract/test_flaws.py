"""Mistakes of a handler: a 500 with a fixed text, one record in the log, nothing illegal on the wire."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.contract.app import FLAWED_HEADS, FLAWS, RAISED
from tests.contract.harness import Incomplete, new_key

if TYPE_CHECKING:
    from tests.contract.harness import Server


def get_no_success(server: Server, path: str) -> None:
    """Ask for a response that fails once it began: cut off, or 500 where no head went out yet."""
    with contextlib.suppress(Incomplete):
        assert server.get(path).status == 500


@pytest.mark.parametrize("name", FLAWS)
def test_flawed_result_is_500_with_a_fixed_text(server: Server, name: str) -> None:
    reply = server.get(f"/flaw/{name}")
    assert (reply.status, reply.text) == (500, "Internal server error")
    assert reply.header("content-type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", FLAWS)
def test_flawed_result_is_told_in_the_log(server: Server, name: str) -> None:
    server.get(f"/flaw/{name}")
    (story,) = server.log()
    assert FLAWS[name][1] in story.partition("\n")[0]


@pytest.mark.parametrize("name", [name for name in FLAWS if name.startswith("header-")])
def test_flawed_header_never_goes_out(server: Server, name: str) -> None:
    reply = server.get(f"/flaw/{name}")
    assert {field for field, _ in reply.fields} <= {
        "content-type",
        "content-length",
        "date",
        "server",
        "connection",
    }


@pytest.mark.parametrize("name", FLAWED_HEADS)
def test_flawed_head_is_500_and_logged(server: Server, name: str) -> None:
    reply = server.get(f"/flawed_head/{name}")
    assert (reply.status, reply.text) == (500, "Internal server error")
    (story,) = server.log()
    assert FLAWED_HEADS[name][2] in story.partition("\n")[0]


@pytest.mark.parametrize("name", ["too_long", "too_short"])
def test_body_of_another_length_is_no_success(server: Server, name: str) -> None:
    get_no_success(server, f"/{name}")
    assert server.log("content-length")


@pytest.mark.parametrize("name", RAISED)
def test_exception_is_500_with_a_fixed_text(server: Server, name: str) -> None:
    reply = server.get(f"/raised/{name}")
    assert (reply.status, reply.text) == (500, "Internal server error")


@pytest.mark.parametrize("name", RAISED)
def test_exception_is_told_in_the_log(server: Server, name: str) -> None:
    server.get(f"/raised/{name}")
    (story,) = server.log()
    assert RAISED[name][1] in story.partition("\n")[0]


def test_exception_is_logged_with_its_traceback(server: Server) -> None:
    server.get("/raised/value-error")
    (story,) = server.log()
    assert "Traceback" in story
    assert "app.py" in story


def test_exception_leaves_the_server_alive(server: Server) -> None:
    server.get("/raised/value-error")
    assert server.get("/result/text").status == 200


def test_exception_is_told_to_the_client_in_debug(server: Server) -> None:
    reply = server.get("/debug/raised/value-error")
    assert (reply.status, "ValueError in request handler: oh no" in reply.text) == (500, True)


def test_exception_is_rendered_by_the_app(server: Server) -> None:
    reply = server.get("/rendered/raised/value-error")
    assert (reply.status, reply.json()["status"]) == (500, 500)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("send-first", "Cannot send before calling accept"),
        ("consumed", "already consumed"),
        ("consumed-iter", "already consumed"),
        ("set-of-texts", "TypeError"),
    ],
)
def test_wrong_call_is_an_error(server: Server, name: str, text: str) -> None:
    assert text in server.post(f"/misuse/{name}", b"body").text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("accept-twice", "Cannot accept an already accepted"),
        ("send-number", "Can only send bytes/str"),
        ("send-after-end", "Cannot send to a closed"),
    ],
)
def test_wrong_call_during_a_response_is_an_error(server: Server, name: str, text: str) -> None:
    key = new_key()
    assert server.get(f"/misuse_later/{name}?key={key}").status == 200
    (told,) = server.notes(key)
    assert text in told


def test_value_returned_after_accept_is_no_success(server: Server) -> None:
    get_no_success(server, "/accept_and_return")
    assert server.log("Handlers that call request.accept() should return None")

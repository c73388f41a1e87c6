"""Clients that go away, and requests that wait: nothing is lost, and nothing of it is an error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.contract.harness import Reply, new_key

if TYPE_CHECKING:
    from tests.contract.harness import Server

HALF = [("content-length", "1000")]


@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("way", ["whole", "iterated"])
def test_upload_that_is_cut_off_is_a_disconnect(server: Server, way: str, abruptly: bool) -> None:
    key = new_key()
    with server.wire("POST", f"/upload/{way}?key={key}", HALF) as wire:
        wire.write(b"x" * 500)
        server.notes(key, ":began")
        wire.leave(abruptly)
    assert server.notes(key) == ["DisconnectedError"]


def test_upload_that_is_cut_off_is_no_error(server: Server) -> None:
    key = new_key()
    with server.wire("POST", f"/upload/whole?key={key}", HALF) as wire:
        wire.write(b"x" * 500)
        server.notes(key, ":began")
    (done,) = server.notes(key, ":done")
    assert (done[2], server.all_errors()) == ("disconnect", [])


def test_upload_arrives_piece_by_piece(server: Server) -> None:
    key = new_key()
    with server.wire("POST", f"/upload/iterated?key={key}", HALF) as wire:
        wire.write(b"x" * 400)
        assert server.notes(key, ":began") == ["piece of 400"]
        wire.write(b"x" * 600)
        assert wire.status() == 200
    assert server.notes(key) == ["whole"]


def in_background(server: Server, path: str, content: bytes = b"") -> tuple[threading.Thread, list[Reply]]:
    """Make a request that takes its time; its reply is put into the list."""
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(server.post(path, content)))
    thread.start()
    return thread, replies


def test_sleep_is_ended_by_wakeup(server: Server) -> None:
    key = new_key()
    thread, replies = in_background(server, f"/sleep?key={key}")
    server.notes(key, ":joined")
    assert server.post(f"/wake?key={key}").json() == {"woke": 1}
    thread.join()
    assert replies[0].json() == {"woken": True, "body": 0}


def test_sleep_is_ended_by_an_earlier_wakeup(server: Server) -> None:
    assert server.get("/wake_early").json() == {"woken": True}


def test_sleep_ends_by_itself(server: Server) -> None:
    reply = server.post(f"/sleep?seconds=0.01&key={new_key()}")
    assert reply.json()["woken"] is False


def test_sleep_keeps_the_body(server: Server) -> None:
    reply = server.post(f"/sleep?seconds=0.01&key={new_key()}", b"x" * 200_000)
    assert reply.json()["body"] == 200_000


def test_sleep_is_ended_by_a_disconnect(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/sleep?key={key}"):
        server.notes(key, ":joined")
    assert server.notes(key) == ["DisconnectedError"]
    assert server.all_errors() == []


def test_request_leaves_its_set_when_it_ends(server: Server) -> None:
    key = new_key()
    server.post(f"/sleep?seconds=0&key={key}")
    assert server.get(f"/sleepers_left?key={key}").json() == {"left": 0}


def test_request_leaves_its_set_when_the_client_leaves(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/sleep?key={key}"):
        server.notes(key, ":joined")
    server.notes(key, ":done")
    assert server.get(f"/sleepers_left?key={key}").json() == {"left": 0}


def test_several_requests_are_woken_together(server: Server) -> None:
    key = new_key()
    waiting = [in_background(server, f"/sleep?key={key}") for _ in range(5)]
    server.notes(key, ":joined", count=5)
    assert server.post(f"/wake?key={key}").json() == {"woke": 5}
    for thread, _ in waiting:
        thread.join()
    assert [replies[0].json()["woken"] for _, replies in waiting] == [True] * 5

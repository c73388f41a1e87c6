"""What goes wrong on the way: clients that leave, crash or stall, and servers that stop.

Clients are plain sockets on real servers, and on the in-process one what stands for them. What
is at stake is what the handler hears, what the client gets, and that nothing of it is an error.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import http.client
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as connect_websocket

from asgineer.testing import TestClient, run_server
from asgineer.testing._capture import Output, captured, current_output
from tests.contract import faults_app
from tests.contract.harness import FAKE, TIMEOUT, RealServer, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgineer.testing import RunningServer
    from tests.contract.harness import Server

abrupt_or_not = pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])


# ---- clients that go away --------------------------------------------------------------------


def outcome(server: Server, key: str) -> tuple[Any, list[tuple[str, str]]]:
    """Return how the request ended, and what was logged as an error meanwhile."""
    (done,) = server.notes(key, ":done")
    return done[2], server.all_errors()


@abrupt_or_not
def test_client_that_leaves_in_its_request(server: Server, abruptly: bool) -> None:
    key = new_key()
    with server.wire("POST", f"/upload/iterated?key={key}", [("content-length", "1000")]) as wire:
        wire.write(b"x" * 500)
        server.notes(key, ":began")
        wire.leave(abruptly)
    assert server.notes(key) == ["DisconnectedError"]
    assert outcome(server, key) == ("disconnect", [])


@abrupt_or_not
def test_client_that_leaves_in_its_response(server: Server, abruptly: bool) -> None:
    key = new_key()
    with server.wire("GET", f"/endless_sends?key={key}") as wire:
        assert wire.status() == 200
        assert wire.read()
        wire.leave(abruptly)
    assert server.notes(key) == ["DisconnectedError"]
    assert outcome(server, key) == ("disconnect", [])


@abrupt_or_not
def test_client_that_leaves_while_it_waits(server: Server, abruptly: bool) -> None:
    key = new_key()
    with server.wire("GET", f"/sleep?key={key}") as wire:
        server.notes(key, ":joined")
        wire.leave(abruptly)
    assert server.notes(key) == ["DisconnectedError"]
    assert outcome(server, key) == ("disconnect", [])


@abrupt_or_not
def test_client_that_leaves_in_its_message(server: Server, abruptly: bool) -> None:
    key = new_key()
    with half_a_message(server, f"/ws/waits?key={key}", abruptly):
        server.notes(key, ":began")
    ((place, code, _),) = server.notes(key)
    assert (place, code in (1005, 1006)) == ("receive", True)
    assert outcome(server, key) == ("disconnect", [])


@abrupt_or_not
def test_client_that_leaves_in_a_message_of_the_app(server: Server, abruptly: bool) -> None:
    key = new_key()
    with half_a_message(server, f"/ws/sends_forever?key={key}", abruptly):
        pass  # and reads nothing
    assert server.notes(key) == ["DisconnectedError"]
    assert server.all_errors() == []


@contextlib.contextmanager
def half_a_message(server: Server, path: str, abruptly: bool) -> Iterator[None]:
    """Open a websocket; at the end of the block send half a message and be gone."""
    if not isinstance(server, RealServer):
        with server.websocket(path) as websocket:
            yield
            websocket.drop()
        return
    with server.dial() as connection:
        shake_hands(connection, path)
        yield
        connection.sendall(b"\x81\xe4" + b"mask" + b"x" * 50)  # a masked text of 100 bytes, half of it
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def shake_hands(connection: socket.socket, path: str) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "host: localhost", "connection: upgrade", "upgrade: websocket"]
    lines += ["sec-websocket-version: 13", f"sec-websocket-key: {key}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)  # not a byte more than the answer
    assert b" 101 " in answer.partition(b"\r\n")[0]


# ---- clients that stall ----------------------------------------------------------------------


def test_client_that_stalls_is_left_in_time(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/impatient/much?key={key}") as wire:
        assert wire.status() == 200
        assert server.get("/result/text").status == 200, "the others are served"
        assert server.notes(key) == ["SlowClient"]
    assert outcome(server, key) == ("disconnect", [])


def test_client_that_is_only_slow_gets_everything(server: Server) -> None:
    key = new_key()
    with server.wire("GET", f"/much?key={key}") as wire:
        assert wire.status() == 200
        size = 0
        while piece := wire.read():
            size += len(piece)
    assert (size, server.notes(key)) == (400 * 65_536, ["all sent"])


# ---- servers that stop -----------------------------------------------------------------------


@dataclasses.dataclass
class Closing:
    """What clients and log saw of a server that stopped while they waited."""

    stream: bytes | str = "nothing"
    poll: tuple[int, str | None] | str = "nothing"
    messages: list[Any] = dataclasses.field(default_factory=list)
    close: tuple[int | None, str] | str = "nothing"
    status: int = -1
    seconds: float = 0.0
    output: str = ""


BEGAN = ("began stream", "began poll", "began socket")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look again and again, as a server's output gives no notice of itself."""
    deadline = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, what
        pause.wait(0.01)


def in_threads(*functions: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def stop_a_real_one(setup: str) -> Closing:
    name, _, protocol = setup.partition("-")
    seen = Closing()
    options: dict[str, Any] = {"http": protocol} if protocol else {}
    with run_server(faults_app.main, name, **options) as server:
        readers = (read_stream, read_poll, read_socket)
        clients = in_threads(*(functools.partial(read, server, seen) for read in readers))
        wait_for(lambda: all(text in server.output for text in BEGAN), "three clients that wait")
        before = time.monotonic()
        seen.status = server.stop()
        seen.seconds = time.monotonic() - before
        for client in clients:
            client.join(TIMEOUT)
    seen.output = server.output
    return seen


def read_stream(server: RunningServer, seen: Closing) -> None:
    """Read a stream to its end; a connection that breaks is noted by its error."""
    connection = http.client.HTTPConnection(server.bind, timeout=TIMEOUT)
    connection.request("GET", "/stream")
    try:
        seen.stream = connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        seen.stream = type(error).__name__
    connection.close()


def read_poll(server: RunningServer, seen: Closing) -> None:
    connection = http.client.HTTPConnection(server.bind, timeout=TIMEOUT)
    connection.request("GET", "/poll")
    try:
        answer = connection.getresponse()
        seen.poll = (answer.status, answer.getheader("retry-after"))
    except (OSError, http.client.HTTPException) as error:
        seen.poll = type(error).__name__
    connection.close()


def read_socket(server: RunningServer, seen: Closing) -> None:
    with connect_websocket(f"ws://{server.bind}/socket", proxy=None, close_timeout=TIMEOUT) as websocket:
        with contextlib.suppress(ConnectionClosedError):
            seen.messages.extend(websocket)
        seen.close = (websocket.close_code, websocket.close_reason or "")


def stop_the_fake() -> Closing:
    seen = Closing(status=0)
    output = Output()
    with captured(), TestClient(faults_app.main, timeout=TIMEOUT) as client:

        def read_stream() -> None:
            current_output.set(output)
            seen.stream = client.get("/stream").content

        def read_poll() -> None:
            current_output.set(output)
            answer = client.get("/poll")
            seen.poll = (answer.status_code, answer.headers.get("retry-after"))

        def read_socket() -> None:
            current_output.set(output)
            with client.websocket("/socket", timeout=TIMEOUT) as websocket:
                seen.messages = list(websocket)
                seen.close = (websocket.close_code, websocket.close_reason)

        clients = in_threads(read_stream, read_poll, read_socket)
        wait_for(lambda: all(text in output.text() for text in BEGAN), "three clients that wait")
        client.shutdown()
        for thread in clients:
            thread.join(TIMEOUT)
    seen.output = output.text()
    return seen


@functools.cache
def stopped(setup: str) -> Closing:
    """Stop a server of `setup` once, for all tests of one run."""
    return stop_the_fake() if setup == FAKE else stop_a_real_one(setup)


@pytest.mark.parametrize("handler", ["stream", "poll", "socket"])
def test_handler_is_told_that_the_server_stops(setup: str, handler: str) -> None:
    assert f"told {handler}" in stopped(setup).output


def test_stream_may_say_goodbye_when_the_server_stops(setup: str) -> None:
    assert stopped(setup).stream == b"hello goodbye"


def test_long_poll_is_a_503_when_the_server_stops(setup: str) -> None:
    assert stopped(setup).poll == (503, "1")


def test_websocket_may_say_goodbye_when_the_server_stops(setup: str) -> None:
    assert stopped(setup).messages == ["goodbye"]


def test_websocket_is_closed_with_1012_when_the_server_stops(setup: str) -> None:
    assert stopped(setup).close == (1012, "The server is closing")


def test_server_that_stops_ends_at_once(setup: str) -> None:
    seen = stopped(setup)
    assert (seen.status, seen.seconds < 5) == (0, True)


def test_server_that_stops_logs_no_error(setup: str) -> None:
    output = stopped(setup).output
    assert ("ERROR" in output, "Traceback" in output) == (False, False), output

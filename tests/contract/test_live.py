"""Connections that live, on real servers: who is told that a client left, or that the server stops.

Nothing here sleeps: a test waits for what the app notes, for a line that it prints, or for the end of
a process. Times are taken by the clock that all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asgineer.testing._process import ServerProcess, free_port
from tests.contract.harness import (
    ROOT,
    SETUPS,
    Incomplete,
    RealServer,
    Spot,
    command,
    marks_of,
    new_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


TARGET = "tests.contract.live_app:main"
LATE = 1.0  # seconds from the end of a client to the word of it in its handler
SEND_LIMIT = 1  # as in the app
REAL = [pytest.param(name, id=name, marks=marks_of(name)) for name in SETUPS if name != "inprocess"]
CROWD = {
    "daphne": 200,
    "hypercorn": 300,
}  # connections that end at once, where not 1000
BUSY = 100  # requests that each want a thread, of which the pool has fewer
FEW = 50  # streams and websockets that a server ends


@pytest.fixture(params=REAL)
def setup(request: pytest.FixtureRequest) -> str:
    """The name of the set-up that a case runs on."""
    name: str = request.param
    return name


class LiveServer(RealServer):
    """A server that serves the app of these tests."""

    def figures(self) -> dict[str, int]:
        figures: dict[str, int] = self.get("/control/stats").json()
        return figures


@pytest.fixture(scope="session")
def live_servers() -> Iterator[dict[str, LiveServer]]:
    running: dict[str, LiveServer] = {}
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture
def live(live_servers: dict[str, LiveServer], setup: str, request: pytest.FixtureRequest) -> LiveServer:
    """A running server of the set-up."""
    if setup not in live_servers:
        live_servers[setup] = LiveServer(setup, Spot("127.0.0.1", free_port()), TARGET)
    server = live_servers[setup]
    server.begin_test()
    if request.node.get_closest_marker("xfail"):
        server.be_impatient()
    return server


def told(server: LiveServer, key: str, since: float, kind: str = "") -> str:
    """Return how a handler's wait ended; it must have been told in time."""
    ((name, when),) = server.notes(key, kind)
    assert when - since < LATE, f"told after {when - since:.2f} s"
    return str(name)


# A client that leaves

WAITS = {
    "send": "DisconnectedError",
    "iter_body": "DisconnectedError",
    "sleep": "DisconnectedError",
    "compute": "DisconnectedError",
    "stream": "CancelledError",
    "stream_unstarted": "CancelledError",
    "events": "CancelledError",
    "events_first": "CancelledError",
}


@pytest.mark.parametrize("abruptly", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("where", WAITS)
def test_a_client_that_leaves_is_told(live: LiveServer, where: str, abruptly: bool) -> None:
    key = new_key()
    upload = where == "iter_body"
    with live.wire(
        "POST" if upload else "GET", f"/{where}?key={key}", [("content-length", "1000")] if upload else []
    ) as wire:
        if upload:
            wire.write(b"x" * 500)
        live.notes(key, ":began")
        since = time.monotonic()
        wire.leave(abruptly)
        assert told(live, key, since) == WAITS[where]
    assert live.all_errors() == []


@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "dropped"])
@pytest.mark.parametrize("where", ["receive", "send", "sending"])
def test_a_websocket_whose_client_leaves_is_told(live: LiveServer, where: str, abruptly: bool) -> None:
    key = new_key()
    websocket = live.websocket(f"/ws/{where}?key={key}")
    live.notes(key, ":began")
    since = time.monotonic()
    if abruptly:
        websocket.drop()
    else:
        websocket.close()
    assert told(live, key, since, ":block" if where == "sending" else "") == "DisconnectedError"
    if where == "sending":
        assert told(live, key, since) == "CancelledError", "its events are closed as well"
    assert live.all_errors() == []


def test_figures_return_to_what_they_were(live: LiveServer) -> None:
    before = live.figures()
    keys = [new_key() for _ in range(3)]
    wires = [live.wire("GET", f"/events?key={key}") for key in keys]
    websocket = live.websocket(f"/ws/receive?key={keys[0]}")
    for key in keys:
        live.notes(key, ":began")
    during = live.figures()
    assert during["open_streams"] - before["open_streams"] == 3
    assert during["open_websockets"] - before["open_websockets"] == 1
    assert during["open_requests"] - before["open_requests"] == 3
    websocket.close()
    for wire in wires:
        wire.leave()
    for key in keys:
        live.notes(key, count=2 if key == keys[0] else 1)
    after = settled(live, before)
    assert after["disconnects"] - before["disconnects"] == 4
    assert after["open_websockets"] == before["open_websockets"]


def settled(server: LiveServer, before: dict[str, int]) -> dict[str, int]:
    """Return the figures as soon as nothing more is open, and no more tasks are there, than before."""
    deadline = time.monotonic() + 10
    while True:
        now = server.figures()
        names = ("open_streams", "open_requests", "open_websockets", "all_tasks")
        if all(now[name] <= before[name] for name in names) or time.monotonic() > deadline:
            # Fewer is right as well: a server may have been about to end a connection before.
            assert {name: now[name] for name in names if now[name] > before[name]} == {}
            return now


# Streams that fail


@pytest.mark.parametrize("kind", ["", "/length"], ids=["chunked", "length"])
def test_a_stream_that_fails_is_seen_to_be_incomplete(live: LiveServer, kind: str) -> None:
    with pytest.raises(Incomplete):
        live.get(f"/fails{kind}")
    assert "a failure in the middle" in "".join(live.log("a failure in the middle"))


@pytest.mark.parametrize("kind", ["", "/length"], ids=["chunked", "length"])
def test_curl_says_that_a_stream_that_fails_is_partial(live: LiveServer, kind: str) -> None:
    done = subprocess.run(
        ["curl", "--silent", "--max-time", "10", f"{live.scheme_and_host}/fails{kind}"],
        capture_output=True,
        check=False,
    )
    assert done.returncode in (18, 56), "a partial file; or a reset, where that comes first"


# Clients that do not read


def dial(server: LiveServer) -> socket.socket:
    """Connect with a small receive buffer, so that little is in flight."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(10)
    connection.connect((server.spot.host, server.spot.port))
    return connection


def read_to_the_end(connection: socket.socket) -> None:
    """Read what was in flight, until the connection ends; it times out if it doesn't."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1_000_000):
            pass


HANDSHAKE = (
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("path", ["/flood", "/ws/flood"], ids=["stream", "websocket"])
def test_a_client_that_does_not_read_is_left(live: LiveServer, path: str) -> None:
    key = new_key()
    before = live.figures()
    with dial(live) as stalled, live.wire("GET", "/clock") as other:
        head = HANDSHAKE if path.startswith("/ws") else ""
        stalled.sendall(f"GET {path}?key={key} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n".encode())
        live.notes(key, ":began")
        since = time.monotonic()
        assert other.status() == 200
        ((name, when),) = live.notes(key)
        assert name == "SlowClient", "a DisconnectedError"
        assert SEND_LIMIT <= when - since < SEND_LIMIT + 4
        assert other.read(), "others are not affected"
        # granian has no way to abort a websocket: it waits for the client's close frame.
        if (live.setup, path) != ("granian", "/ws/flood"):
            read_to_the_end(stalled)
    after = settled(live, before)
    assert after["send_timeouts"] - before["send_timeouts"] == 1
    assert live.log() == []


# A loop that is blocked, and a crowd that leaves


def test_a_blocked_loop_ends_no_healthy_stream(live: LiveServer) -> None:
    with live.wire("GET", "/clock") as stream, live.websocket(f"/ws/echo?key={new_key()}") as websocket:
        assert stream.status() == 200
        stream.read()
        assert live.get("/block").text == "blocked"
        count = 0
        for _ in range(10):
            count += stream.read().count(b"data:")
        assert count >= 5
        websocket.send("still here")
        assert websocket.receive() == "still here"


def test_requests_without_threads_are_served_when_all_threads_are_busy(live: LiveServer) -> None:
    """F24: every thread of the pool waits, and more wait for one."""
    key = new_key()
    connections = [live.dial() for _ in range(BUSY)]
    for connection in connections:
        connection.sendall(f"GET /threads?key={key} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    live.notes(key, ":began", BUSY)
    since = time.monotonic()
    assert live.get("/state").json() == {"value": "of the lifespan"}
    with live.wire("GET", "/clock") as stream:
        assert stream.status() == 200
        assert stream.read()
    assert time.monotonic() - since < LATE
    assert live.figures()["busy_threads"] == 1, "they are still busy"
    assert live.get("/release").text == "released"
    for connection in connections:
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.close()


def test_a_crowd_that_leaves_at_once(live: LiveServer) -> None:
    count = CROWD.get(live.setup, 1000)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        pytest.skip(f"only {soft} files may be open")
    key = new_key()
    before = live.figures()
    crowd = []
    for _ in range(count):
        connection = live.dial()
        connection.sendall(f"GET /silent_events?key={key} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        crowd.append(connection)
    live.notes(key, ":began", count)
    assert live.figures()["open_streams"] - before["open_streams"] == count
    for connection in crowd:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    ends = live.notes(key, "", count)
    assert {name for name, _ in ends} == {"CancelledError"}
    after = settled(live, before)
    assert after["disconnects"] - before["disconnects"] == count
    assert live.all_errors() == []


# The end of the server

TIMEOUT = 3  # seconds, as run() is told here
SLACK = 1.5  # seconds for a machine that does much else beside; what went on for ever would take far more
WAYS = ["uvicorn-httptools", "granian", "uvicorn-run", "hypercorn-run", "granian-run"]
EVERY_RUN = ["uvicorn-run", "hypercorn-run", "granian-run"]


def marked(ways: list[str]) -> list[Any]:
    groups = {name.partition("-")[0]: name for name in reversed(SETUPS)}
    return [pytest.param(way, marks=marks_of(groups[way.partition("-")[0]])) for way in ways]


class Ending(LiveServer):
    """A server of its own, for a test that ends it."""

    def __init__(self, way: str, start: str = "") -> None:
        name, _, kind = way.partition("-")
        spot = Spot("127.0.0.1", free_port())
        if kind == "run":
            options = f"{TARGET!r}, {name!r}, '{spot.host}:{spot.port}', shutdown_timeout={TIMEOUT}"
            line = [sys.executable, "-c", f"import asgineer; asgineer.run({options})"]
        else:
            line = command(way, spot, TARGET)
        self.setup, self.spot = way, spot
        self.scheme_and_host = f"http://{spot.host}:{spot.port}"
        self.client = httpx2.Client(base_url=self.scheme_and_host, timeout=10)
        self.connections: list[socket.socket] = []
        environment = {"PYTHONPATH": ROOT, "LIVE_START": start}
        self.process = ServerProcess.command(line, (spot.host, spot.port), cwd=ROOT, env=environment)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> float:
        since = time.monotonic()
        os.kill(self.process.pid, number)
        return since

    def wait_for_line(self, text: str) -> None:
        self._wait(lambda: any(text in line for line in self.process.lines), text)

    def wait_for_end(self) -> int:
        self._wait(lambda: self.process.status is not None, "the end")
        return self.process.stop()

    def _wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + 20
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"{what!r} did not come; the output is\n{self.process.output}"
            pause.wait(0.01)


@contextlib.contextmanager
def server_to_end(way: str, start: str = "") -> Iterator[Ending]:
    server = Ending(way, start)
    try:
        yield server
    finally:
        server.client.close()
        for connection in server.connections:
            connection.close()
        server.process.stop(0)


def read_all(connections: list[socket.socket]) -> list[bytes]:
    """Read each of them to its end, all at once."""
    pieces: dict[socket.socket, list[bytes]] = {connection: [] for connection in connections}
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        deadline = time.monotonic() + 20
        while selector.get_map():
            assert time.monotonic() < deadline, "a connection was not ended"
            for key, _ in selector.select(1):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                piece = ready.recv(65_536)
                pieces[ready].append(piece)
                if not piece:
                    selector.unregister(ready)
    return [b"".join(found) for found in pieces.values()]


def begin(server: Ending, path: str, head: str = "") -> socket.socket:
    connection = server.dial()
    server.connections.append(connection)
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n".encode())
    return connection


# By its own command granian may stop before the last close frame is out, now and then; run() waits for it.
MAY_CUT_SOCKETS = {"granian"}


@pytest.mark.parametrize("way", marked(WAYS))
def test_the_end_is_told_to_everybody(way: str) -> None:
    with server_to_end(way) as server:
        server.process.wait_until_ready()
        streams, sockets, requests = new_key(), new_key(), new_key()
        open_streams = [begin(server, f"/silent_events?key={streams}") for _ in range(FEW)]
        open_sockets = [begin(server, f"/ws/receive?key={sockets}", HANDSHAKE) for _ in range(FEW)]
        assert server.get("/spawns").text == "spawned"
        assert server.get("/state").json() == {"value": "of the lifespan"}
        server.notes(streams, ":began", FEW)
        server.notes(sockets, ":began", FEW)
        slow = [begin(server, f"/slow?key={requests}") for _ in range(10)]
        server.notes(requests, ":began", 10)

        since = server.signal()
        ends = read_all(open_streams + open_sockets + slow)
        status = server.wait_for_end()
        seconds = time.monotonic() - since

        for end in ends[:FEW]:
            assert re.search(rb"retry: \d{4}\n\n", end), end
            assert end.endswith(b"0\r\n\r\n"), "the stream ended well"
        codes = {close_code(end) for end in ends[FEW : 2 * FEW]}
        assert codes <= ({1012, 1001, 1006} if way in MAY_CUT_SOCKETS else {1012, 1001})
        for end in ends[2 * FEW :]:
            assert end.startswith(b"HTTP/1.1 200"), end
            assert b"answered" in end, "an accepted request is answered"
        assert seconds < TIMEOUT + 1 + SLACK
        assert status in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        said = [line for line in server.process.lines if line.endswith(("ended", "started"))]
        assert said == ["lifespan started", "plain task ended", "careful task ended", "lifespan ended"]


def close_code(data: bytes) -> int:
    """Return the code in the close frame that the data ends with; 1006 where there is none (RFC 6455)."""
    at = data.rfind(b"\x88")
    return 1006 if at < 0 else int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("way", marked(["uvicorn-run", "hypercorn-run", "granian-run"]))
def test_a_second_signal_forces(way: str) -> None:
    with server_to_end(way) as server:
        server.process.wait_until_ready()
        stream, deaf = new_key(), new_key()
        told = begin(server, f"/silent_events?key={stream}")
        with begin(server, f"/deaf?key={deaf}"):
            server.notes(stream, ":began")
            server.notes(deaf, ":began")
            server.signal()
            read_all([told])  # so the first signal has arrived
            since = server.signal()
            server.wait_for_end()
            assert time.monotonic() - since < TIMEOUT


@pytest.mark.parametrize("way", marked(["uvicorn-run", "hypercorn-run", "granian-run"]))
def test_a_handler_that_is_stuck_holds_up_the_end_no_longer_than_allowed(way: str) -> None:
    with server_to_end(way) as server:
        server.process.wait_until_ready()
        stuck = new_key()
        with begin(server, f"/stuck?key={stuck}"):
            server.notes(stuck, ":began")
            since = server.signal()
            server.wait_for_end()
            assert TIMEOUT - 1 < time.monotonic() - since < TIMEOUT + 1 + SLACK
            assert "lifespan ended" in server.process.lines


@pytest.mark.parametrize("way", marked(EVERY_RUN))
def test_a_handler_that_listens_to_nothing_holds_up_the_end_no_longer_than_allowed(way: str) -> None:
    with server_to_end(way) as server:
        server.process.wait_until_ready()
        key = new_key()
        with begin(server, f"/deaf?key={key}"):
            server.notes(key, ":began")
            since = server.signal()
            status = server.wait_for_end()
            assert TIMEOUT - 1 < time.monotonic() - since < TIMEOUT + 1 + SLACK
        assert status != 0
        if way != "granian-run":  # which kills its worker
            assert "Ended by force" in server.process.output
            assert "live_app.py" in server.process.output
        if way == "uvicorn-run":  # the others wait for the handler before they end the lifespan
            assert "lifespan ended" in server.process.lines


@pytest.mark.parametrize("way", marked(EVERY_RUN))
def test_every_request_is_answered_while_the_server_ends(way: str) -> None:
    """Requests that come all the time, while streams and websockets are told: answered, or refused."""
    with server_to_end(way) as server:
        server.process.wait_until_ready()
        streams, sockets = new_key(), new_key()
        told = [begin(server, f"/silent_events?key={streams}") for _ in range(FEW)]
        told += [begin(server, f"/ws/receive?key={sockets}", HANDSHAKE) for _ in range(FEW)]
        server.notes(streams, ":began", FEW)
        server.notes(sockets, ":began", FEW)
        signalled = threading.Event()
        answers: list[str] = []

        def ask() -> None:
            while not answers or answers[-1] != "refused":
                answers.append(answer_of(server))
                if len(answers) == 50:
                    signalled.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert signalled.wait(10)
        server.signal()
        read_all(told)
        server.wait_for_end()
        asking.join(10)
        assert len(answers) > 50
        # "closed" is a connection that the server had not read from: the kernel had taken it.
        assert set(answers) <= {"answered", "refused", "closed"}
        assert answers.count("closed") <= 1


def answer_of(server: Ending) -> str:
    """Make one request on a connection of its own; return how it ended."""
    try:
        connection = socket.create_connection((server.spot.host, server.spot.port), timeout=10)
    except OSError:
        return "refused"
    with connection:
        try:
            connection.sendall(b"GET /state HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError:
            return "closed"
    if not answer:
        return "closed"
    return "answered" if answer.endswith(b'{"value":"of the lifespan"}') else answer.decode()


@pytest.mark.parametrize("way", marked([*EVERY_RUN, "uvicorn-httptools"]))
def test_a_signal_during_the_start_ends_it(way: str) -> None:
    with server_to_end(way, "waits") as server:
        server.wait_for_line("start waits")
        since = server.signal()
        status = server.wait_for_end()
        assert status != 0
        assert time.monotonic() - since < TIMEOUT + 1 + SLACK


@pytest.mark.parametrize("way", marked([*EVERY_RUN, "uvicorn-httptools", "granian"]))
def test_an_error_at_the_start_ends_it_with_a_status(way: str) -> None:
    with server_to_end(way, "fails") as server:
        status = server.wait_for_end()
        assert status != 0
        assert "RuntimeError in lifespan startup: no database" in server.process.output

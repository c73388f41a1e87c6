"""The servers of the contract suite, and one way to talk to all of them.

Real servers are started by their own commands and met by independent clients: httpx2 for
requests, `websockets` for websockets, plain sockets for what those can't say. The in-process
fake is met through `TestClient`. Each is started once, when a test first needs it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import queue
import socket
import struct
import sys
import tempfile
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx2
import pytest
import websockets.exceptions
from websockets.sync.client import connect as connect_websocket
from websockets.sync.client import unix_connect as connect_unix_websocket

from asgineer.testing import TestClient, WebsocketClosed, WebsocketDenied
from asgineer.testing._process import ServerProcess, free_port
from tests.contract import app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asgineer.testing import Websocket

ROOT = str(Path(__file__).resolve().parents[2])
APP = "tests.contract.served:main"
TIMEOUT = 10.0  # seconds for any one step of a client

FAKE = "inprocess"
SETUPS = (FAKE, "uvicorn-asgineer", "uvicorn-httptools", "uvicorn-h11", "hypercorn", "daphne", "granian")

Headers = Sequence[tuple[str, str | bytes]]


class Incomplete(Exception):
    """The connection ended before the response was whole."""


@dataclass
class Reply:
    """One whole response: raw header fields with lower-case names, the body as sent."""

    status: int
    fields: list[tuple[str, bytes]]
    body: bytes

    def values(self, name: str) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def header(self, name: str) -> str | None:
        values = self.values(name)
        return values[0].decode("latin-1") if values else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


class Denied(Exception):
    """The handshake of a websocket was answered with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def _fields(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, bytes]]:
    return [(name.decode("latin-1").lower(), value) for name, value in raw]


# ---- what tests see --------------------------------------------------------------------------


class Server:
    """A running server that serves `tests.contract.app`, as one test sees it."""

    setup: str
    scheme_and_host: str
    client: httpx2.Client
    patience: float = TIMEOUT  # seconds for one step; less where a failure is expected

    def request(
        self, method: str, path: str, headers: Headers | None = None, content: bytes | Iterator[bytes] = b""
    ) -> Reply:
        """Make a request and return the whole response; raise Incomplete if it breaks off."""
        fields: Any = headers or []
        try:
            with self.client.stream(method, path, headers=fields, content=content or None) as response:
                body = b"".join(response.iter_raw())
        except (httpx2.RemoteProtocolError, httpx2.ReadError) as error:
            raise Incomplete from error
        return Reply(response.status_code, _fields(response.headers.raw), body)

    def wire(self, method: str, path: str, headers: Headers | None = None) -> Wire:
        """Return a connection on which the head of a request was sent, and nothing else."""
        raise NotImplementedError

    def websocket(
        self, path: str, headers: Headers | None = None, subprotocols: list[str] | None = None
    ) -> Socket:
        """Open a websocket; raise Denied if it is answered with a response."""
        raise NotImplementedError

    def raw(self, data: bytes) -> RawConnection:
        """Send bytes over a new connection."""
        raise NotImplementedError("there is no wire inside a process")

    def get(self, path: str, headers: Headers | None = None) -> Reply:
        return self.request("GET", path, headers)

    def post(self, path: str, content: bytes = b"", headers: Headers | None = None) -> Reply:
        return self.request("POST", path, headers, content)

    def begin_test(self) -> None:
        """From here on records belong to a new test."""
        self.patience = TIMEOUT
        self._mark = self.get("/control/mark").json()["value"]

    def end_test(self) -> None:
        """Clean up after a test."""

    def be_impatient(self) -> None:
        """Wait for nothing long: the test is expected to fail."""
        self.patience = 1.0

    def log(self, text: str = "") -> list[str]:
        """Return our own records of this test at level ERROR; wait until one of them holds `text`."""
        return [story for name, story in self.all_errors(text) if name == "asgineer"]

    def all_errors(self, text: str = "") -> list[tuple[str, str]]:
        """Return logger and text of every record at level ERROR, the server's own as well."""
        query = httpx2.QueryParams(since=self._mark, text=text, patience=self.patience)
        records = self.get(f"/control/log?{query}").json()["value"]
        return [(name, story) for level, name, story in records if level in ("ERROR", "CRITICAL")]

    def notes(self, key: str, kind: str = "", count: int = 1) -> list[Any]:
        """Return what the app noted under `key`; wait until there are `count`."""
        query = httpx2.QueryParams(count=count, patience=self.patience)
        values: list[Any] = self.get(f"/control/notes/{key}{kind}?{query}").json()["value"]
        return values


class Wire:
    """One request whose body is written, and whose response is read, piece by piece."""

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def status(self) -> int:
        """Wait for the head of the response."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end."""
        raise NotImplementedError

    def leave(self, abruptly: bool = False) -> None:
        """Close the connection; abruptly: with a reset, as a client does that crashed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.leave()


class Socket:
    """The client's end of a websocket."""

    subprotocol: str | None
    fields: list[tuple[str, bytes]]

    def send(self, data: str | bytes) -> None:
        raise NotImplementedError

    def receive(self) -> str | bytes:
        """Return the next message; raise WebsocketClosed when there are no more."""
        raise NotImplementedError

    def close(self, code: int = 1000, reason: str = "") -> None:
        raise NotImplementedError

    def drop(self) -> None:
        """End the connection without a close frame."""
        raise NotImplementedError

    def wait_closed(self) -> WebsocketClosed:
        """Read to the end and say how it ended."""
        while True:
            try:
                self.receive()
            except WebsocketClosed as closed:
                return closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def marks_of(setup: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a case on `setup`: one worker each, so that a server is started once."""
    return [pytest.mark.xdist_group(setup), *([] if setup == FAKE else [pytest.mark.server])]


def new_key() -> str:
    return uuid.uuid4().hex


# ---- the fake --------------------------------------------------------------------------------


class FakeServer(Server):
    """The server inside this process, met through `TestClient`."""

    client: TestClient

    def __init__(self, root_path: str = "") -> None:
        self.setup = FAKE
        self.scheme_and_host = "http://testserver"
        self.client = TestClient(
            app.main,
            raise_errors=False,
            base_url=self.scheme_and_host,
            root_path=root_path,
            headers={"accept-encoding": "identity"},
        )
        self.client.__enter__()

    def begin_test(self) -> None:
        app.keep_records()
        super().begin_test()

    def end_test(self) -> None:
        app.leave_records()

    def stop(self) -> None:
        self.client.__exit__(None, None, None)

    def wire(self, method: str, path: str, headers: Headers | None = None) -> Wire:
        return FakeWire(self.client, method, path, headers or [])

    def websocket(
        self, path: str, headers: Headers | None = None, subprotocols: list[str] | None = None
    ) -> Socket:
        websocket = self.client.websocket(
            path, headers=headers, subprotocols=subprotocols or (), timeout=self.patience
        )
        try:
            return FakeSocket(websocket.__enter__())
        except WebsocketDenied as denied:
            raise Denied(Reply(denied.status, _fields(denied.headers), denied.body)) from None


class FakeWire(Wire):
    """A request of a thread's, its body what is put into a queue."""

    def __init__(self, client: TestClient, method: str, path: str, headers: Headers) -> None:
        self._client = client
        self._body: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        has_body = any(name.lower() == "content-length" for name, _ in headers)
        fields: Any = headers
        content = iter(self._body.get, None) if has_body else None
        request = client.build_request(method, path, headers=fields, content=content)  # None ends it
        self._began: concurrent.futures.Future[httpx2.Response] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._send, args=[request])
        self._thread.start()
        self._pieces: Iterator[bytes] | None = None

    def _send(self, request: httpx2.Request) -> None:
        try:
            self._began.set_result(self._client.send(request, stream=True))
        except httpx2.TransportError as error:
            self._began.set_exception(error)

    def write(self, data: bytes) -> None:
        self._body.put(data)

    def status(self) -> int:
        response = self._began.result(TIMEOUT)
        self._pieces = response.iter_raw()
        return response.status_code

    def read(self) -> bytes:
        assert self._pieces is not None, "call status() first"
        return next(self._pieces, b"")

    def leave(self, abruptly: bool = False) -> None:
        if not self._began.done():
            self._client.disconnect()
        self._thread.join()
        if self._began.exception() is None:
            self._began.result().close()
        self._body.put(None)


class FakeSocket(Socket):
    def __init__(self, websocket: Websocket) -> None:
        self._websocket = websocket
        self.subprotocol = websocket.subprotocol
        self.fields = _fields(websocket.response.headers.raw)

    def send(self, data: str | bytes) -> None:
        self._websocket.send(data)

    def receive(self) -> str | bytes:
        return self._websocket.receive()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._websocket.close(code, reason)
        self._websocket.__exit__(None, None, None)

    def drop(self) -> None:
        self._websocket.disconnect()
        self._websocket.__exit__(None, None, None)


# ---- real servers ----------------------------------------------------------------------------


class Spot(NamedTuple):
    """Where a server listens: a host with a port, or a unix socket; and its root path."""

    host: str
    port: int
    unix: str = ""
    root_path: str = ""


def command(setup: str, spot: Spot, target: str) -> list[str]:
    """Return the command line that a user would type to serve `target`."""
    python = [sys.executable, "-m"]
    name, _, protocol = setup.partition("-")
    match name:
        case "uvicorn":
            where = ["--uds", spot.unix] if spot.unix else ["--host", spot.host, "--port", str(spot.port)]
            http = "asgineer._uvicorn:Connection" if protocol == "asgineer" else protocol
            flavour = ["--http", http, "--loop", "asyncio" if protocol == "h11" else "uvloop"]
            flavour += ["--no-proxy-headers"] if protocol == "asgineer" else []  # as run() has it
            root = ["--root-path", spot.root_path] if spot.root_path else []
            return [*python, name, target, *where, *flavour, *root, "--log-level", "warning"]
        case "hypercorn":
            host = f"[{spot.host}]" if ":" in spot.host else spot.host
            where = ["--bind", f"unix:{spot.unix}" if spot.unix else f"{host}:{spot.port}"]
            root = ["--root-path", spot.root_path] if spot.root_path else []
            return [*python, name, target, *where, *root]
        case "daphne":
            where = ["-u", spot.unix] if spot.unix else ["-b", spot.host, "-p", str(spot.port)]
            root = ["--root-path", spot.root_path] if spot.root_path else []
            return [*python, name, *where, *root, target]
        case "granian":
            where = ["--uds", spot.unix] if spot.unix else ["--host", spot.host, "--port", str(spot.port)]
            root = ["--url-path-prefix", spot.root_path] if spot.root_path else []
            return [*python, name, "--interface", "asgi", *where, *root, "--log-level", "warning", target]
    raise ValueError(setup)


class RealServer(Server):
    """A server in a process of its own."""

    def __init__(self, setup: str, spot: Spot, target: str = APP, cwd: str = ROOT) -> None:
        self.setup = setup
        self.spot = spot
        address = spot.unix or (spot.host, spot.port)
        self.process = ServerProcess.command(
            command(setup, spot, target),
            address,
            cwd=cwd,
            env={"PYTHONPATH": os.pathsep.join([cwd, os.environ.get("PYTHONPATH", "")])},
        )
        self.process.wait_until_ready()
        host = f"[{spot.host}]" if ":" in spot.host else spot.host
        self.scheme_and_host = "http://localhost" if spot.unix else f"http://{host}:{spot.port}"
        self.client = httpx2.Client(
            base_url=self.scheme_and_host,
            transport=httpx2.HTTPTransport(uds=spot.unix or None),
            timeout=TIMEOUT,
            headers={"accept-encoding": "identity"},
        )

    def stop(self) -> None:
        self.client.close()
        self.process.stop()

    def wire(self, method: str, path: str, headers: Headers | None = None) -> Wire:
        return RealWire(self.dial(), method, path, headers or [])

    def raw(self, data: bytes) -> RawConnection:
        return RawConnection(self.dial(), data)

    def dial(self) -> socket.socket:
        if self.spot.unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT)
            connection.connect(self.spot.unix)
            return connection
        return socket.create_connection((self.spot.host, self.spot.port), TIMEOUT)

    def websocket(
        self, path: str, headers: Headers | None = None, subprotocols: list[str] | None = None
    ) -> Socket:
        options: Any = {
            "additional_headers": headers,
            "subprotocols": subprotocols,
            "max_size": None,
            "open_timeout": TIMEOUT,
            "close_timeout": TIMEOUT,
        }
        url = "ws" + self.scheme_and_host.removeprefix("http") + path
        try:
            if self.spot.unix:
                return RealSocket(self, connect_unix_websocket(self.spot.unix, url, **options))
            return RealSocket(self, connect_websocket(url, proxy=None, **options))
        except websockets.exceptions.InvalidStatus as error:
            answer = error.response
            fields = [(name.lower(), value.encode("latin-1")) for name, value in answer.headers.raw_items()]
            raise Denied(Reply(answer.status_code, fields, bytes(answer.body or b""))) from None


class RealWire(Wire):
    """A request over a plain socket, its response parsed by the standard library."""

    def __init__(self, connection: socket.socket, method: str, path: str, headers: Headers) -> None:
        self._connection = connection
        self._response: http.client.HTTPResponse | None = None
        self._method = method
        lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
        lines += [f"{name}: {value!s}" for name, value in headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def status(self) -> int:
        self._response = http.client.HTTPResponse(self._connection, method=self._method)
        self._response.begin()
        return self._response.status

    def read(self) -> bytes:
        assert self._response is not None, "call status() first"
        return self._response.read1(65536)

    def leave(self, abruptly: bool = False) -> None:
        if abruptly:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._response is not None:
            self._response.close()
        self._connection.close()


class RawConnection:
    """Bytes out, bytes in."""

    def __init__(self, connection: socket.socket, data: bytes) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        if data:
            connection.sendall(data)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def reply(self, method: str = "GET") -> Reply:
        """Read the next response that is on the connection."""
        response = http.client.HTTPResponse(_Shared(self._file), method=method)  # type: ignore[arg-type]  # all it asks of a socket
        response.begin()
        body = response.read()
        return Reply(
            response.status, [(n.lower(), v.encode("latin-1")) for n, v in response.getheaders()], body
        )

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        return self._file.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()
        self._connection.close()


class _Shared:
    """Lets one response after the other be parsed from the same buffered file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, mode: str) -> Any:
        return self

    def close(self) -> None:
        """Leave the file open for the next response."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class RealSocket(Socket):
    def __init__(self, server: Server, client: Any) -> None:
        self._server = server
        self._client = client.__enter__()
        self.subprotocol = client.subprotocol
        self.fields = [
            (name.lower(), value.encode("latin-1")) for name, value in client.response.headers.raw_items()
        ]

    def send(self, data: str | bytes) -> None:
        with _translated():
            self._client.send(data)

    def receive(self) -> str | bytes:
        with _translated():
            message: str | bytes = self._client.recv(self._server.patience)
            return message

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._client.close(code, reason)

    def drop(self) -> None:
        self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.socket.shutdown(socket.SHUT_RDWR)
        self._client.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except websockets.exceptions.ConnectionClosed as error:
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
        raise WebsocketClosed(code, reason) from None


# ---- starting and stopping -------------------------------------------------------------------


class Servers:
    """Every server of this test run, each started when a test first asks for it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: dict[tuple[str, str], Server] = {}

    def get(self, setup: str, kind: str = "") -> Server:
        """Return the server of `setup`; kind: "", "unix", "ipv6" or "root_path"."""
        if (setup, kind) not in self._running:
            server = self._start(setup, kind)
            self._stack.callback(server.stop)
            self._running[setup, kind] = server
        return self._running[setup, kind]

    def _start(self, setup: str, kind: str) -> FakeServer | RealServer:
        root_path = "/sub" if kind == "root_path" else ""
        if setup == FAKE:
            if kind in ("unix", "ipv6"):
                raise NotImplementedError("there is no network inside a process")
            return FakeServer(root_path)
        if kind == "unix":
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            return RealServer(setup, Spot("", 0, unix=os.path.join(folder, "socket")))
        host = "::1" if kind == "ipv6" else "127.0.0.1"
        return RealServer(setup, Spot(host, free_port(host), root_path=root_path))

    def stop(self) -> None:
        self._stack.close()

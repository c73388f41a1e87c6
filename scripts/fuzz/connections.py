"""Fuzz the uvicorn protocol: `python scripts/fuzz/connections.py FOLDER [-runs=N] [-max_total_time=S]`.

FOLDER is where the fuzzer keeps its corpus; the requests of `tests/unit/test_uvicorn_corpus.py` are
put there first. What must hold, whatever comes: nothing is raised in a protocol's method, every
request that the app gets is answered once and in order, a refusal is the last answer, and in pieces
the app gets the same as at once. At the end nothing is left. Needs `pip install atheris`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["asgineer._uvicorn", "asgineer._exchange", "asgineer._h1"]):
    import uvicorn
    from uvicorn.server import ServerState

    from asgineer._uvicorn import Connection
    from tests.unit.test_uvicorn_corpus import CORPUS

STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")
BODY = b"answer"
TURNS = 40  # of the loop: more than any request needs


class Transport:
    """Where a connection writes to: it takes all, and notes what is done with it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = self.ended = self.paused = False
        self.protocol: Any = None
        self.faults: list[str] = []

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        if self.ended or self.is_closing():
            self.faults.append("written behind the end")  # raised, it would be taken for the app's
        self.written += data

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Websocket:
    """What gets a connection that is handed over; what a websocket does with it isn't asked here."""

    def __init__(self, **_: Any) -> None:
        pass

    def connection_made(self, transport: Any) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        pass


calls: list[Any] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    call = [scope["method"], scope["raw_path"], scope["query_string"], tuple(scope["headers"]), b""]
    calls.append(call)
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            call[-1] = None
            return
        call[-1] += message["body"]
        more = message["more_body"]
    data = b"" if scope["method"] == "HEAD" else BODY
    send.respond(200, [(b"content-length", b"%d" % len(BODY))], data)


config = uvicorn.Config(app, log_config=None, interface="asgi3", proxy_headers=False, ws=Websocket)
config.load()


async def serve(pieces: list[bytes]) -> tuple[list[Any], list[int]]:
    """Feed the pieces to a new connection; return the calls of the app and the statuses that came back."""
    calls.clear()
    state = ServerState()
    transport = Transport()
    connection = Connection(config, state, {})
    connection.connection_made(transport)  # type: ignore[arg-type]  # all that it asks of one
    for piece in pieces:
        if transport.is_closing() or transport.protocol is not None:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(TURNS + 4 * len(calls)):
        await asyncio.sleep(0)
    statuses = [int(status) for status in STATUS.findall(transport.written)]
    found = [list(call) for call in calls]
    connection.connection_lost(None)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert not transport.faults, transport.faults
    assert not state.tasks, "a task is left"
    assert not state.connections, "a connection is left"
    final = [status for status in statuses if status != 100]
    assert all(status == 200 for status in final[:-1]), "a refusal isn't the last"
    answered = [call for call in found if call[-1] is not None]
    assert len([status for status in final if status == 200]) <= len(answered)
    return [call for call in found if call[-1] is not None], final


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_one_input(data: bytes) -> None:
    """The first byte says how large the pieces are."""
    if len(data) < 2:
        return
    size, data = data[0] % 50 + 1, data[1:]

    async def both() -> None:
        whole, statuses = await serve([data])
        found, others = await serve(cut(data, size))
        # A body that breaks off, or is malformed, may be told to the app before its answer is out.
        assert whole[: len(found)] == found[: len(whole)], (whole, found)
        if 400 not in statuses:
            assert (whole, statuses) == (found, others), (whole, found, statuses, others)

    loop.run_until_complete(both())


def write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in CORPUS.items():
        if len(data) < 5000:
            (folder / f"known-{name}").write_bytes(b"\x06" + data)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    logging.disable(logging.CRITICAL)
    write_corpus(Path(sys.argv[1]))
    loop = asyncio.new_event_loop()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()

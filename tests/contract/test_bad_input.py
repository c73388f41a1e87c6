"""Bad input over raw sockets, on every server: the rows of `bad_inputs`, and what holds for all of them.

Whatever comes in: an answer (or the end of the connection), a short one that says nothing of
what is inside, at most one line in the log, the next request is served, and nothing is left:
no open file, no task, no temporary file. At the end of a run stands `server: passed N of M`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from asgineer.testing._process import free_port
from tests.contract.bad_inputs import ROWS, Connection, get
from tests.contract.harness import FAKE, SETUPS, RealServer, Spot, marks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.bad_inputs import Reply, Row

PATIENCE = 5.0  # seconds for an answer; far less but on a machine that does much else
MAX_BODY = 400  # bytes of an answer to what was wrong
MAX_LINE = 1000  # bytes of a line in the log
OWN_REFUSALS = (501, 505)  # of servers, beside 4xx: a transfer-encoding or a version that they don't know
INSIDES = re.compile(rb"Traceback|\.py\b|File \"|line \d|<class|0x[0-9a-f]{6}|[A-Z]\w+(Error|Exception)\b")

REAL = [pytest.param(name, id=name, marks=marks_of(name)) for name in SETUPS if name != FAKE]


class BadInputServers:
    """One server for each set-up, started when a row first needs it, with a folder for temporary files."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: dict[str, RealServer] = {}

    def get(self, setup: str) -> RealServer:
        if setup not in self._running:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            with mock.patch.dict(os.environ, TMPDIR=folder):
                target = "tests.contract.bad_input_app:main"
                server = RealServer(setup, Spot("127.0.0.1", free_port()), target)
            self._stack.callback(server.stop)
            self._running[setup] = server
            for path in ("/ok", "/control/begin"):  # what is opened once is no leftover
                server.get(path)
        return self._running[setup]

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def bad_input_servers() -> Iterator[BadInputServers]:
    running = BadInputServers()
    yield running
    running.stop()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
@pytest.mark.parametrize("setup", REAL)
def test_row(
    bad_input_servers: BadInputServers, setup: str, row: Row, request: pytest.FixtureRequest
) -> None:
    server = bad_input_servers.get(setup)
    patience = 1.0 if request.node.get_closest_marker("xfail") else PATIENCE
    before = server.get("/control/begin").json()
    connection = Connection(server.dial(), patience)
    try:
        reply = converse(connection, row)
    finally:
        connection.leave()
        alive = ask(server, get("/ok"), patience)
        after = settle(server, before, row)
    assert alive is not None
    assert alive.status == 200
    saw = [seen for seen in after["saw"] if seen != "GET /ok"]
    if row.server and is_nothing(saw):
        check_refusal(reply)
        logged = ""
    else:
        check_answer(reply, row)
        assert row.saw in (None, saw)
        logged = row.logged
    assert "smuggled" not in str(saw)
    check_log(after["records"], logged)
    assert after["left"] == {}
    assert after["seconds"] < row.seconds


def settle(server: RealServer, before: dict[str, Any], row: Row) -> Any:
    """Wait until the server has let go of what it held, and return what it tells of the row."""
    wanted = [before["holds"], before["seconds"], 0 if row.server else len(row.saw or ())]
    return server.post("/control/end", json.dumps(wanted).encode()).json()


def ask(server: RealServer, data: bytes, patience: float) -> Reply | None:
    connection = Connection(server.dial(), patience)
    connection.send(data)
    try:
        return connection.reply()
    finally:
        connection.leave()


def converse(connection: Connection, row: Row) -> Reply | None:
    """Send what the row has, and return the answer, after what comes after it."""
    connection.send(row.data() if callable(row.data) else row.data)
    reply = connection.reply(row.method) if row.waits else None
    if row.then is not None:
        if not row.waits or (reply is not None and reply.status in row.statuses):
            row.then(connection)
    elif reply is not None and reply.status != 101 and not reply.cut:
        if row.closed:
            assert connection.is_closed()
        elif row.again and not reply.closes:
            connection.send(get("/ok"))
            again = connection.reply()
            assert again is None or again.status == 200
    return reply


def is_nothing(saw: list[Any]) -> bool:
    """Say whether no handler was called, or one that got no more than a part of a body."""
    return saw == [] or (len(saw) == 2 and saw[1] == "DisconnectedError")


def check_refusal(reply: Reply | None) -> None:
    """Check what the server answered by itself; the words are its own."""
    if reply is not None:
        assert 400 <= reply.status < 500 or reply.status in OWN_REFUSALS, reply
        assert not INSIDES.search(reply.body), reply.body


def check_answer(reply: Reply | None, row: Row) -> None:
    if not row.waits:
        return
    if row.cut and (reply is None or reply.status == 500):  # no head went out yet
        return
    assert reply is not None
    assert reply.status in row.statuses
    assert reply.cut == row.cut
    if reply.status >= 400:
        assert len(reply.body) <= MAX_BODY
        assert not INSIDES.search(reply.body), reply.body
    if callable(row.answer):
        assert row.answer(reply), reply
    elif isinstance(row.answer, (str, tuple)):
        assert reply.text in ((row.answer,) if isinstance(row.answer, str) else row.answer)
    elif row.answer is not None:
        assert json.loads(reply.body) == row.answer


def check_log(records: list[list[str]], logged: str) -> None:
    """Check that one record of ours tells what happened, or none; what servers log is theirs."""
    ours = [message for name, message, _ in records if name == "asgineer"]
    assert len(ours) == bool(logged), ours
    for message in ours:
        assert logged in message
        assert message.isprintable()
        assert len(message.encode()) <= MAX_LINE
    assert not [story for _, _, story in records if "never retrieved" in story or "never awaited" in story]

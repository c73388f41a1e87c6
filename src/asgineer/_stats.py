"""Live figures of this process: plain counters, cheap enough to be always on.

They are added to where things happen, in the one thread of the event loop, so no lock is
needed. Of several workers each has its own.
"""

from __future__ import annotations

from typing import NamedTuple

# Places in `counts`. A list and not an object: adding to an item is what costs least.
REQUESTS, ENDED_REQUESTS, OPEN_STREAMS = 0, 1, 2
WEBSOCKETS, ENDED_WEBSOCKETS = 3, 4
TASKS, DISCONNECTS, SEND_TIMEOUTS = 5, 6, 7

counts = [0] * 8


class Stats(NamedTuple):
    """What `stats()` returns; "open" is now, the others are since the process began.

    Attributes:
        requests: HTTP requests that came.
        open_requests: of them, those whose handler runs; streams are among them.
        open_streams: responses that are being sent in pieces.
        websockets: handshakes that came.
        open_websockets: of them, those whose handler runs.
        tasks: background tasks that run, started by `spawn`.
        disconnects: requests and websockets whose client left before their end.
        send_timeouts: connections that were aborted as their client took nothing.
    """

    requests: int
    open_requests: int
    open_streams: int
    websockets: int
    open_websockets: int
    tasks: int
    disconnects: int
    send_timeouts: int


def note_disconnect() -> str:
    """Count a client that left, and return the name of that outcome."""
    counts[DISCONNECTS] += 1
    return "disconnect"


def stats() -> Stats:
    """Return the live figures of this process."""
    requests, ended, open_streams, websockets, ended_websockets, tasks, disconnects, send_timeouts = counts
    return Stats(
        requests,
        requests - ended,
        open_streams,
        websockets,
        websockets - ended_websockets,
        tasks,
        disconnects,
        send_timeouts,
    )

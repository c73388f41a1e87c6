"""How channels lie in NATS: one JetStream stream, a subject per channel. Pure: text and bytes.

    asgineer                            the stream (`?stream=`), and the first part of all subjects
    asgineer.log.<token>.c.<channel>    what is published, and retained
    asgineer.live.<token>.c.<channel>   the same message, sent out by the server as it stores it
    asgineer.log.<token>.h.<name>       heartbeats, a name per connection

The token is drawn when the stream is made, and stands in its subjects: whoever still has the one of
a stream that is gone publishes to nobody, and reads nothing. NATS bounds messages and age per
stream, not per subject: the stream has the largest `history` and `ttl` that were ever asked for, and
is only ever enlarged, so that processes with other settings (during a deployment) share one log; a
reader cuts what it reads to its own. It retains one message more than `history`, so that the position
before the oldest of them can still be seen to be there. No connection lives here.
"""

from __future__ import annotations

import re
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import ChannelError
from ._engine import BYTES, JSON, TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = b"1"  # first byte of every message
MARKER = b"1m"  # stands in a log that was empty, so that there is a position; nobody gets it
KINDS = {b"1t": TEXT, b"1j": JSON, b"1b": BYTES}
STREAM = "asgineer"
DEFAULT_BYTES = 256 * 1024 * 1024  # of one stream, with all its channels; the oldest go first
DEFAULT_PORT = 4222
SECOND = 1_000_000_000  # JetStream counts nanoseconds
MIN_AGE = 0.1  # seconds; the server takes no shorter `max_age`
OPTIONS = "stream, replicas, storage, bytes, durable, credentials"
YES = ("1", "yes", "true")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ESCAPED = re.compile(rb"[^A-Za-z0-9_-]")


class Settings:
    """What the URL of a bus says.

    Args:
        url: `nats://[user:password@]host[:port][,host…][?option=value&…]`, or `tls://`. Options: `stream`,
            its name; `replicas`, 1, 3 or 5; `storage`, "file" or "memory"; `bytes`, how much the stream may
            hold; `durable=1`: a restart of a single server keeps what it acknowledged (`sync_interval:
            always`), so positions stay good; `credentials`, the path of a file.

    Raises:
        ChannelError: it can't be understood.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.stream = options.pop("stream", STREAM)
        self.storage = options.pop("storage", "file")
        self.durable = options.pop("durable", "") in YES
        self.credentials = options.pop("credentials", None)
        try:
            self.replicas = int(options.pop("replicas", "1"))
            self.bytes = int(options.pop("bytes", str(DEFAULT_BYTES)))
        except ValueError as error:
            raise ChannelError(f"replicas and bytes in the URL of a NATS bus are numbers: {error}") from None
        if options:
            raise ChannelError(f"Unknown in the URL of a NATS bus: {', '.join(options)}; there are {OPTIONS}")
        if _NAME.fullmatch(self.stream) is None:
            raise ChannelError(f"A stream's name is up to 64 letters, digits, - and _, not {self.stream!r}")
        if self.storage not in ("file", "memory"):
            raise ChannelError(f"storage is file or memory, not {self.storage!r}")
        user, at, hosts = parts.netloc.rpartition("@")
        self.servers = [f"{parts.scheme}://{user}{at}{_with_port(host)}" for host in hosts.split(",")]

    @property
    def shown(self) -> str:
        """Where the servers are, fit for a log: without user and password."""
        return ", ".join(server.rpartition("//")[2].rpartition("@")[2] for server in self.servers)

    def config(self, token: str, history: int, ttl: float) -> dict[str, Any]:
        """Return the configuration of a new stream."""
        log = f"{self.stream}.log.{token}.>"
        return {
            "name": self.stream,
            "subjects": [log],
            "retention": "limits",
            "discard": "old",
            "storage": self.storage,
            "num_replicas": self.replicas,
            "max_bytes": self.bytes,
            "allow_direct": True,
            "republish": {"src": log, "dest": f"{self.stream}.live.{token}.>"},
            **bounds(history, ttl),
        }


def _with_port(host: str) -> str:
    port = host.rpartition("]")[2].rpartition(":")[2]
    return host if port.isdecimal() and ":" in host else f"{host or '127.0.0.1'}:{DEFAULT_PORT}"


def bounds(history: int, ttl: float) -> dict[str, int]:
    """Return what a stream's configuration says about `history` messages per channel for `ttl` seconds.

    Keys (`Nats-Msg-Id`) are remembered for as long as messages are retained.
    """
    age = int(max(ttl, MIN_AGE) * SECOND)
    return {"max_msgs_per_subject": history + 1, "max_age": age, "duplicate_window": age}


class Layout:
    """The subjects of one stream, and what it retains, as its configuration says.

    Attributes:
        config: the configuration as the server gave it.
        token: drawn when the stream was made.
        history: how many messages per channel.
        ttl: for how many seconds.

    Raises:
        ChannelError: it was not made by a bus.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        name = str(config["name"])
        subjects = config.get("subjects") or [""]
        found = re.fullmatch(rf"{re.escape(name)}\.log\.([A-Za-z0-9_-]{{1,32}})\.>", subjects[0])
        self.token = found[1] if found else ""
        self.live = f"{name}.live.{self.token}."
        self.log = f"{name}.log.{self.token}."
        republish = config.get("republish") or {}
        if found is None or republish.get("dest") != f"{self.live}>" or not config.get("allow_direct"):
            raise ChannelError(
                f"NATS has a stream {name!r} that is no bus: choose another name with ?stream=, or delete it"
            )
        most, age = int(config.get("max_msgs_per_subject", 0)), int(config.get("max_age", 0))
        self.history = most - 1 if most > 0 else inf  # an operator may have taken a bound away
        self.ttl = age / SECOND if age > 0 else inf

    def log_of(self, channel: str) -> str:
        """Return the subject that messages of a channel are published to."""
        return f"{self.log}c.{escape(channel)}"

    def live_of(self, channel: str) -> str:
        """Return the subject that live messages of a channel come from."""
        return f"{self.live}c.{escape(channel)}"

    def covers(self, history: int, ttl: float) -> bool:
        """Say whether it retains as much as that."""
        return history <= self.history and ttl <= self.ttl

    def enlarged(self, history: int, ttl: float) -> dict[str, Any]:
        """Return its configuration, changed so that it does; everything else stays."""
        most, age = (0 if bound == inf else bound for bound in (self.history, self.ttl))
        wider = bounds(int(max(history, most)), max(ttl, age))
        if self.history == inf:
            wider["max_msgs_per_subject"] = -1
        if self.ttl == inf:
            wider["max_age"] = 0
        return {**self.config, **wider}


def escape(channel: str) -> str:
    """Return the name of a channel as one part of a subject: what isn't a letter or digit becomes `=2F`."""
    return _ESCAPED.sub(lambda found: b"=%02X" % found[0][0], channel.encode()).decode("ascii")


def pack(kind: str, data: bytes) -> bytes:
    """Return the message for NATS: version, kind, data."""
    return VERSION + kind.encode("ascii") + data


def unpack(message: bytes) -> tuple[str, bytes]:
    """Return kind and data of a message; the kind "" for one that no bus of this version wrote."""
    kind = KINDS.get(message[:2])
    return ("", b"") if kind is None else (kind, message[2:])


def seconds_of(stamp: str) -> float:
    """Return a time-stamp of the server's as seconds since 1970."""
    return datetime.fromisoformat(stamp).timestamp()

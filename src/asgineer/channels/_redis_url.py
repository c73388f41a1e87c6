"""What a URL of Redis or Valkey says, and which server is at its end. Pure; no password in any text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._extras import install_command
from ..errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

OLDEST = (7, 0)

# What users' URLs begin with, and what redis-py calls it.
SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+unix": "unix",
    "valkey+unix": "unix",
}
# Options of redis-py's that a URL can have and that would hide failures, or change what comes in.
OURS = {
    "protocol": 2,  # pub/sub and replies of RESP 2 have one form each
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "health_check_interval": 0,
    "retry_on_timeout": False,
    "decode_responses": False,
    "driver_info": None,  # saves two commands for each connection
}
OF_POOLS = ("max_connections", "timeout", "legacy_responses")


def read_url(url: str) -> tuple[Callable[[], AbstractConnection], int, str]:
    """Return what makes a connection, the number of the database, and how to call the server in texts.

    Raises:
        ChannelError: redis-py isn't there, or the URL can't be read.
    """
    try:
        from redis.asyncio.connection import Connection, parse_url
    except ImportError:
        raise ChannelError(f"A bus on Redis needs redis-py: {install_command('redis')}") from None

    parts = urlsplit(url)
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ChannelError(f"Not a URL of Redis: it begins with {parts.scheme!r}")
    try:
        found: dict[str, Any] = {**parse_url(scheme + url[len(parts.scheme) :])}
    except ValueError as error:
        raise ChannelError(f"The URL of Redis can't be read: {error}") from None
    kind: type[AbstractConnection] = found.pop("connection_class", Connection)
    for option in OF_POOLS:
        found.pop(option, None)
    found.update(OURS)
    database = int(found.get("db", 0))
    port = f":{found.get('port', 6379)}"
    place = found.get("path") if scheme == "unix" else found.get("host", "localhost") + port

    def make() -> AbstractConnection:
        return kind(**found)

    try:
        make()
    except TypeError as error:
        raise ChannelError(f"The URL of Redis has an unknown option: {error}") from None
    return make, database, f"Redis at {place}"


def read_info(reply: bytes) -> str:
    """Return the run_id of the server whose INFO this is.

    Raises:
        ChannelError: it is too old, or a replica, which takes no writes.
    """
    lines = (line.partition(":") for line in reply.decode().splitlines())
    info = {name: value for name, _, value in lines}
    version = info.get("redis_version", "0.0")
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise ChannelError(f"Redis {version} is too old: 7.0 or newer is needed, or Valkey")
    if info.get("role") != "master":
        raise ChannelError("The server is a replica: give Bus the URL of the one that takes writes")
    return info["run_id"]

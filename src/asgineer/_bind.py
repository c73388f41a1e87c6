"""Where to listen: `host:port`, `[::1]:8080`, `:8080` (every address), `unix:/path`.

`run()` binds the address itself, before a server or an app is started: so a port in use is
the same one line on every server, and one set of sockets serves several workers and outlives
a reload. Servers that insist on binding (daphne, granian) get an address that was free a
moment ago. Nothing here knows a server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

UNIX_SOCKET_MODE = 0o666  # as uvicorn and Twisted do: the proxy in front often is another user

_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\s:/\[\]]*)):(?P<port>[0-9]{1,5})"
)
_EVERY_ADDRESS = ("", "0.0.0.0", "::")

FREE_PORT_TRIES = 10  # for one port that is free on every address of a host


@dataclass(frozen=True)
class Bind:
    """One place to listen: a path, or a host (`""` is every address) and a port (0 is any free one)."""

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, scheme: str = "http") -> str:
        """Return what to open in a browser on this machine; a unix socket is shown as it was given."""
        if self.path is not None:
            return str(self)
        host = "localhost" if self.host in _EVERY_ADDRESS else self.host
        return f"{scheme}://{replace(self, host=host)}"


def parse_bind(text: str) -> Bind:
    """Return the place that `text` names.

    Raises:
        ValueError: it has none of the four forms, or its port is above 65535.
    """
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Bind(path=text.removeprefix("unix:"))
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"Invalid bind {text!r}: give 'host:port', '[::1]:8080', ':8080' or 'unix:/path'")
    return Bind(host=match["ipv6"] or match["host"], port=int(match["port"]))


@contextlib.contextmanager
def bound(bind: Bind, *, keep: bool) -> Generator[tuple[Bind, tuple[socket.socket, ...]]]:
    """Bind the sockets for `bind`, and clean up at the end: sockets closed, a unix socket's file removed.

    Args:
        keep: False closes the sockets at once, for a server that binds by itself; the place that
            comes back then is one address, written as numbers, with a port other than 0.

    Raises:
        OSError: it cannot be bound; the text is for the user and names the place.
    """
    try:
        sockets = _unix_socket(bind.path) if bind.path is not None else _tcp_sockets(bind)
    except OSError as error:
        raise OSError(error.errno, f"Cannot listen on {bind}: {error.strerror}") from None
    try:
        if bind.path is None:
            bind = replace(bind, port=sockets[0].getsockname()[1])
        if not keep:
            bind = _released(bind, sockets)
        yield bind, tuple(sockets) if keep else ()
    finally:
        for sock in sockets:
            sock.close()
        if bind.path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(bind.path)


def _released(bind: Bind, sockets: list[socket.socket]) -> Bind:
    """Close `sockets`, and return the one place that a server which binds by itself shall take."""
    families = [sock.family for sock in sockets]
    host = sockets[0].getsockname()[0] if bind.path is None else ""
    for sock in sockets:
        sock.close()
    if bind.path is not None:
        os.unlink(bind.path)
        return bind
    # Such a server takes one address: "::" then means IPv4 too (Linux' default for this option).
    return replace(bind, host="::" if bind.host == "" and socket.AF_INET6 in families else host)


def _unix_socket(path: str) -> list[socket.socket]:
    """Bind a unix socket; the file of a server that is gone is replaced, that of a living one is not."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, UNIX_SOCKET_MODE)
    except OSError as error:
        sock.close()
        # Too long a path (107 bytes on Linux) is an OSError without errno and strerror.
        raise OSError(error.errno or 0, error.strerror or str(error)) from None
    return [sock]


def _is_stale(path: str) -> bool:
    """Tell whether `path` is a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _tcp_sockets(bind: Bind) -> list[socket.socket]:
    """Bind one socket per address of the host; IPv6 is left out where the machine has none."""
    for _ in range(FREE_PORT_TRIES if bind.port == 0 else 1):
        try:
            return _tcp_sockets_once(bind)
        except OSError as error:
            refused = error  # a port that is free for one address can be taken for the next
    raise refused


def _tcp_sockets_once(bind: Bind) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    port = bind.port
    for family, host in _addresses(bind.host):
        try:
            sock = _tcp_socket(family, host, port)
        except OSError as error:
            refused = error
            if family == socket.AF_INET6 and not _in_use(error):
                continue
            break
        sockets.append(sock)
        port = sock.getsockname()[1]  # with port 0 all addresses get the same one
    else:
        if sockets:
            return sockets
    for sock in sockets:
        sock.close()
    raise refused or OSError(0, "the host has no address")


def _in_use(error: OSError) -> bool:
    return error.errno in (errno.EADDRINUSE, errno.EACCES)


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of `host`, IPv4 first: a server that takes only one gets that."""
    if host == "":
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    found = {(info[0], str(info[4][0])) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return sorted(found)


def _tcp_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Its own socket for each kind, so that IPv4 clients are not called ::ffff:127.0.0.1.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock

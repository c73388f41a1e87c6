"""`run()`: one app on one of four ASGI servers, with what we think a server should do by default.

Here its arguments are read, the address is bound, and it is decided in which processes the server
runs. Finding and loading the app is in `_load`, the sockets are in `_bind`, workers and the reloader
in `_process`, and what a server wants to be told is in `_servers`. Whatever is heavier than `os` and
`logging` is imported when run() is called, as `import asgineer` brings this module along.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from . import _force, _log
from ._extras import install_command
from ._load import BadArgument, Missing, check_app, import_string, refuse_while_importing
from ._servers import OURS, SERVERS, STARTERS, TAKE_SOCKETS, Job, for_granian

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ._bind import Bind
    from ._servers import Ready

BIND_ADVICE = {
    errno.EADDRINUSE: ". Another program has it: end that one, or choose another port",
    errno.EACCES: ". A port below 1024 needs more rights: choose another one",
}
LEVELS = ("debug", "info", "warning", "error", "critical")


def run(
    app: Callable[..., Any] | str,
    server: Callable[..., Any] | str | None = None,
    bind: str = "localhost:8080",
    *,
    workers: int = 1,
    reload: bool = False,
    shutdown_timeout: float | None = 10,
    access_log: bool = False,
    debug: bool | None = None,
    log_level: str | int = "warning",
    reload_dirs: str | Sequence[str] | None = None,
    **server_options: Any,
) -> None:
    """Serve an ASGI app until SIGINT or SIGTERM; a second signal ends it at once.

    `run("uvicorn", app, bind)` works too. With `workers` or `reload`, and on granian always, other
    processes import the program again: keep the call under `if __name__ == "__main__":`.

    Args:
        app: an ASGI callable, or its full name `"module:name"`.
        server: "uvicorn", "granian", "hypercorn" or "daphne"; by default the first one installed.
        bind: `host:port`, `[::1]:8080`, `:8080` (every address) or `unix:/path`; port 0 is any free one.
        workers: the number of processes that serve (daphne: only one).
        reload: start anew whenever a Python file changes (one worker).
        shutdown_timeout: seconds that running handlers get to end; None waits without limit.
        access_log: log one line per request to the logger "asgineer.access", the same on every server.
        debug: show tracebacks to clients; None leaves it to `ASGINEER_DEBUG` in the environment.
        log_level: the level of the server's own log.
        reload_dirs: where to look for changes; by default the folder of the app and what is around it.
        server_options: go on to the server, under its own names for them.

    Raises:
        ValueError: an argument means nothing, or the app cannot be imported by name where it must be.
        TypeError: the app is no ASGI app.
        ImportError: the server is not installed, or there is no such app.
        SystemExit: with a status other than 0, when the server could not start.
    """
    app, server = _order(app, server)
    refuse_while_importing()
    server = choose_server(server)
    job = Job(
        app=app,
        server=server,
        bind=_parse_bind(bind),
        workers=_checked_workers(workers, reload, server),
        shutdown_timeout=shutdown_timeout,
        access_log=access_log,
        log_level=_level_name(log_level),
        options=_checked_options(server, server_options),
    )
    if not isinstance(app, str):
        check_app(app)
    _log.install_handler()
    with _environment(debug, shutdown_timeout, workers, reload):
        status = _serve(job, reload, reload_dirs)
    if status:
        sys.exit(status)


# What the arguments mean


def _order(app: Any, server: Any) -> tuple[Any, Any]:
    """Return app and server, in whichever order the two came."""
    app_is_second = not isinstance(server, (str, type(None)))
    names_a_server = isinstance(app, str) and app.lower() in SERVERS
    if app_is_second or (names_a_server and server not in (None, *SERVERS)):
        app, server = server, app
    if isinstance(app, str) and not all(app.partition(":")):
        raise BadArgument(f"If specifying an app by name, give its full path! 'module:name', not {app!r}")
    return app, server


def choose_server(name: Any) -> str:
    """Return the name of the server to start: `name`, or the first one that is installed."""
    if name is None:
        for candidate in SERVERS:
            if _is_installed(candidate):
                return candidate
        raise Missing(f"No ASGI server is installed. Try: {install_command('uvicorn')}")
    server = name.lower() if isinstance(name, str) else name
    if server not in SERVERS:
        raise BadArgument(f"Invalid server specified: {name!r}. Choose one of {', '.join(SERVERS)}")
    if not _is_installed(server):
        raise Missing(f"{server} is not installed. Try: {install_command(server)}")
    return str(server)


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _parse_bind(bind: str) -> Bind:
    from ._bind import parse_bind

    try:
        return parse_bind(bind)
    except ValueError as error:
        raise BadArgument(str(error)) from None


def _checked_workers(workers: int, reload: bool, server: str) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BadArgument(f"workers must be a whole number above 0, not {workers!r}")
    if workers > 1 and reload:
        raise BadArgument("reload works with one worker")
    if workers > 1 and server == "daphne":
        raise BadArgument("daphne serves with one worker; take another server, or start it several times")
    return workers


def _level_name(level: str | int) -> str:
    """Return the level in lower case and by the one name that every server knows it by."""
    numbers = logging.getLevelNamesMapping()
    number = level if isinstance(level, int) else numbers.get(level.upper())
    for name in LEVELS:
        if numbers[name.upper()] == number:
            return name
    raise BadArgument(f"Invalid log_level {level!r}: give one of {', '.join(LEVELS)}")


def _checked_options(server: str, options: dict[str, Any]) -> dict[str, Any]:
    for name in OURS[server]:
        if name in options:
            raise BadArgument(
                f"{name!r} is not an option here: run() has app, bind, workers and reload for it"
            )
    return options


@contextlib.contextmanager
def _environment(
    debug: bool | None, shutdown_timeout: float | None, workers: int, reload: bool
) -> Generator[None]:
    """Say what our app looks for in the environment, for every process after us too; undo it at the end."""
    ours = {
        "ASGINEER_SHUTDOWN_TIMEOUT": "" if shutdown_timeout is None else str(shutdown_timeout),
        "ASGINEER_WORKERS": str(workers),  # a bus of one process can't serve several
    }
    if reload:
        ours["ASGINEER_RELOAD"] = "1"  # an asset handler reads its folder again
    if debug is not None:
        ours["ASGINEER_DEBUG"] = "1" if debug else "0"
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


# Starting


def _serve(job: Job, reload: bool, reload_dirs: str | Sequence[str] | None) -> int:
    """Bind, then serve here or in processes of ours; return the exit status."""
    from ._bind import bound

    if reload or (job.workers > 1 and job.server != "granian"):
        job = job._replace(app=import_string(job.app))
    elif job.server == "granian":
        job = job._replace(app=for_granian(job.app))
    with contextlib.ExitStack() as stack:
        try:
            bind, sockets = stack.enter_context(bound(job.bind, keep=job.server in TAKE_SOCKETS))
        except OSError as error:
            _log.logger.error("%s%s", error.strerror, BIND_ADVICE.get(error.errno or 0, ""))
            return 1
        job = job._replace(bind=bind, sockets=sockets)
        if reload:
            return _serve_and_reload(job, reload_dirs)
        if job.workers > 1 and job.server != "granian":
            return _supervise(job)
        return _start(job, lambda: _announce(job))


def _start(job: Job, ready: Ready) -> int:
    """Run the server here, and no longer after a signal than `shutdown_timeout` allows."""
    # Those that take our sockets run in this process; granian ends its workers by itself, daphne at once.
    with _force.end_in_time(job.shutdown_timeout if job.server in TAKE_SOCKETS else None):
        return STARTERS[job.server](job, ready)


def _announce(job: Job) -> None:
    secure = any(name in job.options for name in ("ssl_certfile", "certfile", "ssl_cert"))
    _log.logger.info("Serving %s with %s", job.bind.url("https" if secure else "http"), job.server)


def _start_in_child(job: Job, ready: Ready) -> int:
    """Run the server in a process of ours."""
    _log.install_handler()
    return _start(job, ready)


def _start_and_announce(job: Job, ready: Ready) -> int:
    """Run the server in the one child of the reloader, which says at each start that it serves, or fails."""

    def announce() -> None:
        ready()
        _announce(job)

    status: int | None = None
    try:
        status = _start_in_child(job, announce)
        return status
    finally:
        if status != 0:
            _log.logger.error("Not serving. Waiting for a Python file to change")


def _supervise(job: Job) -> int:
    from . import _process

    return _process.supervise(
        _start_in_child,
        (job._replace(workers=1, in_child=True),),
        job.workers,
        job.shutdown_timeout,
        ready=lambda: _announce(job),
        stopping=lambda: _close(job),
    )


def _close(job: Job) -> None:
    """Take no more connections: the workers have their own copies of the sockets, which they close."""
    for sock in job.sockets:
        sock.close()


def _serve_and_reload(job: Job, reload_dirs: str | Sequence[str] | None) -> int:
    from . import _process

    if reload_dirs is None:
        reload_dirs = [_directory_to_watch(job.app)]
    directories = [reload_dirs] if isinstance(reload_dirs, str) else list(reload_dirs)
    return _process.serve_and_reload(
        _start_and_announce,
        (job._replace(in_child=True),),
        directories,
        job.shutdown_timeout,
        stopping=lambda: _close(job),
    )


def _directory_to_watch(name: str) -> str:
    """Return the folder of the app's outermost package or script, or the current one if that is inside it."""
    from importlib.util import find_spec

    top = name.partition(":")[0].partition(".")[0]
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if file is None:
        spec = find_spec(top) if module is None else None
        file = spec.origin if spec is not None else None
    current = os.getcwd()
    folder = os.path.dirname(os.path.abspath(file)) if file else current
    return current if folder.startswith(os.path.join(current, "")) else folder

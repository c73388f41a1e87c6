"""The servers: a table of starters, one short function for each.

A starter knows its server's names for our options and nothing else. What all of them get: the
sockets or the address to listen on; quiet logs, to where ours go; their own reading of
X-Forwarded-* off (whoever can reach the port could forge them); no access log of their own.
Arguments are read in `_run`, processes live in `_process`.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _load, _log, _shutdown

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Generator, Mapping
    from types import FrameType

    import uvicorn

    from ._bind import Bind

    Ready = Callable[[], None]

SERVERS = ("uvicorn", "granian", "hypercorn", "daphne")  # in this order, when none is named
UVICORN_TESTED = ("0.54",)  # with the protocol of ours
TAKE_SOCKETS = ("uvicorn", "hypercorn")  # the others bind by themselves

# What we give to the server ourselves: options of the same meaning would be lost without a word.
OURS = {
    "uvicorn": ("host", "port", "uds", "fd"),
    "granian": ("address", "port", "uds", "target", "interface"),
    "hypercorn": ("bind", "application_path", "use_reloader"),
    "daphne": ("application", "endpoints", "signal_handlers", "ready_callable"),
}


class Job(NamedTuple):
    """What is to be served, and how: everything a starter, and a process of ours, needs to know."""

    app: Any  # an ASGI callable, or "module:name"; always the latter in another process
    server: str
    bind: Bind
    options: Mapping[str, Any] = {}  # the server's own; nobody writes into it
    workers: int = 1
    shutdown_timeout: float | None = 10
    access_log: bool = False
    log_level: str = "warning"
    sockets: tuple[socket.socket, ...] = ()
    in_child: bool = False


def _loaded(job: Job) -> Any:
    """Return the app of a job, imported and with the access log around it where that was asked for."""
    app = job.app
    if isinstance(app, str):
        app = _load.load_or_exit(app) if job.in_child else _load.load_app(app)
    _load.check_app(app)
    if job.access_log:
        from ._access import with_access_log

        return with_access_log(app)
    return app


def _serve_uvicorn(job: Job, ready: Ready) -> int:
    import uvicorn

    from . import _process

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            _process.second_signal_kills()
            await super().startup(sockets=sockets)
            ready()

    options: dict[str, Any] = {
        "access_log": False,
        "http": "asgineer",
        "log_config": _log_config("uvicorn", job.log_level),
        "log_level": job.log_level,
        "proxy_headers": False,
        "timeout_graceful_shutdown": job.shutdown_timeout,
        "ws_per_message_deflate": False,  # 64 KiB a connection instead of 14
    }
    options.update(job.options)
    if options.get("http") == "asgineer":
        options["http"] = _direct_protocol(uvicorn.__version__)
    server = Server(uvicorn.Config(_loaded(job), **options))
    with _end_by_return(server):
        server.run(sockets=list(job.sockets))
    return 0 if server.started else _load.START_FAILED


def _direct_protocol(version: str) -> Any:
    """Return the HTTP protocol of ours, or uvicorn's own where ours isn't tested or httptools isn't there."""
    reason = f"Asgineer knows uvicorn {' or '.join(UVICORN_TESTED)}, and this is {version}"
    if version.rpartition(".")[0] in UVICORN_TESTED:
        try:
            from ._uvicorn import Connection
        except ImportError:
            reason = "httptools is not installed"
        else:
            return Connection
    _log.logger.warning("uvicorn's own HTTP protocol serves, with its limits and time-outs: %s", reason)
    return "auto"


@contextlib.contextmanager
def _end_by_return(server: uvicorn.Server) -> Generator[None]:
    """Let uvicorn return after a signal: it raises it again, which would end us before our own clean-up.

    It does so to call the handlers that were there before; those of the program are left alone.
    """
    import signal

    from . import _process

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if not server.should_exit:  # it came before uvicorn listened to it
            _process.kill_all(signum)

    before = {}
    if _process.in_main_thread():
        for signum in _process.SIGNALS:
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
                before[signum] = signal.signal(signum, on_signal)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _serve_hypercorn(job: Job, ready: Ready) -> int:
    import asyncio
    from importlib.util import find_spec

    from hypercorn.config import Config
    from hypercorn.utils import LifespanFailureError

    _use_our_handler("hypercorn.error", job.log_level)
    options = {
        "errorlog": logging.getLogger("hypercorn.error"),
        "graceful_timeout": job.shutdown_timeout,
        "worker_class": "uvloop" if find_spec("uvloop") else "asyncio",  # a sixth of the time of a request
        **job.options,
    }
    for name in options:
        if not hasattr(Config, name):
            raise _load.BadArgument(f"hypercorn has no option {name!r}")
    config = Config.from_mapping(options)
    # hypercorn takes the descriptors over, and closes them when it takes no more connections.
    config.bind = [f"fd://{sock.detach()}" for sock in job.sockets]
    with asyncio.Runner(loop_factory=_hypercorn_loop(config.worker_class)) as runner:
        try:
            runner.run(_hypercorn(_loaded(job), config, job.shutdown_timeout, ready))
        except LifespanFailureError as error:
            _log.logger.error("The server could not start: %s", error)
            return _load.START_FAILED
    return 0


def _hypercorn_loop(worker_class: str) -> Callable[[], Any] | None:
    if worker_class == "asyncio":
        return None
    if worker_class == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    raise _load.BadArgument(f"worker_class {worker_class!r} does not fit: our apps run on asyncio")


async def _hypercorn(app: Any, config: Any, shutdown_timeout: float | None, ready: Ready) -> None:
    """Serve until a signal; handlers that then need more than `shutdown_timeout` are cancelled.

    From Python 3.12 on hypercorn waits for its connections before it looks at its own time-out,
    so an open stream would keep it up for ever.
    """
    import asyncio

    from hypercorn.asyncio import serve

    from . import _process

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    tracked, cancel_running = _tracked(app)

    async def shutdown_trigger() -> None:
        ready()
        await stop.wait()
        if shutdown_timeout is not None:
            loop.call_later(shutdown_timeout, cancel_running)

    if _process.in_main_thread():
        for signum in _process.SIGNALS:
            loop.add_signal_handler(signum, stop.set)
        _process.second_signal_kills()
    await serve(tracked, config, shutdown_trigger=shutdown_trigger, mode="asgi")


def _tracked(app: Any) -> tuple[Any, Callable[[], None]]:
    """Return an app that serves as `app` does, and a function that cancels what it serves now."""
    import asyncio

    running: set[asyncio.Task[Any]] = set()

    async def tracked(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        if task is None or scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        running.add(task)
        try:
            await app(scope, receive, send)
        finally:
            running.discard(task)

    def cancel_running() -> None:
        for task in running:
            task.cancel()

    return tracked, cancel_running


def _serve_daphne(job: Job, ready: Ready) -> int:
    app = _loaded(job)
    from importlib import import_module

    from . import _process

    _use_our_handler("daphne", job.log_level)
    server_class = import_module("daphne.server").Server  # before any other import of Twisted's reactor
    reactor = import_module("twisted.internet.reactor")
    reactor.callWhenRunning(_process.second_signal_kills)
    server = server_class(app, **{"endpoints": [_endpoint(job.bind)], "ready_callable": ready, **job.options})
    server.run()
    return 1 if server.abort_start else 0


def _endpoint(bind: Bind) -> str:
    """Return a place to listen as Twisted writes it; a backslash keeps a colon from being a separator."""
    if bind.path is not None:
        path = bind.path.replace("\\", "\\\\").replace(":", "\\:")
        return f"unix:{path}:lockfile=0"
    host = bind.host.replace(":", "\\:")
    return f"tcp:port={bind.port}:interface={host}"


def _serve_granian(job: Job, ready: Ready) -> int:
    import threading
    from functools import partial
    from pathlib import Path

    from granian import Granian

    from . import _process
    from ._bind import UNIX_SOCKET_MODE

    timeout = job.shutdown_timeout
    options: dict[str, Any] = {
        "interface": "asgi",
        "workers": job.workers,
        "address": job.bind.host,
        "port": job.bind.port,
        "uds": Path(job.bind.path) if job.bind.path is not None else None,
        "uds_permissions": UNIX_SOCKET_MODE,
        "log_level": job.log_level,
        "log_dictconfig": _log_config("_granian", job.log_level),
        "workers_kill_timeout": None if timeout is None else timeout + 1,  # 0 would mean no limit
    }
    server: Any = Granian(str(job.app), **{**options, **job.options})
    end = server.signal_handler_interrupt
    stopped: list[Any] = []

    def on_signal(*args: Any) -> None:
        stopped[:] = server.wrks  # which granian empties
        end(*args)
        threading.Thread(target=_ask_again, args=(server.wrks,), daemon=True).start()

    server.signal_handler_interrupt = on_signal
    server.on_startup(_process.second_signal_kills)
    server.on_startup(ready)
    worker = job._replace(in_child=True)
    with _spawned_by_default() if isinstance(job.app, str) else contextlib.nullcontext():
        server.serve(target_loader=partial(_granian_worker, worker), wrap_loader=False)
    # Workers that were all stopped during their start, or had to be killed, say so; granian itself doesn't.
    # Where one of several was still starting, the others had served: that is no failure.
    codes = [_exit_code_of(worker) for worker in stopped]
    return _load.START_FAILED if codes and all(codes) else 0


def _exit_code_of(worker: Any) -> int:
    """Return the exit code of one of granian's workers, all of which have ended."""
    import time

    process = getattr(worker, "inner", None)
    # A thread of granian's waits for it as well, and only one of the two is told.
    until = time.monotonic() + 1
    while getattr(process, "exitcode", 0) is None and time.monotonic() < until:
        time.sleep(0.001)
    return getattr(process, "exitcode", 0) or 0


def _ask_again(workers: list[Any]) -> None:
    """Say SIGTERM to granian's workers once more, a second later.

    uvloop loses a signal that comes between two `run_until_complete`, which is where a worker is that
    has just started; granian would wait for it until it kills it. Not more often: at the third one a
    worker stops its loop, and with it the requests that it still serves.
    """
    import time

    time.sleep(1)
    for worker in list(workers):
        worker.terminate()


def for_granian(app: Any) -> Any:
    """Return what granian's workers, which are always other processes, get the app by.

    That is its name, as everywhere; an app that has none can only be copied by a fork, which is
    what granian does by itself where the platform's default is that (Linux, below Python 3.14).
    """
    import multiprocessing

    name = _load.find_name(app)
    if name is None and multiprocessing.get_start_method() == "fork":
        return _load.load_app(app) if isinstance(app, str) else app
    return name or _load.import_string(app)


def _granian_worker(job: Job) -> Any:
    """Return the app, in one of granian's own processes.

    granian waits for its requests until it kills the worker, which would leave no time for the app's
    own end; so we cancel them before, from the first notice on. And it drops what websockets have
    still to send when it begins to stop; so it hears of that only when they are closed.
    """
    import asyncio

    from . import _process

    _log.install_handler()
    _process.end_with_parent(job.shutdown_timeout)
    timeout = job.shutdown_timeout
    tracked, cancel_running = _tracked(_loaded(job))
    websockets: set[asyncio.Task[Any]] = set()

    async def bounded(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        if scope["type"] == "lifespan":
            if timeout is not None:
                loop = asyncio.get_running_loop()
                _shutdown.notice().add(lambda: loop.call_later(timeout, cancel_running))
            _stop_after(websockets, timeout)
        elif scope["type"] == "websocket" and task is not None:
            websockets.add(task)
            task.add_done_callback(websockets.discard)
        await tracked(scope, receive, send)

    return bounded


def _stop_after(websockets: set[asyncio.Task[Any]], timeout: float | None) -> None:
    """Let SIGTERM give the notice, and SIGINT stop granian's worker once `websockets` are closed."""
    import asyncio
    import os
    import signal

    loop = asyncio.get_running_loop()
    stopping: asyncio.Task[None] | None = None

    async def stop() -> None:
        if websockets:
            await asyncio.wait(set(websockets), timeout=timeout)
        os.kill(os.getpid(), signal.SIGINT)

    def on_signal() -> None:
        nonlocal stopping  # which keeps the task alive; it is told several times
        _shutdown.notice().begin()
        stopping = stopping or loop.create_task(stop())

    loop.add_signal_handler(signal.SIGTERM, on_signal)


@contextlib.contextmanager
def _spawned_by_default() -> Generator[None]:
    """Make multiprocessing spawn: granian follows the default, and a fork would share the parent's state."""
    import multiprocessing

    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


STARTERS: dict[str, Callable[[Job, Ready], int]] = {
    "uvicorn": _serve_uvicorn,
    "granian": _serve_granian,
    "hypercorn": _serve_hypercorn,
    "daphne": _serve_daphne,
}


# The servers' own logs: to where ours goes, in the same form


def server_handler() -> logging.Handler:
    """Return the handler that our log goes to; in a new process it is installed by this."""
    _log.install_handler()
    return [*_log.logger.handlers, *logging.getLogger().handlers][0]


def _use_our_handler(name: str, level: str) -> None:
    logger = logging.getLogger(name)
    logger.handlers = [server_handler()]
    logger.setLevel(level.upper())
    logger.propagate = False


def _log_config(name: str, level: str) -> dict[str, Any]:
    """Return the same for a server that configures logging by a dict, in each of its processes."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"asgineer": {"()": server_handler}},
        "loggers": {name: {"handlers": ["asgineer"], "level": level.upper(), "propagate": False}},
    }

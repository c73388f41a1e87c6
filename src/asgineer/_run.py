"""`run()`: one app on one of four ASGI servers, with what we think a server should do by default.

A table of starters, one short function per server, which knows that server's names for our
options and nothing else. What they share is above them: reading the arguments, finding and
loading the app. Sockets are bound in `_bind`; workers and the reloader are in `_process`; the
access log is in `_access`. Everything heavier than `os` and `logging` is imported when a
server is started, as `import asgineer` brings this module along.

Every server starts with its own reading of X-Forwarded-* off (whoever can reach the port could
forge them; `TrustProxy` is ours), without its own access log, and quiet: warnings and errors.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _log

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    import uvicorn

    from ._bind import Bind

    Ready = Callable[[], None]

SERVERS = ("uvicorn", "granian", "hypercorn", "daphne")  # in this order, when none is named

# A worker process that could not load its app (uvicorn ends with the same).
START_FAILED = 3


class StartError(Exception):
    """A start that cannot work. The command line tells it in one line, without a traceback."""


class BadArgument(StartError, ValueError):
    """An argument of run() that means nothing."""


class NotAnApp(StartError, TypeError):
    """What was given to be served is no ASGI app."""


class Missing(StartError, ImportError):
    """A server that is not installed, or an app that is not where its name says."""


@dataclass(frozen=True)
class Job:
    """What is to be served, and how: everything a starter, and a process of ours, needs to know."""

    app: Any  # an ASGI callable, or "module:name"; always the latter in another process
    server: str
    bind: Bind
    workers: int = 1
    shutdown_timeout: float | None = 10
    access_log: bool = False
    log_level: str = "warning"
    options: Mapping[str, Any] = field(default_factory=dict)
    sockets: tuple[socket.socket, ...] = ()
    in_child: bool = False


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
    _refuse_while_importing()
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
    with _debug_in_environment(debug):
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


def install_command(extra: str) -> str:
    """Return the command that installs one of our extras; the distribution's name is asked, not known."""
    from importlib.metadata import entry_points

    for script in entry_points(group="console_scripts", name="asgineer"):
        if script.dist is not None and script.value.startswith("asgineer."):
            return f'pip install "{script.dist.name}[{extra}]"'
    return f"pip install {extra}"


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
    """Return the level in lower case, which every server takes in some way."""
    name = logging.getLevelName(level) if isinstance(level, int) else level
    if not isinstance(logging.getLevelName(name.upper()), int):
        raise BadArgument(
            f"Invalid log_level {level!r}: give 'debug', 'info', 'warning', 'error' or 'critical'"
        )
    return str(name).lower()


# What we give to the server ourselves: options of the same meaning would be lost without a word.
_OURS = {
    "uvicorn": ("host", "port", "uds", "fd"),
    "granian": ("address", "port", "uds", "target", "interface"),
    "hypercorn": ("bind", "application_path", "use_reloader"),
    "daphne": ("application", "endpoints", "signal_handlers", "ready_callable"),
}


def _checked_options(server: str, options: dict[str, Any]) -> dict[str, Any]:
    for name in _OURS[server]:
        if name in options:
            raise BadArgument(
                f"{name!r} is not an option here: run() has app, bind, workers and reload for it"
            )
    return options


@contextlib.contextmanager
def _debug_in_environment(debug: bool | None) -> Iterator[None]:
    """Say `debug` where our app and every process after us look for it; put it back at the end."""
    if debug is None:
        yield
        return
    before = os.environ.get("ASGINEER_DEBUG")
    os.environ["ASGINEER_DEBUG"] = "1" if debug else "0"
    try:
        yield
    finally:
        del os.environ["ASGINEER_DEBUG"]
        if before is not None:
            os.environ["ASGINEER_DEBUG"] = before


# The app: its name, and from a name to the app


def import_string(app: Callable[..., Any] | str) -> str:
    """Return the name by which another process can import `app`.

    Raises:
        ValueError: there is none, for example because the app was made inside a function.
    """
    name = _find_name(app)
    if name is not None:
        return name
    raise BadArgument(
        f"{app!r} cannot be found by another process, which workers, reload and granian need: "
        'make it a global of a module, or give its name as "module:name"'
    )


def _find_name(app: Callable[..., Any] | str) -> str | None:
    """Return the module and the name of a global whose value *is* the app."""
    if isinstance(app, str):
        module = sys.modules.get(app.partition(":")[0])
        return app if module is None or _importable_name(module) else None
    own = sys.modules.get(str(getattr(app, "__module__", "")))
    for module in (own, sys.modules["__main__"], *list(sys.modules.values())):
        for name, value in list(vars(module).items()) if isinstance(module, ModuleType) else ():
            if value is app and (module_name := _importable_name(module)):
                return f"{module_name}:{name}"
    return None


def _importable_name(module: ModuleType | None) -> str | None:
    """Return the name to import a module by, None when a new process has no way to it."""
    if module is None:
        return None
    if module.__name__ not in ("__main__", "__mp_main__"):
        return module.__name__ if module.__spec__ is not None else None  # else: made by hand
    name = module.__spec__.name if module.__spec__ else None
    if name is not None and name.endswith(".__main__"):
        return name  # python -m package: multiprocessing leaves this one to us
    # A script or `python -m module`: multiprocessing imports it again, as __main__ of the child.
    # A folder or a zip file, the prompt and `python -c` have nothing to import.
    found = name != "__main__" if name else os.path.isfile(getattr(module, "__file__", None) or "")
    return "__main__" if found else None


_importing = False


def load_app(name: str) -> Any:
    """Import the app `"module:name"`; dots in the name go down attributes.

    Raises:
        ImportError: there is no such module, or nothing of that name in it.
    """
    global _importing
    import importlib

    module_name, _, path = name.partition(":")
    _importing = True
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a module that the app imports
        raise Missing(f"There is no module {module_name!r} (looked in {_search_path()})") from None
    finally:
        _importing = False
    value: Any = module
    for attribute in path.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise Missing(f"There is no {path!r} in {module_name!r}{_suggestion(module)}") from None
    return value


def _search_path() -> str:
    """Return the folders of the program, without those of Python and of what is installed."""
    own = [path or "." for path in sys.path if not path.startswith((sys.prefix, sys.base_prefix))]
    return ", ".join(own) or "nothing but what is installed"


def _suggestion(module: ModuleType) -> str:
    """Return the apps in a module, as the end of a sentence."""
    names = [name for name, value in vars(module).items() if hasattr(value, "asgineer_handler")]
    return f"; did you mean {' or '.join(sorted(names))}?" if names else ""


def _refuse_while_importing() -> None:
    """Stop a program that calls run() when it is imported, by us or by a new process of ours."""
    from multiprocessing import current_process

    # The attribute is multiprocessing's own guard against the same mistake, with a longer text.
    if _importing or getattr(current_process(), "_inheriting", False):
        raise BadArgument(
            'run() was called while the program is imported: put it under if __name__ == "__main__":'
        )


def check_app(app: Any) -> None:
    """Refuse what no server could call, with a word on the likely mistake.

    Raises:
        TypeError: it is not callable, or it is a handler that `to_asgi` has not made an app of.
    """
    if not callable(app):
        raise NotAnApp(f"An ASGI app or 'module:name' is needed, not {type(app).__name__} {app!r:.60}")
    if _takes(app, 1) and not _takes(app, 3):
        name = getattr(app, "__name__", type(app).__name__)
        raise NotAnApp(f"{name} is a handler, not an ASGI app: put @asgineer.to_asgi above it")


def _takes(app: Callable[..., Any], count: int) -> bool:
    """Tell whether `app` is a coroutine function that can be called with `count` arguments."""
    import inspect

    call = app if inspect.isfunction(app) or inspect.ismethod(app) else type(app).__call__
    if not inspect.iscoroutinefunction(call):
        return False
    try:
        inspect.signature(app).bind(*range(count))
    except TypeError:
        return False
    return True


def _loaded(job: Job) -> Any:
    """Return the app of a job, imported and with the access log around it where that was asked for."""
    app = job.app
    if isinstance(app, str):
        app = _load_or_exit(app) if job.in_child else load_app(app)
    check_app(app)
    if job.access_log:
        from ._access import with_access_log

        return with_access_log(app)
    return app


def _load_or_exit(name: str) -> Any:
    """Import the app in a process of ours, where nobody above us would tell what failed."""
    try:
        app = load_app(name)
        check_app(app)
        return app
    except StartError as error:
        _log.logger.error("%s", error)
    except Exception as error:
        error.__traceback__ = without_our_frames(error.__traceback__)
        _log.log_error(f"The app {name} could not be imported", error)
    raise SystemExit(START_FAILED)


def without_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback of a failed import from the user's own file on."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        ours = os.path.dirname(file) == os.path.dirname(__file__)
        if not (ours or file.startswith("<frozen importlib") or file.endswith("importlib/__init__.py")):
            break
        traceback = traceback.tb_next
    return traceback


# Starting


def _serve(job: Job, reload: bool, reload_dirs: str | Sequence[str] | None) -> int:
    """Bind, then serve here or in processes of ours; return the exit status."""
    from ._bind import bound

    if reload or (job.workers > 1 and job.server != "granian"):
        job = replace(job, app=import_string(job.app))
    elif job.server == "granian":
        job = replace(job, app=_for_granian(job.app))
    with contextlib.ExitStack() as stack:
        try:
            bind, sockets = stack.enter_context(bound(job.bind, keep=job.server in _TAKE_SOCKETS))
        except OSError as error:
            _log.logger.error("%s", error.strerror)
            return 1
        job = replace(job, bind=bind, sockets=sockets)
        if reload:
            return _serve_and_reload(job, reload_dirs)
        if job.workers > 1 and job.server != "granian":
            return _supervise(job)
        return _STARTERS[job.server](job, lambda: _announce(job))


def _announce(job: Job) -> None:
    secure = any(name in job.options for name in ("ssl_certfile", "certfile", "ssl_cert"))
    _log.logger.info("Serving %s with %s", job.bind.url("https" if secure else "http"), job.server)


def _start_in_child(job: Job, ready: Ready) -> int:
    """Run the server in a process of ours."""
    _log.install_handler()
    return _STARTERS[job.server](job, ready)


def _start_and_announce(job: Job, ready: Ready) -> int:
    """Run the server in the one child of the reloader, which says at each start that it serves."""

    def announce() -> None:
        ready()
        _announce(job)

    return _start_in_child(job, announce)


def _supervise(job: Job) -> int:
    from . import _process

    return _process.supervise(
        _start_in_child,
        (replace(job, workers=1, in_child=True),),
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
        (replace(job, in_child=True),),
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


# The servers


def _serve_uvicorn(job: Job, ready: Ready) -> int:
    import uvicorn

    from . import _process

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            _process.second_signal_kills()
            await super().startup(sockets=sockets)
            ready()

    options = {
        "access_log": False,
        "log_config": _log_config("uvicorn", job.log_level),
        "log_level": job.log_level,
        "proxy_headers": False,
        "timeout_graceful_shutdown": job.shutdown_timeout,
        "ws_per_message_deflate": False,  # 64 KiB a connection instead of 14
    }
    server = Server(uvicorn.Config(_loaded(job), **{**options, **job.options}))
    with _end_by_return(server):
        server.run(sockets=list(job.sockets))
    return 0 if server.started else START_FAILED


@contextlib.contextmanager
def _end_by_return(server: uvicorn.Server) -> Iterator[None]:
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

    from hypercorn.config import Config
    from hypercorn.utils import LifespanFailureError

    _use_our_handler("hypercorn.error", job.log_level)
    options = {
        "errorlog": logging.getLogger("hypercorn.error"),
        "graceful_timeout": job.shutdown_timeout,
        **job.options,
    }
    for name in options:
        if not hasattr(Config, name):
            raise BadArgument(f"hypercorn has no option {name!r}")
    config = Config.from_mapping(options)
    # hypercorn takes the descriptors over, and closes them when it takes no more connections.
    config.bind = [f"fd://{sock.detach()}" for sock in job.sockets]
    with asyncio.Runner(loop_factory=_hypercorn_loop(config.worker_class)) as runner:
        try:
            runner.run(_hypercorn(_loaded(job), config, job.shutdown_timeout, ready))
        except LifespanFailureError as error:
            _log.logger.error("The server could not start: %s", error)
            return START_FAILED
    return 0


def _hypercorn_loop(worker_class: str) -> Callable[[], Any] | None:
    if worker_class == "asyncio":
        return None
    if worker_class == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    raise BadArgument(f"worker_class {worker_class!r} does not fit: our apps run on asyncio")


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
    server = Granian(str(job.app), **{**options, **job.options})
    server.on_startup(_process.second_signal_kills)
    server.on_startup(ready)
    worker = replace(job, in_child=True)
    with _spawned_by_default() if isinstance(job.app, str) else contextlib.nullcontext():
        server.serve(target_loader=partial(_granian_worker, worker), wrap_loader=False)
    return 0


def _for_granian(app: Any) -> Any:
    """Return what granian's workers, which are always other processes, get the app by.

    That is its name, as everywhere; an app that has none can only be copied by a fork, which is
    what granian does by itself where the platform's default is that (Linux, below Python 3.14).
    """
    import multiprocessing

    name = _find_name(app)
    if name is None and multiprocessing.get_start_method() == "fork":
        return load_app(app) if isinstance(app, str) else app
    return name or import_string(app)


def _granian_worker(job: Job) -> Any:
    """Return the app, in one of granian's own processes."""
    from . import _process

    _log.install_handler()
    _process.end_with_parent(job.shutdown_timeout)
    return _loaded(job)


@contextlib.contextmanager
def _spawned_by_default() -> Iterator[None]:
    """Make multiprocessing spawn: granian follows the default, and a fork would share the parent's state."""
    import multiprocessing

    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


_STARTERS: dict[str, Callable[[Job, Ready], int]] = {
    "uvicorn": _serve_uvicorn,
    "granian": _serve_granian,
    "hypercorn": _serve_hypercorn,
    "daphne": _serve_daphne,
}
_TAKE_SOCKETS = ("uvicorn", "hypercorn")


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

"""The command line: `asgineer run example.py:main`, the same as `python -m asgineer run …`.

It turns a file path into a module name and options into arguments of `run()`; what can be done
wrong is told in one line. Nothing is decided here that `run()` does not offer too.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import TYPE_CHECKING

from . import __version__, _run
from ._load import BadArgument, StartError, without_our_frames
from ._servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USAGE_ERROR = 2  # the exit status of argparse for a command line that means nothing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0 after a signal, 1 when the program failed or the address is taken, 2 for a wrong command line,
    3 when the app could not be loaded or started by a worker, 130 for Ctrl+C before it was there.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _make_parser(os.environ)
    if advice := _advice(arguments):
        parser.error(advice)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return USAGE_ERROR
    try:
        _serve(options)
    except StartError as error:
        print(f"asgineer: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:  # while the app was imported: a server ends without one
        return 128 + 2  # as a shell says it of a program that SIGINT ended
    except Exception as error:
        error.__traceback__ = without_our_frames(error.__traceback__)
        traceback.print_exception(error)
        return 1
    return 0


def _advice(arguments: Sequence[str]) -> str:
    """Return what to write to who writes what the commands of the servers take, else ""."""
    for word in arguments[:1]:
        if word.endswith(".py") or (":" in word and not word.startswith("-")):
            return f"say what to do with it: asgineer run {word if ':' in word else word + ':main'}"
    for word in arguments:
        if word.partition("=")[0] in ("--host", "--port", "-p"):
            return "the address is one argument: --bind localhost:8080, or --bind :8080 for every address"
    return ""


def _serve(options: argparse.Namespace) -> None:
    # A console script has its own folder there, not the current one as `python -m` has.
    sys.path.insert(0, os.getcwd())
    workers = options.workers
    if workers is None:
        workers = 1 if options.reload else _workers_from(os.environ)
    _run.run(
        module_path(options.app),
        options.server,
        options.bind,
        workers=workers,
        reload=options.reload,
        debug=True if options.debug else None,
        access_log=options.access_log,
    )


def _workers_from(environment: Mapping[str, str]) -> int:
    text = environment.get("WEB_CONCURRENCY") or "1"
    if not text.isdecimal():
        raise BadArgument(f"WEB_CONCURRENCY must be a whole number above 0, not {text!r}")
    return int(text)


def _make_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; a platform that sets PORT (Heroku and its like) expects every address."""
    port = environment.get("PORT")
    bind = f":{port}" if port else "localhost:8080"
    parser = argparse.ArgumentParser(prog="asgineer", description="A thin web framework for ASGI servers.")
    parser.add_argument("--version", action="version", version=f"asgineer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser("run", help="serve an app", description="Serve an app until Ctrl+C.")
    run.add_argument("app", help="example.py:main, or package.module:main")
    run.add_argument("--server", metavar="NAME", help=f"{', '.join(SERVERS)} (the first one installed)")
    run.add_argument("--bind", default=bind, help="host:port, [::1]:8080, :8080 or unix:/path (%(default)s)")
    run.add_argument("--workers", type=int, metavar="N", help="processes that serve ($WEB_CONCURRENCY or 1)")
    run.add_argument("--reload", action="store_true", help="start anew when a Python file changes")
    run.add_argument("--debug", action="store_true", help="show errors to clients; never in production")
    run.add_argument("--access-log", action="store_true", help="log one line per request")
    return parser


def module_path(app: str) -> str:
    """Return `"module:name"` for what stands on the command line, and make the module importable.

    A file inside a package is imported as part of it, so its relative imports work.

    Raises:
        BadArgument: the name after the colon is missing, there is no such file, or a module that is
            loaded already has the file's name.
    """
    source, _, name = app.rpartition(":")
    if not source or not name:
        raise BadArgument(f"Give the name of the app too: {app.rstrip(':')}:main")
    if not source.endswith(".py") and os.sep not in source:
        return app
    file = os.path.abspath(source)
    if not os.path.isfile(file):
        raise BadArgument(f"There is no file {source}")
    folder, module = os.path.split(file.removesuffix(".py"))
    parts = [module]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    sys.path.insert(0, folder)
    _check_free(parts[0], folder, source)
    return f"{'.'.join(parts)}:{name}"


def _check_free(module: str, folder: str, source: str) -> None:
    """Refuse a file whose name cannot be imported, or brings another module (`site.py`, `v1.2.py`)."""
    from importlib.util import find_spec

    spec = find_spec(module) if module.isidentifier() else None
    origin = spec.origin if spec is not None else None
    if origin is None or not os.path.abspath(origin).startswith(os.path.join(folder, "")):
        raise BadArgument(f"{source} cannot be imported as {module!r}: give it another name")


if __name__ == "__main__":
    sys.exit(main())

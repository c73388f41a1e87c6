"""An app and its name: from the app to the name another process can import it by, and back.

What cannot work is told here in one sentence, as a `StartError`: the command line shows it without
a traceback. Errors of the app's own import stay what they are, without our frames. Nothing here
knows a server.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _log

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

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


def import_string(app: Callable[..., Any] | str) -> str:
    """Return the name by which another process can import `app`.

    Raises:
        ValueError: there is none, for example because the app was made inside a function.
    """
    name = find_name(app)
    if name is not None:
        return name
    raise BadArgument(
        f"{app!r} cannot be found by another process, which workers, reload and granian need: "
        'make it a global of a module, or give its name as "module:name"'
    )


def find_name(app: Callable[..., Any] | str) -> str | None:
    """Return the module and the name of a global whose value *is* the app."""
    if isinstance(app, str):
        module = sys.modules.get(app.partition(":")[0])
        return app if module is None or importable_name(module) else None
    own = sys.modules.get(str(getattr(app, "__module__", "")))
    for module in (own, sys.modules["__main__"], *list(sys.modules.values())):
        for name, value in list(vars(module).items()) if isinstance(module, ModuleType) else ():
            if value is app and (module_name := importable_name(module)):
                return f"{module_name}:{name}"
    return None


def importable_name(module: ModuleType | None) -> str | None:
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
        if module_name.endswith(".py"):
            hint = f"give the name of the module, {module_name.removesuffix('.py').replace('/', '.')}:{path}"
        else:
            hint = f"looked in {_search_path()}"
        raise Missing(f"There is no module {module_name!r} ({hint})") from None
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
    return ", ".join(dict.fromkeys(own)) or "nothing but what is installed"


def _suggestion(module: ModuleType) -> str:
    """Return the apps in a module, as the end of a sentence."""
    names = [name for name, value in vars(module).items() if hasattr(value, "asgineer_handler")]
    return f"; did you mean {' or '.join(sorted(names))}?" if names else ""


def refuse_while_importing() -> None:
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


def load_or_exit(name: str) -> Any:
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

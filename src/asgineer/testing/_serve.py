"""The child's side of a server process: `python -m asgineer.testing._serve '<json>'`.

Everything goes through `asgineer.run`, so that a test meets what a user starts.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import sys
import types
from typing import Any, cast

TARGET = "asgineer_test_app:app"


def is_handler(app: Any) -> bool:
    """Say whether `app` is a handler (takes a request), and not an ASGI app (takes three things)."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    return len(required) == 1 and required[0].kind is not inspect.Parameter.VAR_POSITIONAL


def as_asgi(app: Any) -> Any:
    """Return `app` as an ASGI app: a handler is wrapped, an app stays what it is."""
    import asgineer

    if is_handler(app):
        return cast("Any", asgineer.to_asgi(app))
    return app


def serve(app: Any, server: str, bind: str, options: dict[str, Any]) -> None:
    """Run an app that has no import string, under one that is made for it in this process."""
    module_name, _, name = TARGET.partition(":")
    module = types.ModuleType(module_name)
    setattr(module, name, as_asgi(app))
    sys.modules[module_name] = module
    run(TARGET, server, bind, options)


def run(target: str, server: str, bind: str, options: dict[str, Any]) -> None:
    """Run the server until it is told to stop."""
    import asgineer

    forget_pytest()
    asgineer.run(target, server, bind, **options)


def forget_pytest() -> None:
    """Remove the log handlers of a pytest that this process is a copy of: they hide every record."""
    for logger in (logging.getLogger(), logging.getLogger("asgineer")):
        for handler in list(logger.handlers):
            if type(handler).__module__.startswith("_pytest."):
                logger.removeHandler(handler)


def main() -> None:
    """Serve what the first argument of the command line describes."""
    job = json.loads(sys.argv[1])
    sys.path[:] = job["path"]
    module_name, _, name = job["target"].partition(":")
    app = getattr(importlib.import_module(module_name), name)
    if is_handler(app):
        serve(app, job["server"], job["bind"], job["options"])
    else:
        run(job["target"], job["server"], job["bind"], job["options"])


def end_with_parent() -> None:
    """End this process when the one that started it is gone: its standard input ends then, see `_process`."""
    from .. import _process
    from ._process import STOP_TIMEOUT

    _process.end_after(lambda: os.read(0, 1), STOP_TIMEOUT)


if __name__ == "__main__":
    end_with_parent()
    main()

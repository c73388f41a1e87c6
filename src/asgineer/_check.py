"""What `to_asgi` is given, checked when the program starts, with a word on the likely mistake."""

from __future__ import annotations

import inspect
from typing import Any


def check_handler(handler: Any) -> None:
    """Refuse what is no handler, with a word on the likely mistake."""
    name = getattr(handler, "__name__", type(handler).__name__)
    if hasattr(handler, "asgineer_handler"):
        raise TypeError(f"{name} is an ASGI app already: to_asgi() is used twice")
    if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 (is it *async*, not: is it there)
    ):
        raise TypeError(f"to_asgi() needs a coroutine function (async def), not {_name_of(handler)}")
    if not _takes_one(handler):
        raise TypeError(f"A handler takes one argument, the request: async def {name}(request)")


def _takes_one(handler: Any) -> bool:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # an object that does not tell what it takes
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _name_of(handler: Any) -> str:
    if inspect.isasyncgenfunction(handler):
        return f"the async generator {handler.__name__!r}: return one from a handler, as its body"
    if inspect.isfunction(handler):
        return f"the function {handler.__name__!r} without async"
    if inspect.iscoroutine(handler):
        handler.close()  # or Python warns about it as well
        return "a coroutine: give it the function, without ()"
    if inspect.isclass(handler):
        return f"the class {handler.__name__!r}: give it an object, {handler.__name__}()"
    return f"{type(handler).__name__}"


def check_plain(name: str, function: Any) -> None:
    if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
        raise TypeError(f"to_asgi({name}=…) takes a plain function (def, not async def)")

"""A word of advice for an exception of Python's own that beginners meet in their handler.

"'coroutine' object is not subscriptable" helps who knows already why. Texts that we raise
ourselves say what to do; here the commonest of Python's get the same. A hint is asked for
when a handler has failed, so nothing is paid for it before, and no class needs a
`__getattr__`. Found by the words that CPython 3.11 to 3.13 use: other words bring no hint.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from ._http import HttpRequest
from ._log import describe
from ._request import BaseRequest
from ._websocket import WebsocketRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

AWAIT = "forgot await?"
CALL = "forgot to call it, with ()?"

# By what stands in the text of a TypeError; the first that fits.
TYPE_HINTS: Sequence[tuple[str, str]] = [
    (r"object (method|function|builtin_function_or_method) can't be used in 'await'", CALL),
    (r"object async_generator can't be used in 'await'", "it is an async generator: use async for"),
    (r"can't be used in 'await' expression", "it isn't async: leave await out"),
    (r"'async for' requires an object with __aiter__ method, got (method|function)", CALL),
    (r"'async for' requires an object with __aiter__ method, got coroutine", AWAIT),
    (r"'async for' requires an object with __aiter__ method", "it isn't async: use for"),
    (r"'async_generator' object is not iterable", "it is an async generator: use async for"),
    (r"'(method|function|builtin_function_or_method)' object is not", CALL),
    (r"['\"]coroutine['\"]|\b(not|type|non-iterable) coroutine\b|\bcoroutine has no\b", AWAIT),
    (r"exceptions must derive from BaseException", "to answer with a status: raise asgineer.HTTPError(404)"),
]
LOOP_RUNS = r"asyncio\.run\(\) cannot be called from a running event loop|This event loop is already running"

# Names that requests of other frameworks have, and what is meant by them here.
BODY, QUERY = "await request.get_body()", "request.querydict"
SEND, RECEIVE = "await request.send(data)", "await request.receive()"
OTHER_NAMES = {
    **dict.fromkeys(("body", "content", "data", "get_data"), BODY),
    **dict.fromkeys(("args", "GET", "params", "query", "query_params"), QUERY),
    **dict.fromkeys(("POST", "files", "form"), "await request.get_form()"),
    **dict.fromkeys(("receive_bytes", "receive_str", "receive_text", "recv"), RECEIVE),
    **dict.fromkeys(("respond", "send_bytes", "send_json", "send_str", "send_text", "write"), SEND),
    **dict.fromkeys(("match_info", "path_params", "view_args"), "request.parts"),
    **dict.fromkeys(("ip", "remote", "remote_addr"), "request.client[0]"),
    **dict.fromkeys(("environ", "META"), "request.headers"),
    "content_type": 'request.headers.get("content-type")',
    "COOKIES": "request.cookies",
    "full_path": "request.url",
    "is_disconnected": "await request.sleep_while_connected(seconds), which raises DisconnectedError",
    "iter_bytes": "request.receive_iter()",
    "iter_text": "request.receive_iter()",
    "json": "await request.get_json()",
    "path_info": "request.path",
    "session": 'request.scope["session"], where a middleware around the app sets it',
    "stream": "request.iter_body()",
    "text": "(await request.get_body()).decode()",
    "user_agent": 'request.headers.get("user-agent")',
}


def hint_for(request: BaseRequest, error: BaseException) -> str:
    """Return what to do about `error`, which a handler of `request` raised; "" where nothing is known."""
    if type(error) is AttributeError:
        return _about_attribute(error)
    if type(error) is KeyError:
        return _about_key(request, error)
    text = describe(error)
    if type(error) is RuntimeError and re.search(LOOP_RUNS, text):
        return "the handler runs in an event loop already: use await"
    if type(error) is TypeError:
        return next((hint for pattern, hint in TYPE_HINTS if re.search(pattern, text)), "")
    return ""


def _about_attribute(error: AttributeError) -> str:
    if inspect.iscoroutine(error.obj):
        return AWAIT
    if inspect.ismethod(error.obj) or inspect.isfunction(error.obj):
        return CALL
    if not isinstance(error.obj, BaseRequest):
        return ""
    name = error.name or ""
    for other, what in ((HttpRequest, "an HTTP request"), (WebsocketRequest, "a websocket")):
        if hasattr(other, name) and not isinstance(error.obj, other):
            return f"only {what} has it, and this is none: request.verb tells which it is"
    return f"use {OTHER_NAMES[name]}" if name in OTHER_NAMES else ""


def _about_key(request: BaseRequest, error: KeyError) -> str:
    """Tell who asked for a header by its name in capitals."""
    name = error.args[0] if error.args else None
    if isinstance(name, str) and name != name.lower() and name.lower() in (request._headers or ()):
        return f"names of headers are in lower case here: request.headers[{name.lower()!r}]"
    return ""

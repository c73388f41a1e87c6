"""Plain functions around requests and responses, for handlers to call.

What serves files and compresses is a third of the package, and few programs use all of it: it is
loaded when it is first asked for, `from asgineer.utils import send_file`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ._cookies import make_cookie
from ._response import encode_body, normalize_response

if TYPE_CHECKING:
    from ._assets import AssetHandler, make_asset_handler
    from ._compress import compress
    from ._files import send_file
    from ._redirect import redirect

__all__ = [
    "AssetHandler",
    "compress",
    "guess_content_type_from_body",
    "make_asset_handler",
    "make_cookie",
    "normalize_response",
    "redirect",
    "send_file",
    "sleep",
]

sleep = asyncio.sleep

if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Load what is named, and keep it here."""
        module: Any
        if name in ("AssetHandler", "make_asset_handler"):
            from . import _assets as module
        elif name == "compress":
            from . import _compress as module
        elif name == "send_file":
            from . import _files as module
        elif name == "redirect":
            from . import _redirect as module
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(module, name)
        return value


def guess_content_type_from_body(body: Any) -> str:
    """Return the content type that a response with `body` gets when its headers name none.

    Raises:
        TypeError, ValueError: it can't be a body, or it is a stream, of which nothing is known yet.
    """
    content_type = encode_body(body)[1].decode()
    if not content_type:
        raise TypeError("The content type of a stream can't be told before its first chunk")
    return content_type

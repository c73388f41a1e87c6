"""Plain functions around requests and responses, for handlers to call."""

from __future__ import annotations

import asyncio
from typing import Any

from ._assets import AssetHandler, make_asset_handler
from ._compress import compress
from ._cookies import make_cookie
from ._files import send_file
from ._redirect import redirect
from ._response import encode_body, normalize_response

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


def guess_content_type_from_body(body: Any) -> str:
    """Return the content type that a response with `body` gets when its headers name none.

    Raises:
        TypeError, ValueError: it can't be a body, or it is a stream, of which nothing is known yet.
    """
    content_type = encode_body(body)[1].decode()
    if not content_type:
        raise TypeError("The content type of a stream can't be told before its first chunk")
    return content_type

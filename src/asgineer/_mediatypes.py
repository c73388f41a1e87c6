"""The name of a file → its media type, the same on every machine and Python.

What the module mimetypes lacks or has wrong stands in a table here; it is asked for the rest.
Pure: a name and a few bytes in, a value of Content-Type out; whether bytes of a type are
worth compressing is `_negotiate`'s to know.
"""

from __future__ import annotations

import posixpath

SVGZ = ".svgz"  # an SVG that is gzip by itself: it goes out as SVG with a content-encoding
SVG = "image/svg+xml"

# What the module mimetypes of one machine or another lacks or has wrong: 3.11 says
# application/javascript, Windows may say text/plain for .js, 3.11 and 3.12 know no WebP.
_WEB_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".svg": SVG,
    SVGZ: SVG,
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# mimetypes tells the type of what is inside; such a file goes out as it is, without a content-encoding.
_WRAPPED_TYPES = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


def guess_media_type(name: str) -> str | None:
    """Return the media type that the end of `name`, the last part of a path, stands for; None if unknown."""
    known = _WEB_TYPES.get(posixpath.splitext(name)[1].lower())
    if known is not None:
        return known
    import mimetypes  # not at import: it costs a millisecond and reads files

    # "./" so that a name such as "data:x" is not read as a URL.
    media_type, encoding = mimetypes.guess_type("./" + name.rpartition("/")[2])
    if encoding is not None:
        return _WRAPPED_TYPES.get(encoding, "application/octet-stream")
    return media_type


def with_charset(media_type: str, is_utf8: bool) -> str:
    """Return `media_type` with its charset, where it is text and known to be UTF-8."""
    return f"{media_type}; charset=utf-8" if is_utf8 and media_type.startswith("text/") else media_type


def is_utf8(body: bytes) -> bool:
    """Say whether `body` is UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True

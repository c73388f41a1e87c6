"""Asset sets: files that are known at start, served from memory.

All the work is done once, by `make_asset_handler`: types, compressed variants, entity tags and
the headers of every answer. A hit is a dict look-up, the choice of a variant, and a copy of its
headers. A path only ever is a key of that dict: nothing here opens a file or joins a path.
What an `Accept-Encoding` or an `If-None-Match` means is `_negotiate`'s work.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ._negotiate import IDENTITY, choose_encoding, is_compressed_media, matches_etag
from ._response import encode_body

if TYPE_CHECKING:
    from typing import Protocol

    from ._http import HttpRequest

    AssetResponse = tuple[int, dict[str, str], bytes]

    class AssetHandler(Protocol):
        """What `make_asset_handler` returns."""

        async def __call__(
            self, request: HttpRequest, path: str | Sequence[str] | None = None
        ) -> AssetResponse: ...


DEFAULT_MIN_COMPRESS_SIZE = 256  # bytes; below it the gain is smaller than one packet
MAX_COMPRESSED_SHARE = 0.9  # a variant that saves less is not worth a second cache entry

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
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# mimetypes tells the type of what is inside; we send the file as it is, without a content-encoding.
_WRAPPED_TYPES = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


class _Variant(NamedTuple):
    """One encoding of an asset, and all that is ever sent of it."""

    body: bytes
    etag: str
    headers: dict[str, str]  # of a 200; copied for each response
    headers_304: dict[str, str]


class _Asset(NamedTuple):
    variants: dict[str, _Variant]
    offers: tuple[str, ...]  # its encodings, the smallest first


def make_asset_handler(
    assets: Mapping[str, str | bytes],
    max_age: int = 0,
    min_compress_size: int = DEFAULT_MIN_COMPRESS_SIZE,
) -> AssetHandler:
    """Return a handler that serves `assets` from memory.

    The handler is called as `await assets(request, path=None)` and returns the triple
    `(status, headers, body)` with a new dict of lower-case names: 200, 304 when the client has
    it already, 404, or 405 for methods other than GET and HEAD. `path` is the key, or a
    sequence of segments that are joined with "/", as `*name` of a `match` on `request.parts`
    gives them; None means `request.path` without slashes at its start. Case doesn't matter.

    A body of at least `min_compress_size` bytes is also kept compressed with gzip, when that
    makes it smaller than nine tenths and its type is no compressed one already. Which of
    the two is sent is negotiated by the weights in `Accept-Encoding`; each has a strong ETag of its own.

    The type of an asset comes from the end of its name; without a known one `bytes` are
    `application/octet-stream`, and a `str` is HTML or plain text, by its start. Text is UTF-8, and says so.

    Args:
        assets: names (which may be "" or have no extension) to bodies; copied, so that later changes have
            no effect.
        max_age: seconds for which a cache may use an asset without asking again. Every response says
            `public, max-age=N, must-revalidate`; with 0, browsers ask each time and get a 304, which
            is what `no-cache` comes to.
        min_compress_size: bytes below which no compression is tried.

    Raises:
        TypeError: something is not of the type above.
        ValueError: two names are equal in lower case, or a number is negative.
    """
    _check_count("max_age", max_age)
    _check_count("min_compress_size", min_compress_size)
    cache_control = f"public, max-age={max_age}, must-revalidate"
    table = {
        key: _build_asset(key, body, cache_control, min_compress_size)
        for key, body in _normalize_assets(assets).items()
    }

    async def asset_handler(request: HttpRequest, path: str | Sequence[str] | None = None) -> AssetResponse:
        if request.method not in ("GET", "HEAD"):
            return _plain(405, b"Method Not Allowed", allow="GET, HEAD")
        asset = table.get(_make_key(request, path).lower())
        if asset is None:
            return _plain(404, b"Not Found")
        return _answer(asset, request.headers)

    return asset_handler


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value!r}")


def _normalize_assets(assets: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    if not isinstance(assets, Mapping):
        raise TypeError(f"assets must be a dict of names to str or bytes, not {type(assets).__name__}")
    result: dict[str, str | bytes] = {}
    for name, body in assets.items():
        if not isinstance(name, str):
            raise TypeError(f"The name of an asset must be a str, not {name!r}")
        if not isinstance(body, (str, bytes)):
            raise TypeError(f"Asset {name!r} must be str or bytes, not {type(body).__name__}")
        if name.lower() in result:
            raise ValueError(f"Two assets have the name {name.lower()!r} in lower case")
        result[name.lower()] = body
    return result


def _build_asset(key: str, content: str | bytes, cache_control: str, min_compress_size: int) -> _Asset:
    body = content.encode() if isinstance(content, str) else content
    content_type = _guess_content_type(key, content, body)
    bodies = {IDENTITY: body}
    if len(body) >= min_compress_size and not is_compressed_media(content_type):
        import gzip  # here, so that `import asgineer` costs nothing for it

        # Without a time-stamp, so that two processes have the same bytes and the same ETag.
        compressed = gzip.compress(body, compresslevel=9, mtime=0)
        if len(compressed) < MAX_COMPRESSED_SHARE * len(body):
            bodies["gzip"] = compressed
    variants = {
        encoding: _build_variant(encoding, bodies[encoding], content_type, cache_control, len(bodies) > 1)
        for encoding in sorted(bodies, key=lambda encoding: len(bodies[encoding]))
    }
    return _Asset(variants, tuple(variants))


def _build_variant(encoding: str, body: bytes, content_type: str, cache_control: str, vary: bool) -> _Variant:
    import hashlib

    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    shared = {"etag": etag, "cache-control": cache_control}
    if vary:
        shared["vary"] = "Accept-Encoding"
    headers = {"content-type": content_type, **shared}
    if encoding != IDENTITY:
        headers["content-encoding"] = encoding
    return _Variant(body, etag, headers, shared)


def _guess_content_type(key: str, content: str | bytes, body: bytes) -> str:
    media_type = _WEB_TYPES.get(posixpath.splitext(key)[1]) or _guess_media_type(key)
    if media_type is None:
        return encode_body(content)[1].decode()  # as if a handler had returned it
    if media_type.startswith("text/") and (isinstance(content, str) or _is_utf8(body)):
        return f"{media_type}; charset=utf-8"
    return media_type


def _guess_media_type(key: str) -> str | None:
    import mimetypes

    # "./" so that a name such as "data:x" is not read as a URL.
    media_type, encoding = mimetypes.guess_type("./" + key.rpartition("/")[2])
    if encoding is not None:
        return _WRAPPED_TYPES.get(encoding, "application/octet-stream")
    return media_type


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _make_key(request: HttpRequest, path: str | Sequence[str] | None) -> str:
    if path is None:
        return request.path.lstrip("/")
    return path if isinstance(path, str) else "/".join(path)


def _answer(asset: _Asset, headers: Mapping[str, str]) -> AssetResponse:
    encoding = IDENTITY
    if len(asset.offers) > 1:
        encoding = choose_encoding(headers.get("accept-encoding"), asset.offers)
    variant = asset.variants[encoding]
    known = headers.get("if-none-match")
    if known is not None and matches_etag(known, variant.etag):
        return 304, variant.headers_304.copy(), b""
    return 200, variant.headers.copy(), variant.body


def _plain(status: int, body: bytes, **headers: str) -> AssetResponse:
    return status, {"content-type": "text/plain; charset=utf-8", **headers}, body

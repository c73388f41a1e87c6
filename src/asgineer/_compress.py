"""A finished response → the same in the best encoding that the client takes.

Only what is whole, uncoded and worth it is compressed; anything else comes out as it went
in. What `Accept-Encoding` means is `_negotiate`'s work. Codecs are loaded with the first use.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, overload

from ._codecs import load_brotli, load_zstd
from ._headers import add_vary
from ._negotiate import IDENTITY, choose_encoding, is_compressed_media
from ._response import normalize_response, resolve, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._request import BaseRequest
    from ._response import Response

    Full = tuple[int, dict[str, str | list[str]], Any]

DEFAULT_MIN_SIZE = 1024  # bytes; what fits in one packet isn't sooner there when it is smaller

# Measured on 0.8 MB of JSON, CPU per MB: zstd 3 takes 4 ms (to 35 %), brotli 4 11 ms (36 %),
# gzip 6 20 ms (41 %).
ZSTD_LEVEL, BROTLI_QUALITY, GZIP_LEVEL = 3, 4, 6

NEVER = (204, 206)  # no body; a part of one, whose range counts bytes of the encoding
CODED = ("content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5")


@overload
def compress(request: BaseRequest, response: None, *, min_size: int = ...) -> None: ...
@overload
def compress(request: BaseRequest, response: Response, *, min_size: int = ...) -> Full: ...
def compress(
    request: BaseRequest, response: Response | None, *, min_size: int = DEFAULT_MIN_SIZE
) -> Full | None:
    """Return `response` with its body in the best encoding that the client of `request` takes.

        return utils.compress(request, await site(request))

    zstd, brotli (both with the extra `compress`; zstd is in Python from 3.14 on) or gzip, by the
    weights in Accept-Encoding. Streams, coded and partial bodies, types that are compressed
    already, and what says `cache-control: no-transform` are left alone. `Vary` names
    Accept-Encoding wherever the header made a difference. A strong ETag becomes weak with the
    encoding: it named other bytes (RFC 9110 section 8.8.3). HEAD gets what GET would get.

    Takes 4 (zstd) to 20 (gzip) milliseconds per MB in the event loop; call it by
    `asyncio.to_thread` for bodies of several MB. A page that shows a secret beside text
    that others choose isn't to be compressed (BREACH): the size tells of it.

    Args:
        response: any shape of a response; None, of a handler that sent by itself, stays None.
        min_size: bytes of the body below which nothing is done.

    Returns:
        (status, headers, body) with a fresh dict of lower-case names.

    Raises:
        TypeError, ValueError: the response is flawed.
        HeadersTooLarge: as for `request.headers`.
    """
    if response is None:
        return None
    if request.method == "HEAD" and _has_empty_body(response):
        return normalize_response(response)  # by a handler that knows HEAD; its headers are its own
    status, headers, data = resolve(response)
    if status == 304:
        return status, _headers_304(headers, request.headers.get("if-none-match", "")), data
    if status in NEVER or type(data) is not bytes or len(data) < min_size or not _may_change(headers):
        return status, headers, data
    add_vary(headers, "Accept-Encoding")
    encoding = choose_encoding(request.headers.get("accept-encoding"), tuple(_codecs()))
    if encoding != IDENTITY:
        smaller = _codecs()[encoding](data)
        if len(smaller) < len(data):
            _tell_encoding(headers, encoding)
            data = smaller
    return status, headers, data


def _has_empty_body(response: Response) -> bool:
    body = split(response)[2]
    return body is None or (isinstance(body, (str, bytes)) and not body)


def _may_change(headers: dict[str, str | list[str]]) -> bool:
    return (
        not any(name in headers for name in CODED)
        and not is_compressed_media(_text(headers, "content-type"))
        and "no-transform" not in _text(headers, "cache-control").lower()
    )


def _text(headers: dict[str, str | list[str]], name: str) -> str:
    """Return a header as one text, also when it is repeated."""
    value = headers.get(name, "")
    return value if isinstance(value, str) else ", ".join(value)


def _tell_encoding(headers: dict[str, str | list[str]], encoding: str) -> None:
    headers["content-encoding"] = encoding
    headers.pop("content-length", None)  # it was the size of the body as it came; the right one is added
    headers.pop("accept-ranges", None)  # ranges of what?
    etag = _text(headers, "etag")
    if etag.startswith('"'):
        headers["etag"] = f"W/{etag}"


def _headers_304(headers: dict[str, str | list[str]], known: str) -> dict[str, str | list[str]]:
    """Return what a 304 says: Vary as with 200 (RFC 9110 section 15.4.5), the tag as the client has it."""
    add_vary(headers, "Accept-Encoding")
    etag = _text(headers, "etag")
    if etag.startswith('"') and f"W/{etag}" in known:
        headers["etag"] = f"W/{etag}"
    return headers


@functools.cache
def _codecs() -> dict[str, Callable[[bytes], bytes]]:
    """Return what can be had here: the encodings and their functions, the best one first."""
    codecs: dict[str, Callable[[bytes], bytes]] = {}
    zstd = load_zstd()
    if zstd is not None:
        codecs["zstd"] = lambda data: zstd.compress(data, ZSTD_LEVEL)
    brotli = load_brotli()
    if brotli is not None:
        codecs["br"] = lambda data: brotli.compress(data, quality=BROTLI_QUALITY)
    codecs["gzip"] = _gzip
    return codecs


def _gzip(data: bytes) -> bytes:
    import gzip

    # Without a time-stamp: the same body is the same bytes.
    return gzip.compress(data, compresslevel=GZIP_LEVEL, mtime=0)

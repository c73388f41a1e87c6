"""Asset sets: files that are known at start, served from memory.

All the work is done once, by `make_asset_handler`: types, compressed variants, entity tags and
the headers of every answer (`_variants`). A hit is a dict look-up, the choice of a variant,
which is another, and a copy of its headers. A path only ever is a key of that dict: nothing
here opens a file or joins a path for a request. What headers mean is the work of
`_negotiate`, `_conditional` and `_ranges`; reading a folder that of `_folder`.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from ._codecs import ENCODINGS, best_codec
from ._conditional import NOT_MODIFIED, PRECONDITION_FAILED, check_preconditions
from ._extras import install_command
from ._folder import read_file, scan_folder
from ._negotiate import accepts_identity
from ._ranges import Range, RangeNotSatisfiable, content_range, select_range
from ._variants import IMMUTABLE, Content, build_assets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._folder import Found
    from ._http import HttpRequest
    from ._variants import Asset

    AssetResponse = tuple[int, dict[str, str | list[str]], bytes]

DEFAULT_MIN_COMPRESS_SIZE = 256  # bytes; below it the gain is smaller than one packet
DEFAULT_MAX_BYTES = 256 * 2**20  # a set that is larger was made of the wrong folder, or is for `send_file`
INDEX = "index.html"

# The header fields of a request that have a say in the answer. Most requests have none but the first three;
# with any other the answer isn't one of those that were made at start.
_DECISIVE = frozenset(
    {
        b"accept-encoding",
        b"if-none-match",
        b"if-modified-since",
        b"if-match",
        b"if-unmodified-since",
        b"range",
    }
)


def make_asset_handler(
    assets: Mapping[str, str | bytes] | os.PathLike[str],
    max_age: int = 0,
    min_compress_size: int = DEFAULT_MIN_COMPRESS_SIZE,
    *,
    encodings: Sequence[str] = ENCODINGS,
    immutable: Callable[[str], bool] | None = None,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
    fallback: str | None = None,
) -> AssetHandler:
    """Return a handler that serves `assets` from memory: see `AssetHandler` for what it answers.

    A body of at least `min_compress_size` bytes is also kept compressed with each of the
    `encodings`, at best quality, when that makes it smaller than nine tenths and its type is no
    compressed one already. brotli takes more than a second per MB, in as many threads as there are cores.

    The type of an asset comes from the end of its name; without a known one `bytes` are
    `application/octet-stream`, and a `str` is HTML or plain text, by its start. Text is UTF-8, and says so.
    An `.svgz` is sent as the SVG that it is.

    Args:
        assets: names (which may be "" or have no extension) to bodies; copied, so that later changes have
            no effect. Or a folder, as a `Path`: it is read now, with all folders in it and without
            hidden files; "index.html" is also served for the folder it is in ("", "docs/"). While debug
            or `--reload` is on, it is read again when a file changes.
        max_age: seconds for which a cache may use an asset without asking again. Every response says
            `public, max-age=N, must-revalidate`; with 0, browsers ask each time and get a 304, which
            is what `no-cache` comes to.
        min_compress_size: bytes below which no compression is tried.
        encodings: some of "zstd", "br" and "gzip"; the first two need the extra `compress` and are left
            out without it, unless they are named here.
        immutable: says for a name whether its content never changes, as those that a bundler put a hash in;
            such an asset is served for a year, as those of `url` are.
        max_bytes: of all bodies together, before compression; None for no limit.
        fallback: name of the asset that is sent where there is none, for names without a dot in their last
            part: `"index.html"` for an application that has its pages in a script.

    Raises:
        TypeError: something is not of the type above.
        ValueError: two names are equal in lower case, a number is negative, the set is larger than
            `max_bytes`, there is no asset `fallback`, or a link leads out of the folder.
        ImportError: no codec for one of the `encodings` that were named.
        OSError: the folder can't be read.
    """
    for name, value in (("max_age", max_age), ("min_compress_size", min_compress_size)):
        _check_count(name, value)
    if max_bytes is not None:
        _check_count("max_bytes", max_bytes)
    _check_encodings(encodings)
    if immutable is not None and not callable(immutable):
        raise TypeError(f"immutable must be a function of a name, not {immutable!r:.100}")
    return AssetHandler(
        assets, _Options(max_age, min_compress_size, tuple(encodings), immutable, max_bytes, fallback)
    )


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value!r}")


def _check_encodings(encodings: Sequence[str]) -> None:
    if isinstance(encodings, str):
        raise TypeError(f"encodings must be a list of str, not the str {encodings!r:.100}")
    for encoding in encodings:
        if encoding not in ENCODINGS:
            raise ValueError(f"encodings can have 'zstd', 'br' and 'gzip', not {encoding!r:.100}")
        if encodings is not ENCODINGS and best_codec(encoding) is None:
            raise ImportError(f"No codec for {encoding!r}: {install_command('compress', 'brotli zstandard')}")


class _Options(NamedTuple):
    """What `make_asset_handler` was told, checked."""

    max_age: int
    min_compress_size: int
    encodings: tuple[str, ...]
    immutable: Callable[[str], bool] | None
    max_bytes: int | None
    fallback: str | None

    def cache_control(self, name: str) -> str:
        if self.immutable is not None and self.immutable(name):
            return IMMUTABLE
        return f"public, max-age={self.max_age}, must-revalidate"

    def check_size(self, sizes: Iterable[int]) -> None:
        size = sum(sizes)
        if self.max_bytes is not None and size > self.max_bytes:
            raise ValueError(
                f"The assets have {size} bytes, more than max_bytes={self.max_bytes}; "
                "utils.send_file serves large files from a disk"
            )


class AssetHandler:
    """A set of assets, as `make_asset_handler` makes it. Called with a request it returns the response.

        return await assets(request, name)

    `name` is that of an asset, or a sequence of segments, as `*name` of a `match` on
    `request.parts` gives them; left out, it is `request.path` without slashes at its start. Case
    doesn't matter. The response is the triple `(status, headers, body)` with a new dict of lower-case names:

    - 200 in the encoding that the client prefers, by the weights in `Accept-Encoding`; of equals the
      smallest. Each has a strong ETag of its own; `Vary` is there wherever there is a choice.
    - 304 or 412 by `If-None-Match`, `If-Match` and, for files of a folder, by the two dates.
    - 206 or 416 for one range of the body as it is, which the client has to accept; `If-Range` holds.
    - 404 for a name that there isn't; 405 for other methods than GET and HEAD.

    It can be called from several event loops, and be an app by itself: `to_asgi(assets)`.
    """

    def __init__(self, assets: Mapping[str, str | bytes] | os.PathLike[str], options: _Options) -> None:
        self._options = options
        self._folder = os.fspath(assets) if isinstance(assets, os.PathLike) else None
        self._found: dict[str, Found] = {}
        self._assets: dict[str, Asset] = {}  # by names in lower case
        self._table: dict[str, Asset] = {}  # by all that a request can ask for
        self._lock = threading.Lock()
        self._watched: bool | None = None if self._folder is not None else False
        if isinstance(assets, os.PathLike):
            self._read_folder(options.encodings)
        else:
            self._take(_contents_of(assets, options), options.encodings)

    async def __call__(self, request: HttpRequest, path: str | Sequence[str] | None = None) -> AssetResponse:
        if self._watched is not False:
            await self._look(request)
        method = request.scope["method"]
        if method != "GET" and method != "HEAD":
            return _plain(405, b"Method Not Allowed", {"allow": "GET, HEAD"})
        if path is None:
            # What request.path comes to where the app isn't mounted, without two calls.
            path = (request.path if request.scope.get("root_path") else request.scope["path"]).lstrip("/")
        name = path if type(path) is str else _join(path)
        asset = None if name is None else self._table.get(name) or self._find(name)
        if asset is None:
            return _plain(404, b"Not Found")
        return _answer_quickly(asset, request) or _answer(asset, method, request.headers)

    def url(self, name: str) -> str:
        """Return `name` with a hash of the content in it, such as "main.3f8a90c1d2e4b567.js", for a URL.

        What is served by that name is kept for a year and never asked for again; when the content
        changes, so does the name. It is relative to where the handler is mounted, and percent-encoded:

            f'<script src="/assets/{assets.url("main.js")}"></script>'

        Raises:
            KeyError: there is no such asset.
        """
        asset = self._assets.get(name.lower())
        if asset is None:
            raise KeyError(f"There is no asset {name!r}")
        return quote(_hashed_name(name, asset.digest))

    def _find(self, name: str) -> Asset | None:
        """Return the asset for a name that isn't a key as it is."""
        fallback = self._options.fallback
        asset = self._table.get(name.lower())
        if asset is None and fallback is not None and "." not in name.rpartition("/")[2]:
            asset = self._table[fallback.lower()]
        return asset

    # Making the table

    def _take(
        self, contents: dict[str, Content], encodings: Iterable[str], known: Iterable[str] = ()
    ) -> None:
        """Build what has changed, and serve it from now on, with those of before that are `known`."""
        options = self._options
        assets = {name: self._assets[name] for name in known}
        assets |= build_assets(contents, encodings, options.min_compress_size)
        fallback = options.fallback
        if fallback is not None and fallback.lower() not in assets:
            raise ValueError(f"There is no asset {fallback!r} to fall back on")
        table = {_hashed_name(name, asset.digest): asset.immutable() for name, asset in assets.items()}
        if self._folder is not None:
            indexes = [name for name in assets if posixpath.basename(name) == INDEX]
            table |= {name.removesuffix(INDEX): assets[name] for name in indexes}
        self._assets, self._table = assets, table | assets

    def _read_folder(self, encodings: Iterable[str]) -> None:
        """Read what is new or has changed in the folder since the last time."""
        assert self._folder is not None
        found = scan_folder(self._folder)
        if found == self._found:
            return
        _check_names(found)
        self._options.check_size(file.size for file in found.values())
        known = [name.lower() for name, file in found.items() if self._found.get(name) == file]
        now = int(time.time())
        contents = {
            name.lower(): Content(
                read_file(file), self._options.cache_control(name), min(file.mtime_ns // 10**9, now)
            )
            for name, file in found.items()
            if name.lower() not in known
        }
        self._take(contents, encodings, known)
        self._found = found

    async def _look(self, request: HttpRequest) -> None:
        """Read the folder again where somebody works on it, which is decided at the first request."""
        if self._watched is None:
            self._watched = request._settings.is_debug() or os.environ.get("ASGINEER_RELOAD") == "1"
        if self._watched:
            await asyncio.to_thread(self._read_again)

    def _read_again(self) -> None:
        with self._lock:
            self._read_folder(())  # not compressed: nobody measures, and the next change comes soon


def _contents_of(assets: Mapping[str, str | bytes], options: _Options) -> dict[str, Content]:
    """Return what a dict has, by names in lower case."""
    if not isinstance(assets, Mapping):
        hint = "; for a folder write Path(…)" if isinstance(assets, str) else ""
        found = type(assets).__name__
        raise TypeError(f"assets must be a dict of names to str or bytes, or a Path, not {found}{hint}")
    _check_names(assets)
    for name, body in assets.items():
        if not isinstance(body, (str, bytes)):
            raise TypeError(f"Asset {name!r} must be str or bytes, not {type(body).__name__}")
    options.check_size(len(body.encode() if isinstance(body, str) else body) for body in assets.values())
    return {name.lower(): Content(body, options.cache_control(name)) for name, body in assets.items()}


def _check_names(names: Iterable[object]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"The name of an asset must be a str, not {name!r}")
        if name.lower() in seen:
            raise ValueError(f"Two assets have the name {name.lower()!r} in lower case")
        seen.add(name.lower())


def _hashed_name(name: str, digest: str) -> str:
    folder, slash, last = name.rpartition("/")
    stem, extension = posixpath.splitext(last)
    return f"{folder}{slash}{stem}{'.' if stem else ''}{digest}{extension}"


def _join(segments: Sequence[str]) -> str | None:
    """Return the key that the segments of a path stand for; None where one has a slash of its own (%2F)."""
    name = "/".join(segments)
    return name if name.count("/") == max(0, len(segments) - 1) else None


# Answering


def _answer_quickly(asset: Asset, request: HttpRequest) -> AssetResponse | None:
    """Return the answer to what nearly all requests say, without a look at their other headers; else None."""
    if request._headers is not None:  # read already, and maybe changed
        return None
    accept = known = None
    since = False
    for name, value in request.scope["headers"]:
        if name in _DECISIVE:
            if name == b"accept-encoding" and accept is None:
                accept = value
            elif name == b"if-none-match" and known is None:
                known = value
            elif name == b"if-modified-since":
                since = True
            else:
                return None
    variant = asset.choices.get(accept) or asset.choose_and_keep(accept)
    if known == variant.tag:
        return variant.not_modified.response()
    return None if since or known is not None else variant.ok.response()


def _answer(asset: Asset, method: str, headers: Mapping[str, str]) -> AssetResponse:
    """Return the answer by all that RFC 9110 has to say."""
    now = time.time()
    accept = headers.get("accept-encoding")
    whole = asset.identity
    part: Range | RangeNotSatisfiable | None = None
    if "range" in headers and accepts_identity(accept):
        try:
            part = select_range(method, headers, len(whole.body), whole.etag, asset.modified, now)
        except RangeNotSatisfiable as error:
            part = error
    variant = asset.choose(accept) if part is None else whole
    outcome = check_preconditions(headers, variant.etag, asset.modified, now)
    if outcome == NOT_MODIFIED:
        return variant.not_modified.response()
    if outcome == PRECONDITION_FAILED:
        return _plain(412, b"Precondition Failed")
    if part is None:
        return variant.ok.response()
    if isinstance(part, RangeNotSatisfiable):
        return _plain(416, b"Range Not Satisfiable", {"content-range": part.content_range})
    partial: dict[str, str | list[str]] = {
        **whole.ok.headers,
        "content-range": content_range(part, len(whole.body)),
    }
    return 206, partial, whole.body[part.start : part.stop]


def _plain(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> AssetResponse:
    return status, {"content-type": "text/plain; charset=utf-8", **(headers or {})}, body

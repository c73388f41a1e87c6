"""One asset → what is ever sent of it, made once: its encodings, entity tags, and the headers of each answer.

Compressing takes most of the time of a start, so it is done by threads: the codecs let go of
the interpreter's lock. Pure but for that. How a request finds an asset is `_assets`' work.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ._codecs import best_codec
from ._conditional import format_http_date
from ._mediatypes import SVGZ, guess_media_type, is_utf8, with_charset
from ._negotiate import IDENTITY, choose_encoding, is_compressed_media
from ._response import Rendered, encode_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_COMPRESSED_SHARE = 0.9  # a variant that saves less is not worth a second cache entry
MAX_CHOICES = 16  # values of Accept-Encoding that an asset keeps its answer to: browsers in use send 6
MAX_KEPT_VALUE = 128  # bytes of such a value; so at most 2 KiB an asset, whatever clients send
IMMUTABLE = "public, max-age=31536000, immutable"  # RFC 8246; a year, which clients take for "for ever"
IN_304 = ("etag", "cache-control", "vary")  # what a 304 repeats of a 200, RFC 9110 section 15.4.5
URL_DIGITS = 16  # of the 64 of a SHA-256: 64 bits tell all states that a file will ever have from each other


class Content(NamedTuple):
    """What an asset is made of."""

    body: str | bytes
    cache_control: str
    modified: int | None = None  # seconds since 1970, where that is known


class Variant:
    """One encoding of an asset, and all that is ever sent of it."""

    __slots__ = ("body", "etag", "not_modified", "ok", "tag")

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self.body = body
        self.etag = headers["etag"]
        self.tag = self.etag.encode()
        self.ok = Rendered(200, headers, body)
        self.not_modified = Rendered(304, {name: headers[name] for name in IN_304 if name in headers}, b"")

    def immutable(self) -> Variant:
        """Return the same, as it is sent by a name that has its hash."""
        return Variant(self.body, {**self.ok.headers, "cache-control": IMMUTABLE})


class Asset:
    """The variants of an asset, and which client gets which.

    Attributes:
        modified: when it changed last, in seconds since 1970, where that is known.
        digest: names this content, and no other.
        choices: the variant for a raw `Accept-Encoding`, for the values that were met already.
    """

    __slots__ = ("_offers", "choices", "digest", "modified", "variants")

    def __init__(self, variants: dict[str, Variant], digest: str, modified: int | None) -> None:
        self.variants = variants  # the smallest first: of equal weights the first is chosen
        self.digest = digest
        self.modified = modified
        self.choices: dict[bytes | None, Variant] = {}
        self._offers = tuple(variants)

    def immutable(self) -> Asset:
        """Return the same, as it is sent by a name that has its hash."""
        variants = {encoding: variant.immutable() for encoding, variant in self.variants.items()}
        return Asset(variants, self.digest, self.modified)

    @property
    def identity(self) -> Variant:
        return self.variants[IDENTITY]

    def choose(self, accept: str | None) -> Variant:
        return self.variants[choose_encoding(accept, self._offers)]

    def choose_and_keep(self, accept: bytes | None) -> Variant:
        """Return the variant for a raw `Accept-Encoding`, and find it in `choices` the next time."""
        variant = self.choose(None if accept is None else accept.decode("latin-1"))
        if len(self.choices) < MAX_CHOICES and len(accept or b"") <= MAX_KEPT_VALUE:
            self.choices[accept] = variant
        return variant


def build_assets(
    contents: Mapping[str, Content], encodings: Iterable[str], min_compress_size: int
) -> dict[str, Asset]:
    """Return the assets of `contents` by their names.

    Args:
        contents: names in lower case to what they stand for.
        encodings: which variants to try, beside the body as it is; those without a codec are left out.
        min_compress_size: bytes below which none is tried.
    """
    codecs = {name: codec for name in encodings if (codec := best_codec(name)) is not None}
    parts = {name: _split(name, content.body) for name, content in contents.items()}
    jobs = [
        (codec, encoding, name)
        for name, (bodies, media_type) in parts.items()
        for encoding, codec in codecs.items()
        if encoding not in bodies
        and len(bodies[IDENTITY]) >= min_compress_size
        and not is_compressed_media(media_type)
    ]
    for (_, encoding, name), smaller in zip(jobs, _run(jobs, parts), strict=True):
        bodies = parts[name][0]
        if len(smaller) < MAX_COMPRESSED_SHARE * len(bodies[IDENTITY]):
            bodies[encoding] = smaller
    return {name: _build(*parts[name], content) for name, content in contents.items()}


Parts = tuple[dict[str, bytes], str]  # bodies by their encodings, and the content type
Job = tuple["Callable[[bytes], bytes]", str, str]  # a codec, its encoding, the name of an asset


def _run(jobs: list[Job], parts: Mapping[str, Parts]) -> Iterable[bytes]:
    """Do the jobs, in threads where there are several; the results are in their order."""

    def work(job: Job) -> bytes:
        codec, _, name = job
        return codec(parts[name][0][IDENTITY])

    if len(jobs) < 2:
        return [work(job) for job in jobs]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count() or 1, "asgineer-compress") as pool:
        return list(pool.map(work, jobs))


def _split(name: str, content: str | bytes) -> Parts:
    """Return the bodies that there are already, and the content type."""
    body = content.encode() if isinstance(content, str) else content
    media_type = guess_media_type(name)
    if media_type is None:
        return {IDENTITY: body}, encode_body(content)[1].decode()  # as if a handler had returned it
    if name.endswith(SVGZ):
        return _split_svgz(body, media_type)
    is_text = media_type.startswith("text/") and (isinstance(content, str) or is_utf8(body))
    return {IDENTITY: body}, with_charset(media_type, is_text)


def _split_svgz(body: bytes, media_type: str) -> Parts:
    """Take a compressed SVG for what it is: two encodings of one picture."""
    import gzip  # here, as hashlib below, so that `import asgineer` costs nothing for it
    import zlib

    try:
        return {IDENTITY: gzip.decompress(body), "gzip": body}, media_type
    except (OSError, EOFError, zlib.error):
        return {IDENTITY: body}, "application/octet-stream"


def _build(bodies: dict[str, bytes], content_type: str, content: Content) -> Asset:
    shared = {"content-type": content_type, "cache-control": content.cache_control}
    if content.modified is not None:
        shared["last-modified"] = format_http_date(content.modified)
    if len(bodies) > 1:
        shared["vary"] = "Accept-Encoding"
    variants: dict[str, Variant] = {}
    for encoding, body in sorted(bodies.items(), key=lambda item: len(item[1])):
        coding = {"accept-ranges": "bytes"} if encoding == IDENTITY else {"content-encoding": encoding}
        variants[encoding] = Variant(body, {**shared, **coding, "etag": _etag_of(body)})
    return Asset(variants, variants[IDENTITY].etag[1 : 1 + URL_DIGITS], content.modified)


def _etag_of(body: bytes) -> str:
    import hashlib

    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'

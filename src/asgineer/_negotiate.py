"""Which encoding a client is sent: Accept-Encoding, RFC 9110 section 12.5.3.

Pure: header values in, a choice out. Nobody here knows a request, a body or a file. A part of
a header that is not understood is skipped, as the RFC asks, and never an error that the client
hears of. Every function is linear in the length of what it reads.
"""

import re
from functools import lru_cache

IDENTITY = "identity"

MAX_CACHED_HEADER = 128  # characters; browsers send 23 to 40, a longer value is parsed each time
MAX_CACHED_CHOICES = 256  # 256 keys of 128 characters: 64 KiB at most, whatever clients send

_IMPLIED_IDENTITY = 0.0001  # below the least weight that can be written (0.001), above "refused"

# coding [ OWS ";" OWS "q=" qvalue ]; no two parts can match the same character, so no backtracking.
_CODING = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

_COMPRESSED_KINDS = ("image/", "audio/", "video/")
_UNCOMPRESSED_MEDIA = frozenset(
    {
        "audio/midi",
        "audio/wav",
        "audio/x-wav",
        "image/bmp",
        "image/svg+xml",
        "image/vnd.microsoft.icon",
        "image/x-icon",
        "image/x-ms-bmp",
    }
)
_COMPRESSED_TYPES = frozenset(
    {
        "application/gzip",
        "application/java-archive",
        "application/vnd.rar",
        "application/x-7z-compressed",
        "application/x-brotli",
        "application/x-bzip2",
        "application/x-compress",
        "application/x-xz",
        "application/zip",
        "application/zstd",
        "font/woff",
        "font/woff2",
    }
)


def parse_accept_encoding(value: str) -> dict[str, float]:
    """Return the codings that an `Accept-Encoding` names, in lower case, each with its weight from 0 to 1.

    An item that is malformed (`br;q=2`, `gzip;level=1`) is skipped. Of a coding that is named
    twice the first counts. `x-gzip` is `gzip` (RFC 9110 section 8.4.1.3).
    """
    weights: dict[str, float] = {}
    for item in value.split(","):
        match = _CODING.fullmatch(item)
        if match is not None:
            coding = match[1].translate(_ASCII_LOWER)
            weights.setdefault("gzip" if coding == "x-gzip" else coding, float(match[2] or 1))
    return weights


def choose_encoding(accept: str | None, offers: tuple[str, ...]) -> str:
    """Return which of `offers` to send to a client whose `Accept-Encoding` is `accept`.

    The greatest weight wins; of equal ones the one that is offered first, so offers come in
    order of size. `identity` always stands for itself, listed or not: it is acceptable unless
    refused, and it loses against any coding that the client names, unless it is named itself.

    Without the header (None) the answer is `identity`, although the RFC would allow every
    coding: a client that says nothing is a script that may decode nothing. When everything
    is refused (`identity;q=0`) the answer is `identity` too: a page that a client may
    be unable to read is of more use than a 406, and the RFC leaves the choice (section 15.5.7).
    """
    if accept is None:
        return IDENTITY
    if len(accept) > MAX_CACHED_HEADER:
        return _choose(accept, offers)
    return _choose_cached(accept, offers)


def _choose(accept: str, offers: tuple[str, ...]) -> str:
    weights = parse_accept_encoding(accept)
    rest = weights.get("*", 0.0)
    best, best_weight = IDENTITY, 0.0
    for offer in offers if IDENTITY in offers else (*offers, IDENTITY):
        if offer == IDENTITY:
            weight = weights.get(IDENTITY, weights.get("*", _IMPLIED_IDENTITY))
        else:
            weight = weights.get(offer, rest)
        if weight > best_weight:
            best, best_weight = offer, weight
    return best


_choose_cached = lru_cache(MAX_CACHED_CHOICES)(_choose)


def accepts_identity(accept: str | None) -> bool:
    """Return whether an `Accept-Encoding` of `accept` takes a body as it is, which a part of one needs."""
    weights = parse_accept_encoding(accept or "")
    return weights.get(IDENTITY, weights.get("*", 1.0)) > 0


def is_compressed_media(content_type: str) -> bool:
    """Return whether bytes of this type are compressed already, so that gzip only costs time.

    PDF, fonts but WOFF, and WebAssembly are not among them: whether those gain is seen by trying.
    """
    media_type = content_type.partition(";")[0].strip(" \t").translate(_ASCII_LOWER)
    if media_type in _UNCOMPRESSED_MEDIA:
        return False
    return (
        media_type.startswith(_COMPRESSED_KINDS)
        or media_type in _COMPRESSED_TYPES
        or media_type.endswith("+zip")
    )

"""The encodings that bodies can be sent in, each with its codec where that is installed.

gzip is Python's own; zstd is from 3.14 on, and before it from the package zstandard; brotli
from the package of that name: both come with the extra `compress`. Codecs are loaded with
the first use. Which encoding a client gets is `_negotiate`'s work.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Codec = Callable[[bytes], bytes]

ENCODINGS = ("zstd", "br", "gzip")

# Best means what a client has to decode in the memory that browsers have for it: zstd's levels above 19
# may ask for a window of more than 8 MiB, which RFC 9659 section 3 forbids.
BEST_ZSTD, BEST_BROTLI, BEST_GZIP = 19, 11, 9
# Brotli's quality 11 takes 1.3 s of CPU per MB, 9 a twentieth of that for a tenth more bytes: with several
# MB a start is not to take minutes.
LARGE, LARGE_BROTLI = 4 * 2**20, 9


def load_zstd() -> Any:
    """Return a module with zstd's `compress(data, level)`, None where there is none."""
    return _load("compression.zstd") or _load("zstandard")


def load_brotli() -> Any:
    """Return the module brotli, None where it isn't installed."""
    return _load("brotli")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def best_codec(encoding: str) -> Codec | None:
    """Return what makes the smallest body of `encoding`; None where that isn't installed.

    For bodies that are compressed once. The same body gives the same bytes in every process.
    """
    if encoding == "gzip":
        import gzip

        return lambda data: gzip.compress(data, BEST_GZIP, mtime=0)  # 0: without a time-stamp
    module = load_zstd() if encoding == "zstd" else load_brotli()
    if module is None:
        return None
    if encoding == "zstd":
        return lambda data: bytes(module.compress(data, BEST_ZSTD))
    return lambda data: bytes(
        module.compress(data, quality=BEST_BROTLI if len(data) < LARGE else LARGE_BROTLI)
    )

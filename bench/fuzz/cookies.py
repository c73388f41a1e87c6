"""Fuzz the cookie parser: `python bench/fuzz/cookies.py -max_total_time=60 bench/fuzz/corpus/cookies`.

Needs atheris, which is in no extra of ours. tests/unit/test_cookies.py holds the corpus to the same.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from asgineer import HeadersTooLarge, Limits
from asgineer._cookies import parse_cookies

OFF = Limits(cookies=None, cookie_pairs=None)
SMALL = Limits(cookies=64, cookie_pairs=4)


def one_input(data: bytes) -> None:
    """Parse `data` as a Cookie header; raise where the outcome isn't one that is promised."""
    header = data.decode("latin-1")
    cookies = parse_cookies(header, OFF)
    for name, value in cookies.items():
        if not name or name != name.strip(" \t") or set(";=") & set(name) or ";" in value:
            raise RuntimeError(f"{name!r}={value!r}")
    again = parse_cookies("; ".join([f"{name}={value}" for name, value in cookies.items()]), OFF)
    if again != cookies:
        raise RuntimeError(f"{cookies!r} came back as {again!r}")
    try:
        if parse_cookies(header, SMALL) != cookies:
            raise RuntimeError("limits changed the outcome")
    except HeadersTooLarge:
        if len(header) <= 64 and header.count(";") < 4:
            raise RuntimeError("refused below the limits") from None


def main() -> None:
    """Fuzz until told to stop."""
    fuzzer: Any = importlib.import_module("atheris")
    fuzzer.instrument_func(parse_cookies)
    fuzzer.Setup(sys.argv, one_input)
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()

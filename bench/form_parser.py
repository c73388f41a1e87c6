"""What the parser of multipart forms costs, and whether twice the body costs twice as much.

Each row is a body that is meant to be expensive, decoded in pieces of 64 KiB, and one in
pieces of one byte. The figure is the CPU time of the lowest of the rounds, for a body of n and
of 2n bytes; a parser whose time grows with the square of the size has a ratio of 4.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, NoReturn

from _report import parse_arguments, show

from asgineer import BadRequest, Limits
from asgineer._multipart import MultipartDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
GOAL = 2.3
MEBI = 2**20
LIMITS = Limits(form_fields=None, form_files=None)
BOUNDARY = b"x" * 70

HEAD = b'--%s\r\nContent-Disposition: form-data; name="a"\r\n\r\n' % BOUNDARY
END = b"\r\n--%s--\r\n" % BOUNDARY

ROWS: list[tuple[str, int, int, Callable[[int], bytes]]] = [
    ("a file", 8 * MEBI, 65_536, lambda n: HEAD + b"a" * n + END),
    ("small fields", MEBI // 2, 65_536, lambda n: (HEAD + b"value\r\n") * (n // 130) + END[2:]),
    ("preamble of line ends", 8 * MEBI, 65_536, lambda n: b"\r\n" * (n // 2) + HEAD + END),
    ("epilogue of line ends", 8 * MEBI, 65_536, lambda n: HEAD + END + b"\r\n" * (n // 2)),
    ("CR and a long line", 8 * MEBI, 65_536, lambda n: HEAD + b"\r" + b"a" * n + END),
    ("CR alone", 8 * MEBI, 65_536, lambda n: HEAD + b"\r" * n + END),
    ("near misses", 8 * MEBI, 65_536, lambda n: HEAD + (b"\r\n--" + BOUNDARY[:-1] + b"y") * (n // 74) + END),
    ("x, as in the boundary", 8 * MEBI, 65_536, lambda n: HEAD + b"x" * n + END),
    ("one header of 8 KiB a part", 4 * MEBI, 65_536, lambda n: part_of_headers(1) * (n // 8000) + END[2:]),
    ("16 headers a part", 4 * MEBI, 65_536, lambda n: part_of_headers(15) * (n // 8000) + END[2:]),
    ("pieces of one byte", MEBI // 4, 1, lambda n: HEAD + b"\r\n-" * (n // 3) + END),
]


def part_of_headers(count: int) -> bytes:
    more = b"".join(b"X-%d: %s\r\n" % (number, b"y" * (7800 // count)) for number in range(count))
    return HEAD[:-2] + more + b"\r\n\r\n"


def time_of(body: bytes, size: int) -> float:
    """Return the milliseconds of CPU of decoding `body` in pieces of that size."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    gc.collect()
    start = time.process_time()
    decoder = MultipartDecoder(BOUNDARY, LIMITS, refuse)
    for piece in pieces:
        for _ in decoder.feed(piece):
            pass
    decoder.finish()
    return (time.process_time() - start) * 1e3


def refuse(text: str) -> NoReturn:
    raise BadRequest(text)


def measure() -> str:
    lines = [
        f"ms of CPU, lowest of {ROUNDS} rounds; goal: ratio ≤ {GOAL}",
        f"{'':28} {'bytes':>9} {'n':>8} {'2n':>8} {'ratio':>6} {'MB/s':>7}",
    ]
    for name, n, size, make in ROWS:
        bodies = make(n), make(2 * n)
        once, twice = (
            min(times)
            for times in zip(*[[time_of(body, size) for body in bodies] for _ in range(ROUNDS)], strict=True)
        )
        lines.append(
            f"{name:28} {len(bodies[0]):9} {once:8.2f} {twice:8.2f} {twice / once:6.2f}"
            f" {len(bodies[1]) / twice / 1e3:7.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    show("form_parser", __doc__.strip(), measure(), record=arguments.record)

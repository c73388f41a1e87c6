"""Channels at random, for minutes: publishers, subscribers, slow readers, connections that are cut.

Each engine that is here gets its part of the time, run after run with another seed; two buses stand for two
processes, and a proxy cuts their connections. Each subscriber's story is held against what was
published (`tests/channels/stress.py`). Lost and not told, twice or out of order ends with 1, and the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from _report import show

from tests.channels.nats_server import BINARY as NATS
from tests.channels.nats_server import NatsServer
from tests.channels.proxy import Proxy
from tests.channels.redis_server import PRESENT, RedisServer
from tests.channels.stress import Plan, run_stress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

COLUMNS = ("published", "not published", "delivered", "joined", "resets", "cuts", "refused")
MEMORY = Plan(publishes=20_000, channels=60, subscribers=300)
REMOTE = Plan(publishes=6000, channels=60, subscribers=200, cuts=6)


def engines() -> dict[str, AbstractContextManager[NatsServer | RedisServer | None]]:
    """Return what is here of the engines, by name."""
    found: dict[str, AbstractContextManager[NatsServer | RedisServer | None]] = {
        "memory": contextlib.nullcontext()
    }
    found |= {name: RedisServer(name) for name in PRESENT}
    return found | ({"nats": NatsServer()} if NATS is not None else {})


async def run_one(url: str | None, seed: int) -> Counter[str]:
    if url is None:
        return await run_stress(None, MEMORY, seed)
    parts = urlsplit(url)
    assert parts.port is not None
    async with Proxy(parts.port) as proxy:
        return await run_stress(f"{parts.scheme}://127.0.0.1:{proxy.port}", REMOTE, seed, proxy.cut)


def run_for(seconds: float, url: str | None, seed: int) -> tuple[int, Counter[str]]:
    """Run with one seed after the other until the time is over; return how many runs, and what happened."""
    runs, counts, until = 0, Counter[str](), time.monotonic() + seconds
    before = len(os.listdir("/proc/self/fd"))
    while not runs or time.monotonic() < until:
        try:
            counts += asyncio.run(run_one(url, seed + runs))
        except BaseException:
            print(f"seed {seed + runs}", file=sys.stderr)
            raise
        runs += 1
    if len(os.listdir("/proc/self/fd")) > before:
        raise AssertionError("file descriptors were left")
    return runs, counts


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    parser.add_argument("--minutes", type=float, default=1.0, help="for all engines together")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run")
    arguments = parser.parse_args()
    logging.getLogger("asgineer").setLevel(logging.ERROR)  # a cut connection is what it is about
    here = engines()
    lines = ["".join([f"{'':8} {'runs':>5}", *[f"{name:>15}" for name in COLUMNS], f"{'flaws':>7}"])]
    for name, server in here.items():
        with server as running:
            url = None if running is None else running.url
            runs, counts = run_for(arguments.minutes * 60 / len(here), url, arguments.seed)
        lines.append("".join([f"{name:8} {runs:5}", *[f"{counts[key]:15}" for key in COLUMNS], f"{0:7}"]))
        print(lines[-1], file=sys.stderr)
    lines.append(f"({arguments.minutes:g} minutes, seeds from {arguments.seed})")
    show("stress", __doc__.strip(), "\n".join(lines), record=arguments.record)


if __name__ == "__main__":
    main()

"""One process of `channels.py`, run by the interpreter of the peers' environment.

It makes one system and does what it is told, a JSON object a line on stdin, and answers each by
one on stdout: listen, begin, publish, end, figures. Every subscriber checks the number of every
message and takes its latency, from the time at which it was due: a timetable, which a publisher that
falls behind doesn't shift. Clocks of processes on one machine agree (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from array import array
from typing import Any

from _channels_systems import System, make

TEXT = "The quick brown fox jumps over the lazy dog, and over the slow one"
NUMBER, TIME = slice(0, 9), slice(10, 27)  # where they stand in a message
JOIN = 60.0  # seconds at most until all have subscribed
PATIENCE = 120.0  # seconds for one order
DRAIN = 5.0  # seconds at most until what was published has arrived


class Counts:
    """What came to all subscribers since `begin`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.received = self.lost = self.twice = 0
        self.latencies = array("d")
        self.cpu = time.process_time()


class Subscriber:
    """One of them; the numbers of its channel go on from 1 at each `begin`."""

    __slots__ = ("counts", "last")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.last = 0

    def take(self, data: str) -> None:
        counts = self.counts
        if not data:  # a reset
            counts.lost += 1
            return
        number = int(data[NUMBER])
        counts.latencies.append(time.monotonic() - float(data[TIME]))
        counts.received += 1
        if number == self.last + 1:
            self.last = number
        elif number <= self.last:
            counts.twice += 1
        else:
            counts.lost += number - self.last - 1
            self.last = number


class Worker:
    """The process: a system, its subscribers, and what they count."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._counts = Counts()
        self._subscribers: list[Subscriber] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self, channels: int, each: int) -> dict[str, Any]:
        """Subscribe `each` times to each of so many channels."""
        start, memory = time.monotonic(), resident()
        waiting = channels * each
        done = asyncio.Event()

        def ready() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                done.set()

        for index in range(channels):
            for _ in range(each):
                subscriber = Subscriber(self._counts)
                self._subscribers.append(subscriber)
                listening = self._system.listen(f"room{index}", ready, subscriber.take)
                self._tasks.append(asyncio.create_task(listening))
        waiter = asyncio.create_task(done.wait())
        await asyncio.wait([waiter, *self._tasks], timeout=JOIN, return_when=asyncio.FIRST_COMPLETED)
        if not done.is_set():
            raise RuntimeError(str([task.exception() for task in self._tasks if task.done()][:1]))
        took = time.monotonic() - start
        return {"seconds": took, "memory": (resident() - memory) / (channels * each)}

    async def begin(self) -> dict[str, Any]:
        """Forget what was counted; the next message of each channel is number 1."""
        for subscriber in self._subscribers:
            subscriber.last = 0
        gc.collect()
        self._counts.begin()
        return {}

    async def publish(self, rate: float, seconds: float, channels: int, calm: bool = False) -> dict[str, Any]:
        """Publish by the timetable, to each of the channels in turn; give up when it is hopelessly behind.

        With `calm` latency counts from when it really went out: timers are a millisecond late.
        """
        planned = max(int(rate * seconds), 1)
        cpu, start = time.process_time(), time.monotonic()
        number = 0
        while number < planned:
            due = start + number / rate
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
                if calm:
                    due = time.monotonic()
            elif now > start + seconds * 1.5 + 0.5:
                break
            elif not self._system.yields:
                await asyncio.sleep(0)
            index, turn = number % channels, number // channels + 1
            await self._system.publish(f"room{index}", f"{turn:9d} {due:017.6f} {TEXT}")
            number += 1
        took = time.monotonic() - start
        used = time.process_time() - cpu
        return {"published": number, "planned": planned, "seconds": took, "cpu": used}

    async def end(self, expected: int) -> dict[str, Any]:
        """Wait until so many were received, or nothing more comes; return what was."""
        counts = self._counts
        deadline = time.monotonic() + DRAIN
        before = -1
        while counts.received < expected and time.monotonic() < deadline:
            if counts.received == before and time.monotonic() > deadline - DRAIN + 1.0:
                break
            before = counts.received
            await asyncio.sleep(0.05)
        cpu = time.process_time() - counts.cpu
        late = sorted(counts.latencies) or [float("inf")]
        return {
            "received": counts.received,
            "lost": expected - counts.received,
            "twice": counts.twice,
            "p50": late[len(late) // 2] * 1e3,
            "p99": late[int(len(late) * 0.99)] * 1e3,
            "cpu": cpu,
        }

    async def wait(self, seconds: float) -> dict[str, Any]:
        """Do nothing; return the CPU it took."""
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        return {"cpu": time.process_time() - cpu}

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        do = order.pop("do")
        found: dict[str, Any] = await getattr(self, do)(**order)
        return found

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._system.stop()


def resident() -> int:
    """Return the bytes of memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def main() -> None:
    name, url, cores = sys.argv[1:4]
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    system = make(name, url or None)
    await system.start()
    worker = Worker(system)
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        async with asyncio.timeout(PATIENCE):
            print(json.dumps(await worker.obey(json.loads(line))), flush=True)
    async with asyncio.timeout(PATIENCE):
        await worker.stop()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())

"""The engines that are here, each with a real server behind it, and buses on them.

A test that takes `engine` runs once for each entry of ENGINES. Whoever adds an engine adds a line:
its name, and a context manager that starts what it needs and gives the URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from asgineer import Bus, Channel

from .nats_server import BINARY as NATS
from .nats_server import NatsServer
from .redis_server import PRESENT, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

PATIENCE = 30.0  # seconds for one test


def _redis(name: str) -> Callable[[], AbstractContextManager[str | None]]:
    @contextlib.contextmanager
    def start() -> Generator[str | None]:
        with RedisServer(name) as server:
            yield server.url

    return start


@contextlib.contextmanager
def _nats() -> Generator[str | None]:
    with NatsServer() as server:
        yield server.url


#: What is here of the engines: name → a context manager that gives the URL.
ENGINES: dict[str, Callable[[], AbstractContextManager[str | None]]] = {
    "memory": contextlib.nullcontext,
    **{name: _redis(name) for name in PRESENT},
    **({"nats": _nats} if NATS is not None else {}),
}


class Engine(NamedTuple):
    """An engine that runs."""

    name: str
    url: str | None


@pytest.fixture(scope="session", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ENGINES[request.param]() as url:
        yield Engine(request.param, url)


class World:
    """One bus, perhaps a second one as another process would have it, and channels nobody else has."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.bus = Bus(url)
        self.other = self.bus if url is None else Bus(url)
        self._tag = uuid.uuid4().hex[:8]

    def channel(self, name: str = "room", **bounds: Any) -> Channel:
        return self.bus.channel(f"{name}/{self._tag}", **bounds)

    def same(self, channel: Channel) -> Channel:
        """Return the channel as another process has it."""
        return self.other.channel(channel.name, history=channel.history, ttl=channel.ttl)


@pytest.fixture
def world(engine: Engine) -> World:
    """Buses; the loop that runs the test closes them."""
    return World(engine.url)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function; nothing of it is left behind."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    world = arguments.get("world")
    run(pyfuncitem.obj(**arguments), world if isinstance(world, World) else None)
    return True


def run(test: Any, world: World | None = None) -> None:
    """Run a test in a loop of its own; no task and no file descriptor of the bus is left behind."""

    async def main() -> None:
        before = open_files()
        async with asyncio.timeout(PATIENCE):
            try:
                await test
            finally:
                if world is not None:
                    await world.bus.close()
                    await world.other.close()
        for _ in range(3):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        if world is not None:
            assert open_files() == before

    asyncio.run(main())


def open_files() -> int:
    """Return how many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))

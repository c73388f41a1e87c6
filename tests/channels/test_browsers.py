"""Browsers on two servers with one bus: what they are told when they are cut, or their server is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgineer.testing._process import ServerProcess, free_port

from .browsers import HOST, Client, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Engine

ROOT = Path(__file__).parents[2]
BROWSERS = 20
RATE = 200  # messages per second


@pytest.fixture
def servers(engine: Engine) -> Iterator[list[ServerProcess]]:
    """Two processes of the application that `bench/faults.py` has."""
    if engine.url is None:
        pytest.skip("memory is in one process")
    path = f"{ROOT / 'bench'}{os.pathsep}{ROOT / 'src'}"
    env = {"FAULTS_APP": "asgineer", "FAULTS_URL": engine.url, "PYTHONPATH": path}
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", "_faults_apps:app", "--port", str(port)]
            server = ServerProcess.command([*command, "--log-level", "error"], (HOST, port), env=env)
            stack.callback(server.stop)
            found.append(server)
        for server in found:
            server.wait_until_ready()
        yield found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - twenty clients tell
            await asyncio.sleep(0.01)


@pytest.mark.server
async def test_browsers_that_are_cut_and_a_server_that_is_killed(servers: list[ServerProcess]) -> None:
    ports = [int(server.address[1]) for server in servers]
    clients = [Client(ports, number) for number in range(BROWSERS)]
    publisher = Publisher(ports[0], RATE)

    def all_heard_more() -> Callable[[], bool]:
        number = publisher.published + 20
        return lambda: all(client.watch.last >= number for client in clients)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        publishing = group.create_task(publisher.run())
        await until(all_heard_more())
        for client in clients:
            client.cut()
        await until(all_heard_more())
        os.kill(servers[1].pid, signal.SIGKILL)
        await until(all_heard_more())
        publishing.cancel()
        await until(lambda: all(client.watch.last >= publisher.published for client in clients))
        for task in tasks:
            task.cancel()
    for client in clients:
        client.watch.end(client.watch.last)
        watch = client.watch
        assert (watch.lost, watch.twice, watch.disordered, watch.resets) == (0, 0, 0, 0)
        assert client.connections >= 2

"""Runs `async` tests in a loop of their own, and hands out the fake clock."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from asgineer.testing._fakeclock import FakeClock, fake_clock

from .turns import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function: it leaves no task behind, and ends in time."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """The time of the test, which moves by `advance` alone."""
    with fake_clock() as fake:
        yield fake

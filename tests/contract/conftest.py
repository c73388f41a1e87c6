"""Runs every case on every set-up, and expects the failures that the table names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.contract.differences import DIFFERENCES, UNSAFE
from tests.contract.harness import SETUPS, Servers, marks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.harness import Server

PARAMS = [pytest.param(name, id=name, marks=marks_of(name)) for name in SETUPS]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Every server of this test run."""
    running = Servers()
    yield running
    running.stop()


@pytest.fixture(params=PARAMS)
def setup(request: pytest.FixtureRequest) -> str:
    """The name of the set-up that a case runs on."""
    name: str = request.param
    return name


@pytest.fixture
def server(servers: Servers, setup: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server of the set-up, its log marked at the start of the test."""
    running = servers.get(setup)
    running.begin_test()
    if request.node.get_closest_marker("xfail"):
        running.be_impatient()
    yield running
    running.end_test()


def case_of(item: pytest.Item, setup: str) -> str:
    """Return the name of a test without its set-up: `test_a[x-daphne]` is `test_a[x]`."""
    name, _, parameters = item.name.partition("[")
    rest = re.sub(rf"(^|-){re.escape(setup)}($|-)", "", parameters.removesuffix("]"))
    return f"{name}[{rest}]" if rest else name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each case that differs on its set-up."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        setup = parameters.params.get("setup") if parameters else None
        if setup is None:
            continue
        case = case_of(item, setup)
        for key in (case, case.partition("[")[0]):
            if reason := DIFFERENCES.get((key, setup)):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=(key, setup) not in UNSAFE))
                break

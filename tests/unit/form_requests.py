"""Requests with a form as their body, and the fixture that looks for what they left behind."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import HttpRequest, Limits, to_asgi

from .asgi import converse
from .asking import ask
from .form_corpus import TYPE
from .turns import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import httpx2

    Work = Callable[[HttpRequest], Awaitable[Any]]

QUERY_TYPE = "application/x-www-form-urlencoded"
BIG = bytes(range(256)) * 4096 * 3  # 3 MiB


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary files go to a folder of the test, and are gone, with everything open, at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = open_files()
    yield folder
    assert os.listdir(folder) == []
    assert open_files() == before


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


def outcome(work: Work, body: Any = b"", content_type: str | None = TYPE, **options: Any) -> Any:
    """Return what `work` gave or raised inside of a handler."""
    found: list[Any] = []

    async def handler(request: HttpRequest) -> str:
        try:
            found.append(await work(request))
        except Exception as error:
            found.append(error)
        return "done"

    limits = options.pop("limits", Limits())
    headers = options.pop("headers", {} if content_type is None else {"content-type": content_type})
    run(converse(to_asgi(handler, limits=limits), method="POST", headers=headers, body=body, **options))
    return found[0]


def answer(
    work: Work, body: Any = b"", content_type: str = TYPE, limits: Limits | None = None
) -> httpx2.Response:
    async def handler(request: HttpRequest) -> Any:
        return await work(request)

    app = to_asgi(handler, limits=limits or Limits())
    return ask(app, method="POST", headers={"content-type": content_type}, body=body)

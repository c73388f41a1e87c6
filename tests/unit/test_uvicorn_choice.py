"""Which HTTP protocol uvicorn gets from run()."""

from __future__ import annotations

import logging
import sys

import pytest
import uvicorn

from asgineer import _servers, _uvicorn


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_version_that_is_installed_is_tested(caplog: pytest.LogCaptureFixture) -> None:
    assert _servers._direct_protocol(uvicorn.__version__) is _uvicorn.Connection
    assert lines(caplog) == []


@pytest.mark.parametrize("version", ["0.53.9", "0.55.0", "1.0", "0.540.0"])
def test_another_version_has_its_own(version: str, caplog: pytest.LogCaptureFixture) -> None:
    assert _servers._direct_protocol(version) == "auto"
    (line,) = lines(caplog)
    assert line.endswith(f"Asgineer knows uvicorn 0.54, and this is {version}")


def test_without_httptools_uvicorn_has_its_own(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "asgineer._uvicorn")
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delattr("asgineer._uvicorn")
    assert _servers._direct_protocol(uvicorn.__version__) == "auto"
    (line,) = lines(caplog)
    assert line.endswith("httptools is not installed")

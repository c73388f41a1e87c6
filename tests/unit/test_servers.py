"""What the servers are told; that they serve is tested with real ones in tests/run."""

from __future__ import annotations

import logging
import logging.config
import signal
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import _load, _log, _servers
from asgineer._bind import Bind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@asgineer.to_asgi
async def main(request: asgineer.HttpRequest) -> str:
    return "hello"


async def handler(request: asgineer.HttpRequest) -> str:
    return "hello"


async def plain(scope: Any, receive: Any, send: Any) -> None:
    pass


class Plain:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


@pytest.fixture
def by_hand() -> Iterator[str]:
    """The name of an app in a module that has no file and no finder."""
    module = types.ModuleType("made_by_hand")
    module.app = Plain()  # type: ignore[attr-defined]
    sys.modules["made_by_hand"] = module
    yield "made_by_hand:app"
    del sys.modules["made_by_hand"]


def test_granian_gets_what_has_no_name_as_a_copy(by_hand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    app = _load.load_app(by_hand)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "fork")
    assert _servers.for_granian(app) is app
    assert _servers.for_granian(by_hand) is app
    assert _servers.for_granian(main) == f"{__name__}:main"
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "forkserver")
    with pytest.raises(ValueError, match="cannot be found by another process"):
        _servers.for_granian(app)


def test_a_worker_tells_what_could_not_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    job = _servers.Job(app="broken:main", server="uvicorn", bind=Bind("127.0.0.1", 0), in_child=True)
    with pytest.raises(SystemExit) as caught:
        _servers._loaded(job)
    assert caught.value.code == _load.START_FAILED
    assert "The app broken:main could not be imported" in caplog.text
    with pytest.raises(SystemExit):
        _load.load_or_exit(f"{__name__}:handler")
    assert "handler is a handler, not an ASGI app" in caplog.text


def test_the_access_log_is_put_around_what_is_loaded() -> None:
    job = _servers.Job(app=plain, server="uvicorn", bind=Bind("127.0.0.1", 0))
    assert _servers._loaded(job) is plain
    job = _servers.Job(app=f"{__name__}:plain", server="uvicorn", bind=Bind("127.0.0.1", 0), access_log=True)
    assert _servers._loaded(job).app is plain


@pytest.mark.parametrize(
    ("bind", "endpoint"),
    [
        (Bind("127.0.0.1", 80), "tcp:port=80:interface=127.0.0.1"),
        (Bind("::1", 80), r"tcp:port=80:interface=\:\:1"),
        (Bind(path="/a:b\\c.sock"), r"unix:/a\:b\\c.sock:lockfile=0"),
    ],
)
def test_endpoints_as_twisted_writes_them(bind: Bind, endpoint: str) -> None:
    assert _servers._endpoint(bind) == endpoint


def test_the_log_of_a_server_goes_where_ours_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.NullHandler()
    monkeypatch.setattr(_log.logger, "handlers", [handler])
    assert _servers.server_handler() is handler
    logger = logging.getLogger("a.server")
    _servers._use_our_handler("a.server", "error")
    assert (logger.handlers, logger.level, logger.propagate) == ([handler], logging.ERROR, False)
    logging.config.dictConfig(_servers._log_config("b.server", "info"))
    logger = logging.getLogger("b.server")
    assert (logger.handlers, logger.level, logger.propagate) == ([handler], logging.INFO, False)


def test_the_programs_own_handler_of_sigterm_is_left_to_it() -> None:
    server: Any = types.SimpleNamespace(should_exit=True)

    def own(signum: int, frame: Any) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    default = signal.getsignal(signal.SIGINT)
    try:
        with _servers._end_by_return(server):
            assert signal.getsignal(signal.SIGTERM) is own
            signal.raise_signal(signal.SIGINT)  # swallowed: the server is ending
        assert signal.getsignal(signal.SIGINT) is default
    finally:
        signal.signal(signal.SIGTERM, before)

"""The parts of `_process` that need no server: files and their changes, signals as an event."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from asgineer import _process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_signal_is_an_event_and_can_be_waited_for() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with _process.StopSignal() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        assert os.read(stop.reader, 8) == b"!"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(_process, "kill_all", killed.append)
    with _process.StopSignal():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
    assert killed == [signal.SIGINT]


def test_the_first_signal_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    handled: list[int] = []
    monkeypatch.setattr(_process, "kill_all", killed.append)
    before = {signum: signal.getsignal(signum) for signum in _process.SIGNALS}
    try:
        signal.signal(signal.SIGTERM, lambda signum, frame: handled.append(signum))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _process.second_signal_kills()
        signal.raise_signal(signal.SIGTERM)
        assert (handled, killed) == ([signal.SIGTERM], [])
        signal.raise_signal(signal.SIGINT)
        assert killed == [signal.SIGINT]
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_outside_of_the_main_thread_no_signal_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=_process.second_signal_kills)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_main_process_has_no_parent_to_end_with() -> None:
    threads = threading.active_count()
    _process.end_with_parent(1)
    assert threading.active_count() == threads


def test_the_files_that_are_watched(tmp_path: Path) -> None:
    for name in (
        "a.py",
        "b.txt",
        "sub/c.py",
        ".git/d.py",
        "__pycache__/e.py",
        "venv/f.py",
        "venv/pyvenv.cfg",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = _process._modification_times([str(tmp_path)])
    assert sorted(found) == [str(tmp_path / "a.py"), str(tmp_path / "sub" / "c.py")]


def test_without_watchfiles_the_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setattr(_process, "POLL", 0)
    (tmp_path / "old.py").touch()
    with _process.StopSignal() as stop:
        changes = _process._changes([str(tmp_path)], stop)
        assert next(changes) == set()
        os.utime(tmp_path / "old.py", ns=(1, 1))
        assert next(changes) == {str(tmp_path / "old.py")}
        (tmp_path / "old.py").unlink()
        (tmp_path / "new.py").touch()
        assert next(changes) == {str(tmp_path / "old.py"), str(tmp_path / "new.py")}
        (tmp_path / "new.txt").touch()
        signal.raise_signal(signal.SIGTERM)
        assert list(changes) == []

"""What is open on a disk ends once and for all, whatever the order in which threads get their turn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import UsageError
from asgineer._uploads import FileAside, TemporaryFile, UploadFile, close_files

from .form_requests import nothing_left
from .turns import run

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["nothing_left"]  # a fixture that each test here goes through


def test_temporary_file_that_ended_before_its_first_write() -> None:
    """A cancelled handler ended it while the thread that writes waited for its turn."""
    file = TemporaryFile()
    file.end()
    with pytest.raises(UsageError):
        file.write(b"x")
    file.end()


def test_temporary_file_that_ended() -> None:
    file = TemporaryFile()
    file.write(b"abc", b"def")
    assert (file.read(0, 10), file.read(2, 2)) == (b"abcdef", b"cd")
    file.end()
    with pytest.raises(UsageError, match="handler has ended"):
        file.write(b"x")
    with pytest.raises(UsageError, match="handler has ended"):
        file.read(0, 1)


@pytest.mark.parametrize("writes", [0, 1])
def test_discarded_file_is_not_written(tmp_path: Path, writes: int) -> None:
    aside = FileAside(tmp_path / "x")
    for _ in range(writes):
        aside.write(b"x")
        assert len(os.listdir(tmp_path)) == 2
    aside.discard()
    aside.discard()
    with pytest.raises(UsageError):
        aside.write(b"x")
    with pytest.raises(UsageError):
        aside.finish()
    assert os.listdir(tmp_path) == ["temporary"]


def test_finished_file_is_not_discarded(tmp_path: Path) -> None:
    aside = FileAside(tmp_path / "x")
    aside.write(b"x")
    aside.finish()
    aside.discard()
    assert (tmp_path / "x").read_bytes() == b"x"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
def test_discard_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = FileAside(tmp_path / "x")
    aside._file = open("/dev/full", "wb")  # noqa: SIM115 (discard closes it)
    aside.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        aside.finish()
    aside.discard()


def test_one_file_that_can_not_be_closed_spares_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        ended.append(self)
        raise OSError

    ended: list[Any] = []
    monkeypatch.setattr(TemporaryFile, "end", fail)
    files = [UploadFile(name, "text/plain") for name in "ab"]
    for file in files:
        file._disk = TemporaryFile()
    close_files(files)  # without an event loop
    assert len(ended) == 2

    async def main() -> None:
        close_files(files)

    run(main())
    assert len(ended) == 4

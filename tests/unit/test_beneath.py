"""Paths that clients give, below a real folder with everything in it that is not for them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from asgineer._beneath import MAX_LINKS, NotThere, check_segments, open_beneath, open_regular


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder `static` with files and links, secrets beside it."""
    root = tmp_path / "static"
    (root / "sub" / "deep").mkdir(parents=True)
    for path in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "CON", "aux.txt.html", "~", ".env"):
        (root / path).write_text(path)
    (tmp_path / "static-secret").mkdir()
    (tmp_path / "static-secret" / "key").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (root / "locked").write_text("locked")
    return root


def read(root: Path, path: str) -> str:
    descriptor = open_beneath(str(root), check_segments(path))
    with open(descriptor) as file:
        return file.read()


def refused(root: Path, path: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(NotThere):
        read(root, path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("path", ["a.txt", "sub/b.txt", "sub/deep/c.txt", "CON", "aux.txt.html", "~"])
def test_files(root: Path, path: str) -> None:
    assert read(root, path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", ".", "..", "../secret", "sub/../a.txt", "sub/../../secret", "./a.txt", "sub/./b.txt"),
        *("sub//b.txt", "/a.txt", "a.txt/", "sub/", "//", "/etc/passwd", "..\\secret", "sub\\b.txt"),
        *("a.txt\0", "\0", "a.txt\n", "a\x7f", "a\x85", "C:a.txt", "a.txt::$DATA", ".env", "sub/.git/config"),
        *("...", ".../secret", "\udc80", "../static-secret/key"),
    ],
)
def test_names_that_are_refused(path: str) -> None:
    with pytest.raises(NotThere):
        check_segments(path)


@pytest.mark.parametrize("segments", [[], [""], ["a", ""], ["sub/b.txt"], ["..", "secret"], ("sub", "..")])
def test_segments_that_are_refused(segments: list[str]) -> None:
    with pytest.raises(NotThere):
        check_segments(segments)


def test_paths_of_all_kinds() -> None:
    for path in ("sub/b.txt", ["sub", "b.txt"], ("sub", "b.txt"), Path("sub/b.txt")):
        assert check_segments(path) == ["sub", "b.txt"]


@pytest.mark.parametrize(
    "path",
    [
        *("none", "sub", "sub/none", "none/none", "a.txt/x", "x" * 300, "/".join(["x"] * 3000)[:4096]),
        *("\uff0e\uff0e\uff0fsecret", "su\u0062\u0301", "A.TXT"),
    ],
)
def test_what_is_not_there(root: Path, path: str) -> None:
    refused(root, path)


def test_folders_and_what_is_no_file(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        (root / "device").symlink_to("/dev/null")
        for name in ("pipe", "socket", "device", "sub"):
            refused(root, name)


def test_links_inside(root: Path) -> None:
    links = {
        "relative": "a.txt",
        "up": "sub/../a.txt",
        "sub/above": "../a.txt",
        "sub/deep/far": "../../sub/./b.txt",
        "absolute": str(root / "sub" / "b.txt"),
        "folder": "sub/deep",
        "chain": "relative",
        "sub/back": str(root),
        "sub/deep/top": str(root / "a.txt"),
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert (
        read(root, "relative")
        == read(root, "up")
        == read(root, "chain")
        == read(root, "sub/above")
        == "a.txt"
    )
    assert read(root, "sub/deep/far") == read(root, "absolute") == "sub/b.txt"
    assert read(root, "folder/c.txt") == "sub/deep/c.txt"
    assert read(root, "sub/back/sub/back/a.txt") == "a.txt"
    assert read(root, "sub/deep/top") == "a.txt"
    refused(root, "folder")


@pytest.mark.parametrize(
    "target",
    [
        *("../secret", "../static/../secret", "sub/../../secret", "../static-secret/key", "/etc/passwd", "/"),
        *("../static/a.txt", "..", "nothing", "loop"),  # the first of these would come back
    ],
)
def test_links_out(root: Path, target: str) -> None:
    (root / "loop").symlink_to("loop")
    if target != "loop":
        (root / "link").symlink_to(target)
    refused(root, "loop" if target == "loop" else "link")
    refused(root, "link/x")


@pytest.mark.parametrize("target", ["static-secret/key", "static/../secret"])
def test_absolute_links_out(root: Path, target: str) -> None:
    (root / "link").symlink_to(root.parent / target)
    refused(root, "link")


def test_folder_that_is_a_link_out(root: Path) -> None:
    (root / "folder").symlink_to("../static-secret")
    refused(root, "folder/key")


def test_root_that_is_a_link(root: Path) -> None:
    current = root.parent / "current"
    current.symlink_to(root)
    (root / "absolute").symlink_to(root / "a.txt")
    assert read(current, "absolute") == "a.txt"


def test_too_many_links(root: Path) -> None:
    (root / "link0").symlink_to("a.txt")
    for number in range(1, MAX_LINKS + 1):
        (root / f"link{number}").symlink_to(f"link{number - 1}")
    assert read(root, f"link{MAX_LINKS - 1}") == "a.txt"
    refused(root, f"link{MAX_LINKS}")


def test_nothing_outside_is_even_asked_for(root: Path) -> None:
    """Every call of the system that the way to a file makes, as the kernel is asked."""
    (root / "link").symlink_to("../secret")
    (root / "there").symlink_to(root.parent / "secret")
    program = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from asgineer._beneath import NotThere, check_segments, open_beneath
asked = []
for name in ("open", "stat", "readlink"):
    def note(path, *args, _call=getattr(os, name), **options):
        asked.append(path)
        return _call(path, *args, **options)
    setattr(os, name, note)
for path in ("../secret", "link", "there", "/etc/passwd", "sub/../../secret"):
    try:
        open_beneath({str(root)!r}, check_segments(path))
    except NotThere:
        print(path)
print(set(asked))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    *paths, asked = output.splitlines()
    assert len(paths) == 5
    assert eval(asked) == {str(root), "link", "there"}


def test_file_without_the_right_to_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # the folders of pytest are closed to others
        root = Path(name)
        root.chmod(0o755)
        (root / "shut").mkdir()
        for path in ("locked", "shut/a", "open"):
            (root / path).write_text(path)
        (root / "locked").chmod(0)
        (root / "shut").chmod(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child doesn't need
            pid = os.fork()
        if not pid:
            status = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65_534)
                assert read(root, "open") == "open"
                refused(root, "locked")
                refused(root, "shut/a")
                status = 0
            finally:
                os._exit(status)
        (root / "shut").chmod(0o700)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_root_that_is_no_folder(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        open_beneath(str(root / "a.txt"), ["a"])
    with pytest.raises(FileNotFoundError):
        open_beneath(str(root / "none"), ["a"])


def test_errors_of_the_system_are_no_404(root: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    keep = os.open("/", os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (keep + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            open_beneath(str(root), ["sub", "b.txt"])
        with pytest.raises(OSError, match="Too many open files"):
            open_regular(str(root / "a.txt"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(keep)
    assert len(os.listdir("/proc/self/fd")) == used


def test_file_that_turns_into_something_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening: what was opened is looked at again."""
    os.mkfifo(root / "pipe")
    regular = os.stat(root / "a.txt")
    monkeypatch.setattr(os, "stat", lambda *args, **options: regular)
    refused(root, "pipe")

"""send_file: every answer, from real files, and what becomes of a file that changes meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import asgineer
from asgineer import _files
from asgineer._files import CHUNK, FileStream, OpenFile
from asgineer.testing import TestClient
from asgineer.utils import compress, send_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgineer import HttpRequest

SMALL = b"0123456789"
LARGE = os.urandom(CHUNK) * 3 + b"the end"
LONG_AGO = 1_600_000_000  # Sun, 13 Sep 2020 12:26:40 GMT


def open_descriptors() -> list[str]:
    """Return what files are open below a folder of a test."""
    targets = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    found = [os.readlink(target) for target in targets if os.path.islink(target)]
    return [target for target in found if "pytest" in target]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name, body in (("small.txt", SMALL), ("large.bin", LARGE), ("empty.txt", b"")):
        (tmp_path / name).write_bytes(body)
        os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))
    yield tmp_path
    assert open_descriptors() == []


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        match request.parts:
            case "own", *name:
                return await send_file(request, folder.joinpath(*name))
            case "compressed", *name:
                return compress(request, await send_file(request, name, root=folder))
            case "dropped", *name:
                await send_file(request, name, root=folder)
                return "something else"
            case _:
                return await send_file(request, request.parts, root=folder)

    with TestClient(main, headers={"accept-encoding": "identity"}) as client:
        yield client


@pytest.mark.parametrize(("name", "body"), [("small.txt", SMALL), ("large.bin", LARGE), ("empty.txt", b"")])
def test_whole_file(client: TestClient, name: str, body: bytes) -> None:
    answer = client.get(f"/{name}")
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["last-modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"


@pytest.mark.parametrize("name", ["small.txt", "large.bin", "empty.txt"])
def test_head_has_the_headers_of_get(client: TestClient, name: str) -> None:
    answer = client.head(f"/{name}", headers={"range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers == client.get(f"/{name}").headers


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        (f"bytes={CHUNK - 1}-{CHUNK}", CHUNK - 1, CHUNK + 1),
        (f"bytes=1-{2 * CHUNK}", 1, 2 * CHUNK + 1),
        ("bytes=-7", len(LARGE) - 7, len(LARGE)),
        ("bytes=1-", 1, len(LARGE)),
    ],
)
def test_range(client: TestClient, value: str, start: int, stop: int) -> None:
    answer = client.get("/large.bin", headers={"range": value})
    assert (answer.status_code, answer.content) == (206, LARGE[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"
    assert answer.headers["content-length"] == str(stop - start)


def test_range_outside(client: TestClient) -> None:
    answer = client.get("/small.txt", headers={"range": "bytes=10-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


def test_several_ranges_are_the_whole(client: TestClient) -> None:
    answer = client.get("/small.txt", headers={"range": "bytes=0-1,3-4"})
    assert (answer.status_code, answer.content) == (200, SMALL)


def test_range_of_a_state_that_is_gone(client: TestClient) -> None:
    etag = client.get("/small.txt").headers["etag"]
    for value, status in ((etag, 206), ('"old"', 200), ("Sun, 13 Sep 2020 12:26:40 GMT", 206)):
        headers = {"range": "bytes=1-2", "if-range": value}
        assert client.get("/small.txt", headers=headers).status_code == status


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_client_that_has_it(client: TestClient, name: str) -> None:
    etag = client.get(f"/{name}").headers["etag"]
    for headers in ({"if-none-match": etag}, {"if-modified-since": "Sun, 13 Sep 2020 12:26:40 GMT"}):
        answer = client.get(f"/{name}", headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert {"etag": etag, "cache-control": "no-cache"} == dict(answer.headers)


def test_precondition_that_fails(client: TestClient) -> None:
    assert client.get("/small.txt", headers={"if-match": '"x"'}).status_code == 412


def test_other_methods_get_the_whole_file(client: TestClient) -> None:
    headers = {"range": "bytes=0-1", "if-none-match": "*"}
    answer = client.post("/small.txt", headers=headers)
    assert (answer.status_code, answer.content) == (200, SMALL)


def test_each_state_has_its_tag(client: TestClient, folder: Path) -> None:
    first = client.get("/small.txt").headers["etag"]
    (folder / "small.txt").write_bytes(SMALL)
    second = client.get("/small.txt").headers["etag"]
    os.utime(folder / "small.txt", (LONG_AGO, LONG_AGO))
    third = client.get("/small.txt").headers["etag"]
    assert (first == second, first == third) == (False, True)
    (folder / "new.txt").write_bytes(SMALL)
    os.utime(folder / "new.txt", (LONG_AGO, LONG_AGO))
    (folder / "new.txt").replace(folder / "small.txt")
    assert client.get("/small.txt").headers["etag"] != first


@pytest.mark.parametrize("seconds", [-5, 4_102_444_800])
def test_times_that_cannot_be(client: TestClient, folder: Path, seconds: int) -> None:
    os.utime(folder / "small.txt", (seconds, seconds))
    answer = client.get("/small.txt")
    assert answer.status_code == 200
    if seconds < 0:
        assert answer.headers["last-modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    else:
        assert "2100" not in answer.headers["last-modified"]


def test_path_of_our_own(client: TestClient, folder: Path) -> None:
    assert client.get("/own/small.txt").content == SMALL
    (folder / ".hidden").write_bytes(b"ours")
    (folder / "link").symlink_to("/etc/hostname")
    assert client.get("/own/.hidden").content == b"ours"
    assert client.get("/own/link").content == Path("/etc/hostname").read_bytes()
    assert client.get("/own/nothing").status_code == 404
    assert client.get("/own").status_code == 404  # a folder


def test_finishers_apply(client: TestClient, folder: Path) -> None:
    (folder / "page.html").write_bytes(b"<p>" * 1000)
    answer = client.get("/compressed/page.html", headers={"accept-encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", b"<p>" * 1000)


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_response_that_is_not_sent_leaves_nothing_open(client: TestClient, name: str) -> None:
    assert client.get(f"/dropped/{name}").text == "something else"


def test_client_that_leaves_in_the_middle(client: TestClient) -> None:
    with client.stream("GET", "/large.bin") as answer:
        assert next(answer.iter_raw())


# Headers


def headers_for(folder: Path, name: str, **options: Any) -> dict[str, str]:
    (folder / name).write_bytes(b"x")

    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        return await send_file(request, folder / name, **options)

    with TestClient(main) as client:
        return dict(client.get("/").headers)


@pytest.mark.parametrize(
    ("name", "options", "content_type"),
    [
        ("a.html", {}, "text/html; charset=utf-8"),
        ("A.JPG", {}, "image/jpeg"),
        ("a.unknownthing", {}, "application/octet-stream"),
        ("a.js.gz", {}, "application/gzip"),
        ("noextension", {}, "application/octet-stream"),
        ("a.html", {"content_type": "text/html; charset=latin-1"}, "text/html; charset=latin-1"),
    ],
)
def test_content_type(folder: Path, name: str, options: dict[str, str], content_type: str) -> None:
    headers = headers_for(folder, name, **options)
    assert headers["content-type"] == content_type
    assert "content-disposition" not in headers


def test_compressed_svg(folder: Path) -> None:
    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        return await send_file(request, folder / "a.svgz")

    import gzip

    (folder / "a.svgz").write_bytes(gzip.compress(b"<svg/>"))
    with TestClient(main) as client:
        answer = client.get("/")
    assert (answer.headers["content-type"], answer.content) == ("image/svg+xml", b"<svg/>")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("my report (1).pdf", 'attachment; filename="my report (1).pdf"'),
        (
            "naïve.pdf",
            "attachment; filename=\"na_ve.pdf\"; filename*=UTF-8''na%C3%AFve.pdf",
        ),
        ("€ 5.txt", "attachment; filename=\"_ 5.txt\"; filename*=UTF-8''%E2%82%AC%205.txt"),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("100%41.txt", "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("../../etc/passwd", 'attachment; filename=".._.._etc_passwd"'),
        ("a\\b", 'attachment; filename="a_b"'),
        (
            "a\r\nset-cookie: x",
            "attachment; filename=\"a__set-cookie_ x\"; filename*=UTF-8''a__set-cookie%3A%20x",
        ),
        ("", "attachment"),
    ],
)
def test_name_to_save_it_under(folder: Path, name: str, value: str) -> None:
    assert headers_for(folder, "a.bin", attachment=name)["content-disposition"] == value


def test_max_age(folder: Path) -> None:
    assert headers_for(folder, "a.bin", max_age=60)["cache-control"] == "max-age=60, must-revalidate"


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        (["a", "b"], {}, "Segments of a path need a root=…, got list"),
        ("a", {"max_age": -1}, "max_age must be an int"),
        ("a", {"max_age": "1"}, "max_age must be an int"),
        ("a", {"max_age": True}, "max_age must be an int"),
        ("a", {"attachment": True}, "attachment must be a str, not bool"),
    ],
)
def test_wrong_use(path: Any, options: dict[str, Any], words: str) -> None:
    request = asgineer.HttpRequest({"type": "http", "method": "GET", "headers": []}, _never, _never)
    with pytest.raises(TypeError, match=words):
        asyncio.run(send_file(request, path, **options))


async def _never(*args: object) -> Any:
    raise AssertionError("send_file sends nothing by itself")


def test_root_that_is_not_there(folder: Path) -> None:
    request = asgineer.HttpRequest({"type": "http", "method": "GET", "headers": []}, _never, _never)
    with pytest.raises(FileNotFoundError):
        asyncio.run(send_file(request, "a", root=folder / "none"))
    with pytest.raises(asgineer.HTTPError) as caught:
        asyncio.run(send_file(request, "../a", root=folder / "none"))  # not even asked for
    assert caught.value.status == 404


# Files that change


@pytest.fixture(params=["at once", "by threads"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the pieces of a large file are read: from the kernel's memory, or by threads."""
    if request.param == "by threads":
        monkeypatch.setattr(_files, "NOWAIT", 0)
    return str(request.param)


async def stream_of(folder: Path, name: str = "large.bin") -> FileStream:
    request = asgineer.HttpRequest(
        {"type": "http", "method": "GET", "headers": [], "path": "/"}, _never, _never
    )
    status, _, body = await send_file(request, name, root=folder)
    assert (status, type(body)) == (200, FileStream)
    return body  # type: ignore[no-any-return]  # looked at above


async def drain(stream: FileStream) -> bytes:
    try:
        return b"".join([piece async for piece in stream])
    finally:
        await stream.aclose()


def truncate(path: Path) -> None:
    os.truncate(path, CHUNK + 5)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"new")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [truncate, overwrite, grow])
@pytest.mark.usefixtures("reading")
async def test_file_that_is_written_into_breaks_off(folder: Path, change: Any) -> None:
    stream = await stream_of(folder)
    change(folder / "large.bin")
    with pytest.raises(RuntimeError, match="The file changed while it was sent"):
        await drain(stream)


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(b"new")
    new.replace(path)


def remove_folder(path: Path) -> None:
    path.unlink()
    for other in path.parent.iterdir():
        other.unlink()
    path.parent.rmdir()


@pytest.mark.parametrize("change", [delete, replace, remove_folder])
@pytest.mark.usefixtures("reading")
async def test_file_that_is_replaced_is_sent_as_it_was(folder: Path, change: Any) -> None:
    folder = folder / "sub"
    folder.mkdir()
    (folder / "large.bin").write_bytes(LARGE)
    stream = await stream_of(folder)
    change(folder / "large.bin")
    assert await drain(stream) == LARGE


@pytest.mark.usefixtures("reading")
def test_client_sees_that_it_broke_off(client: TestClient, folder: Path) -> None:
    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        response = await send_file(request, "large.bin", root=folder)
        truncate(folder / "large.bin")
        return response

    with TestClient(main, raise_errors=False) as other, pytest.raises(httpx2.RemoteProtocolError):
        other.get("/")
    assert client.get("/large.bin").content == LARGE[: CHUNK + 5]


async def test_small_file_that_changes_while_it_is_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [b"one", b"another"]
    pread = os.pread

    def write_meanwhile(descriptor: int, size: int, start: int) -> bytes:
        data = pread(descriptor, size, start)
        if changes:
            (folder / "small.txt").write_bytes(changes.pop())
        return data

    monkeypatch.setattr(os, "pread", write_meanwhile)
    request = asgineer.HttpRequest({"type": "http", "method": "GET", "headers": []}, _never, _never)
    _, headers, body = await send_file(request, "small.txt", root=folder)
    assert (body, headers["content-length"]) == (b"one", "3")
    changes += [b"1", b"22", b"333", b"4444"]
    with pytest.raises(RuntimeError, match="changed while"):
        await send_file(request, "small.txt", root=folder)


@pytest.mark.usefixtures("reading")
async def test_stream_that_is_closed_while_it_reads(folder: Path) -> None:
    stream = await stream_of(folder)
    assert await anext(stream)
    assert await anext(stream)
    await stream.aclose()  # with a read ahead
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_error_of_a_read_ahead_that_nobody_waits_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "NOWAIT", 0)
    stream = await stream_of(folder)
    assert await anext(stream)
    assert await anext(stream)
    assert stream._ahead is not None
    await asyncio.wait([stream._ahead])
    truncate(folder / "large.bin")
    assert await anext(stream)  # read before
    await asyncio.wait([stream._ahead])
    await stream.aclose()


async def test_large_file_whichever_way_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await drain(await stream_of(folder)) == LARGE
    calls: list[int] = []
    preadv = os.preadv

    def in_memory_at_times(descriptor: int, buffers: Any, start: int, flags: int) -> int:
        calls.append(flags)
        if len(calls) == 1:
            raise BlockingIOError
        return preadv(descriptor, buffers, start, flags)

    monkeypatch.setattr(os, "preadv", in_memory_at_times)
    assert await drain(await stream_of(folder)) == LARGE
    assert calls == [_files.NOWAIT]
    monkeypatch.setattr(os, "preadv", lambda *args: 5)  # a part of it is in memory
    assert await drain(await stream_of(folder)) == LARGE


async def test_piece_that_a_thread_reads_is_left_to_it(folder: Path) -> None:
    stream = await stream_of(folder)
    with stream._file._lock:
        assert stream._file.read_at_once(0, bytearray(10), 10) is None
    await stream.aclose()
    assert stream._file.read_at_once(0, bytearray(10), 10) is None


def test_closing_does_not_wait_for_a_slow_disk(folder: Path) -> None:
    file = OpenFile(os.open(folder / "small.txt", os.O_RDONLY))
    asyncio.run(_close_while_locked(file))
    assert file.read(0, 1) == b"", "it is closed with the threads of the loop"


async def _close_while_locked(file: OpenFile) -> None:
    with file._lock:  # as a thread that reads
        file.close_soon()
        assert open_descriptors() != []


def test_closing_after_the_loop_ended(folder: Path) -> None:
    file = OpenFile(os.open(folder / "small.txt", os.O_RDONLY))
    file._lock.acquire()
    threading.Timer(0.05, file._lock.release).start()
    file.close_soon()
    assert file.read(0, 1) == b""


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
async def test_disk_that_fails(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    request = asgineer.HttpRequest({"type": "http", "method": "GET", "headers": []}, _never, _never)
    stream = await stream_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        patch.setattr(os, "preadv", fail)
        with pytest.raises(OSError, match="Input/output"):
            await send_file(request, name, root=folder)
        with pytest.raises(OSError, match="Input/output"):
            await drain(stream)

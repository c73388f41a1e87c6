"""Asset sets of a folder, and what else goes beyond a dict: hashed names, ranges, a fallback, options."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]  # has no types
import pytest

import asgineer
from asgineer import _codecs, _variants
from asgineer._assets import make_asset_handler
from asgineer._folder import scan_folder
from asgineer._variants import IMMUTABLE
from asgineer.testing import TestClient
from asgineer.utils import compress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2

    from asgineer import HttpRequest

LONG_AGO = 1_600_000_000  # Sun, 13 Sep 2020 12:26:40 GMT
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"
PROSE = "All work and no play. " * 100


@pytest.fixture(autouse=True)
def no_development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGINEER_RELOAD", raising=False)
    monkeypatch.delenv("ASGINEER_DEBUG", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    for name, text in {
        "index.html": "<html>Home</html>",
        "Main.JS": PROSE,
        "docs/index.html": "<html>Docs</html>",
        "docs/deep/a b#1.txt": "ab",
        ".env": "secret",
        ".git/config": "secret",
        "docs/.hidden": "secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def get(assets: Any, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    fields = {"accept-encoding": "identity"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with TestClient(asgineer.to_asgi(assets)) as client:
        return client.request(method, path, headers=fields)


# Folders


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/index.html", "<html>Home</html>"),
        ("/", "<html>Home</html>"),
        ("/docs/", "<html>Docs</html>"),
        ("/docs/index.html", "<html>Docs</html>"),
        ("/DOCS/Deep/a%20b%231.txt", "ab"),
        ("/main.js", PROSE),
    ],
)
def test_files_of_a_folder(folder: Path, path: str, text: str) -> None:
    assert get(make_asset_handler(folder), path).text == text


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/.env",
            "/.git/config",
            "/docs/.hidden",
            "/docs",
            "/docs/deep/",
            "/none",
            "/%2e%2e/site/index.html",
        ),
        *("/docs/..%2findex.html", "/docs%5cindex.html", "/index.html/", "//etc/passwd", "/index.html%00"),
    ],
)
def test_what_a_folder_does_not_have(folder: Path, path: str) -> None:
    assert get(make_asset_handler(folder), path).status_code == 404


def test_segment_with_a_slash_is_no_path(folder: Path) -> None:
    assets = make_asset_handler(folder)

    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        return await assets(request, request.parts)

    assert get(main.asgineer_handler, "/docs/index.html").status_code == 200
    assert get(main.asgineer_handler, "/docs%2findex.html").status_code == 404
    assert get(main.asgineer_handler, "/").text == "<html>Home</html>"


def test_dates_of_a_folder(folder: Path) -> None:
    assets = make_asset_handler(folder)
    assert get(assets, "/main.js").headers["last-modified"] == DATE
    assert get(assets, "/main.js", if_modified_since=DATE).status_code == 304
    assert get(assets, "/main.js", if_modified_since="Sun, 13 Sep 2020 12:26:39 GMT").status_code == 200
    assert get(assets, "/main.js", if_unmodified_since="Sun, 13 Sep 2020 12:26:39 GMT").status_code == 412
    assert get(make_asset_handler({"a": "b"}), "/a", if_modified_since=DATE).status_code == 200


def test_links_of_a_folder(folder: Path) -> None:
    (folder / "inside.txt").symlink_to("docs/deep/a b#1.txt")
    (folder / "more").symlink_to("docs/deep")
    (folder / "to-nothing").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    assets = make_asset_handler(folder)
    assert get(assets, "/inside.txt").text == get(assets, "/more/a%20b%231.txt").text == "ab"
    assert get(assets, "/pipe").status_code == get(assets, "/to-nothing").status_code == 404


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret", "..", "../site-secret"])
def test_links_out_of_a_folder(folder: Path, target: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder.parent / "site-secret").mkdir()
    (folder / "link").symlink_to(target)
    with pytest.raises(ValueError, match=r"The link .*link' leads out of the folder"):
        make_asset_handler(folder)


def test_link_in_a_circle(folder: Path) -> None:
    (folder / "docs" / "circle").symlink_to("..")
    with pytest.raises(ValueError, match="leads to a folder that it is in"):
        make_asset_handler(folder)


def test_file_that_goes_while_the_folder_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def vanish(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("Main.JS"):
            raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", vanish)
    assert "index.html" in scan_folder(str(folder))
    assert "Main.JS" not in scan_folder(str(folder))


def test_no_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_asset_handler(folder / "none")
    with pytest.raises(NotADirectoryError):
        make_asset_handler(folder / "index.html")
    with pytest.raises(TypeError, match=r"not str; for a folder write Path\(…\)"):
        make_asset_handler(str(folder))  # type: ignore[arg-type]  # the mistake that is tested


def test_names_of_a_folder_that_are_equal_in_lower_case(folder: Path) -> None:
    (folder / "main.js").write_text("")
    with pytest.raises(ValueError, match=r"Two assets have the name 'main\.js'"):
        make_asset_handler(folder)


def test_max_bytes(folder: Path) -> None:
    size = sum(
        path.stat().st_size for path in folder.rglob("[!.]*") if path.is_file() and ".git" not in path.parts
    )
    make_asset_handler(folder, max_bytes=size)
    make_asset_handler(folder, max_bytes=None)
    with pytest.raises(
        ValueError, match=rf"The assets have {size} bytes, more than max_bytes={size - 1}; utils"
    ):
        make_asset_handler(folder, max_bytes=size - 1)
    with pytest.raises(ValueError, match="more than max_bytes=2"):
        make_asset_handler({"a": "é", "b": b"x"}, max_bytes=2)


# Folders that somebody works on


@pytest.fixture(params=["debug", "reload"])
def developing(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    if request.param == "reload":
        monkeypatch.setenv("ASGINEER_RELOAD", "1")
    assets = make_asset_handler(folder, fallback="index.html")
    with TestClient(asgineer.to_asgi(assets, debug=request.param == "debug"), raise_errors=False) as client:
        yield client


def test_changes_are_seen(developing: TestClient, folder: Path) -> None:
    before = developing.get("/main.js")
    (folder / "Main.JS").write_text("changed")
    (folder / "new.txt").write_text("new")
    (folder / "docs" / "index.html").unlink()
    after = developing.get("/main.js")
    assert (before.text, after.text) == (PROSE, "changed")
    assert before.headers["etag"] != after.headers["etag"]
    assert developing.get("/new.txt").text == "new"
    assert developing.get("/docs/index.html").status_code == 404
    assert developing.get("/").headers["last-modified"] == DATE


def test_only_what_changed_is_built_anew(
    developing: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert developing.get("/main.js").text == PROSE
    built: list[str] = []
    build = _variants.build_assets

    def note(contents: Any, *args: Any) -> Any:
        built.extend(contents)
        return build(contents, *args)

    monkeypatch.setattr("asgineer._assets.build_assets", note)
    assert developing.get("/main.js").text == PROSE
    assert built == []
    (folder / "docs" / "index.html").write_text("other")
    assert developing.get("/docs/").text == "other"
    assert built == ["docs/index.html"]


def test_fallback_that_is_gone_is_told(developing: TestClient, folder: Path) -> None:
    assert developing.get("/anything").text == "<html>Home</html>"
    (folder / "index.html").unlink()
    assert developing.get("/main.js").status_code == 500
    (folder / "index.html").write_text("back")
    assert developing.get("/anything").text == "back"


def test_otherwise_a_folder_is_read_once(folder: Path) -> None:
    assets = make_asset_handler(folder)
    with TestClient(asgineer.to_asgi(assets, debug=False)) as client:
        assert client.get("/main.js").text == PROSE
        (folder / "Main.JS").write_text("changed")
        assert client.get("/main.js").text == PROSE


# Names with a hash


def test_url() -> None:
    assets = make_asset_handler(
        {"Js/Main.min.js": PROSE, "noextension": "x", "": "home", "a b#é.txt": "x"}, max_age=5
    )
    url = assets.url("Js/Main.min.js")
    assert url.startswith("Js/Main.min.")
    assert url.endswith(".js")
    assert len(url) == len("Js/Main.min.js") + 17
    for name in ("Js/Main.min.js", "noextension", "", "a b#é.txt"):
        plain, hashed = get(assets, f"/{assets.url(name)}"), get(assets, "/" + name.replace("#", "%23"))
        assert plain.content == hashed.content
        assert plain.headers["cache-control"] == IMMUTABLE
        assert hashed.headers["cache-control"] == "public, max-age=5, must-revalidate"
        assert plain.headers["etag"] == hashed.headers["etag"]
    assert assets.url("js/main.MIN.js").lower() == url.lower()
    assert assets.url("a b#é.txt").startswith("a%20b%23%C3%A9.")


def test_url_names_the_content() -> None:
    one, two = (make_asset_handler({"a.js": text}) for text in ("one", "two"))
    assert one.url("a.js") != two.url("a.js")
    assert get(two, f"/{one.url('a.js')}").status_code == 404
    assert one.url("a.js") == make_asset_handler({"a.js": b"one", "b.js": b""}).url("a.js")


def test_url_of_nothing() -> None:
    with pytest.raises(KeyError, match="There is no asset 'b.js'"):
        make_asset_handler({"a.js": ""}).url("b.js")


def test_hashed_names_are_negotiated_and_answered_like_others() -> None:
    assets = make_asset_handler({"a.js": PROSE})
    url = f"/{assets.url('a.js')}"
    answer = get(assets, url, accept_encoding="br")
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("br", "Accept-Encoding")
    known = get(assets, url, accept_encoding="br", if_none_match=answer.headers["etag"])
    assert (known.status_code, known.headers["cache-control"]) == (304, IMMUTABLE)
    assert get(assets, url, range="bytes=0-2").text == PROSE[:3]


def test_immutable() -> None:
    assets = make_asset_handler(
        {"build/A.js": "x", "b.js": "x"}, immutable=lambda name: name.startswith("build/A")
    )
    assert get(assets, "/build/a.js").headers["cache-control"] == IMMUTABLE
    assert get(assets, "/b.js").headers["cache-control"] == "public, max-age=0, must-revalidate"
    with pytest.raises(TypeError, match="immutable must be a function"):
        make_asset_handler({}, immutable=True)  # type: ignore[arg-type]  # the mistake that is tested


# Fallback


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/orders/12", 200),
        ("/orders/", 200),
        ("/v1.2/orders", 200),
        ("/app.js", 404),
        ("/orders/app.3f.js", 404),
        ("/..", 404),
        ("/a.html", 200),
    ],
)
def test_fallback(path: str, status: int) -> None:
    assets = make_asset_handler({"Index.html": "home", "a.html": "a"}, fallback="Index.html")
    with TestClient(asgineer.to_asgi(assets)) as client:
        answer = client.get(path.replace("..", "%2e%2e"))
    assert answer.status_code == status
    assert status == 404 or answer.text == ("a" if path == "/a.html" else "home")
    assert get(assets, "/orders", "POST").status_code == 405


def test_fallback_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"There is no asset 'index\.html' to fall back on"):
        make_asset_handler({"a": ""}, fallback="index.html")


# Ranges and preconditions


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({"range": "bytes=0-3"}, 206, PROSE[:4]),
        ({"range": "bytes=-3"}, 206, PROSE[-3:]),
        ({"range": "bytes=0-3", "accept_encoding": "gzip, br"}, 206, PROSE[:4]),
        ({"range": "bytes=0-3", "if_range": "ETAG"}, 206, PROSE[:4]),
        ({"range": "bytes=0-3", "if_range": '"x"'}, 200, PROSE),
        ({"range": "bytes=0-3", "if_range": DATE}, 200, PROSE),
        ({"range": "bytes=0-1,5-6"}, 200, PROSE),
        ({"range": "bytes=99999-"}, 416, "Range Not Satisfiable"),
        ({"range": "bytes=0-3", "if_none_match": "ETAG"}, 304, ""),
        ({"range": "bytes=99999-", "if_none_match": "ETAG"}, 304, ""),
        ({"range": "bytes=99999-", "if_match": '"x"'}, 412, "Precondition Failed"),
        ({"if_match": "ETAG"}, 200, PROSE),
        ({"if_match": '"x"'}, 412, "Precondition Failed"),
        ({"if_none_match": '"x", ETAG'}, 304, ""),
    ],
)
def test_ranges_and_preconditions(headers: dict[str, str], status: int, body: str) -> None:
    assets = make_asset_handler({"a.js": PROSE})
    etag = get(assets, "/a.js").headers["etag"]
    answer = get(assets, "/a.js", **{name: value.replace("ETAG", etag) for name, value in headers.items()})
    assert (answer.status_code, answer.text) == (status, body)
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(PROSE)}")
        assert (answer.headers["etag"], answer.headers["vary"]) == (etag, "Accept-Encoding")
        assert "content-encoding" not in answer.headers
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(PROSE)}"


def test_range_where_only_another_encoding_is_accepted() -> None:
    assets = make_asset_handler({"a.js": PROSE})
    answer = get(assets, "/a.js", range="bytes=0-3", accept_encoding="br, identity;q=0")
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "br")


def test_range_of_a_head_is_ignored() -> None:
    answer = get(make_asset_handler({"a.js": PROSE}), "/a.js", "HEAD", range="bytes=0-3")
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(PROSE)))


# Requests whose headers were read, repeated or changed


def test_headers_that_a_handler_changed_count() -> None:
    assets = make_asset_handler({"a.js": PROSE})

    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        request.headers["accept-encoding"] = "br"
        return await assets(request)

    assert get(main.asgineer_handler, "/a.js").headers["content-encoding"] == "br"


def test_repeated_headers_are_joined() -> None:
    assets = make_asset_handler({"a.js": PROSE})
    etag = get(assets, "/a.js").headers["etag"]
    with TestClient(asgineer.to_asgi(assets)) as client:
        repeated = [("accept-encoding", "gzip;q=0.1"), ("accept-encoding", "br")]
        client.headers.pop("accept-encoding")
        assert client.get("/a.js", headers=repeated).headers["content-encoding"] == "br"
        tags = [("accept-encoding", "identity"), ("if-none-match", '"x"'), ("if-none-match", etag)]
        assert client.get("/a.js", headers=tags).status_code == 304


def test_more_values_than_are_kept() -> None:
    assets = make_asset_handler({"a.js": PROSE})
    with TestClient(asgineer.to_asgi(assets)) as client:
        for number in range(50):
            answer = client.get("/a.js", headers={"accept-encoding": f"br, x{number}"})
            assert answer.headers["content-encoding"] == "br"
        long = "x" * 200 + ", gzip"
        assert client.get("/a.js", headers={"accept-encoding": long}).headers["content-encoding"] == "gzip"
    choices = assets._table["a.js"].choices
    assert len(choices) == _variants.MAX_CHOICES
    assert long.encode() not in choices


def test_finishers_apply_and_change_nothing_for_others() -> None:
    assets = make_asset_handler({"a.js": PROSE, "b.js": PROSE}, encodings=())

    @asgineer.to_asgi
    async def main(request: HttpRequest) -> Any:
        match request.path:
            case "/header":
                response = await assets(request, "a.js")
                response[1]["x-mark"] = "1"
                return response
            case "/status":
                _, headers, body = await assets(request, "a.js")
                return 203, headers, body
            case "/body":
                _, headers, _ = await assets(request, "a.js")
                return 200, headers, b"other"
            case "/compressed":
                return compress(request, await assets(request, "a.js"))
        return await assets(request, "a.js")

    with TestClient(main) as client:
        plain = client.get("/plain")
        assert client.get("/header").headers["x-mark"] == "1"
        assert client.get("/status").status_code == 203
        assert client.get("/body").text == "other"
        assert client.get("/compressed").headers["content-encoding"]
        again = client.get("/plain")
    assert (again.headers, again.text) == (plain.headers, plain.text)


# Encodings


def test_svgz_is_an_svg_in_two_encodings() -> None:
    picture = b"<svg>" + b"<g/>" * 500 + b"</svg>"
    assets = make_asset_handler({"A.SVGZ": gzip.compress(picture)})
    plain, packed = get(assets, "/a.svgz"), get(assets, "/a.svgz", accept_encoding="gzip")
    assert {answer.headers["content-type"] for answer in (plain, packed)} == {"image/svg+xml"}
    assert plain.content == packed.content == picture
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("body", [b"<svg/>", b"", b"\x1f\x8b", gzip.compress(b"x" * 999, mtime=0)[:-9]])
def test_svgz_that_is_none(body: bytes) -> None:
    answer = get(make_asset_handler({"a.svgz": body}), "/a.svgz")
    assert (answer.content, "content-encoding" in answer.headers) == (body if body else b"", False)


def test_encodings() -> None:
    assets = make_asset_handler({"a.js": PROSE}, encodings=["br"])
    assert get(assets, "/a.js", accept_encoding="gzip").headers.get("content-encoding") is None
    assert get(assets, "/a.js", accept_encoding="zstd, br;q=0.1").headers["content-encoding"] == "br"
    assert "vary" not in get(make_asset_handler({"a.js": PROSE}, encodings=()), "/a.js").headers


@pytest.mark.parametrize(
    ("encodings", "error", "words"),
    [
        ("br", TypeError, "encodings must be a list"),
        (["deflate"], ValueError, "encodings can have 'zstd', 'br' and 'gzip', not 'deflate'"),
        ([1], ValueError, "not 1"),
    ],
)
def test_wrong_encodings(encodings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make_asset_handler({}, encodings=encodings)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("brotli", "zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assets = make_asset_handler({"a.js": PROSE})
    answer = get(assets, "/a.js", accept_encoding="zstd, br, gzip;q=0.1")
    assert (answer.headers["content-encoding"], answer.text) == ("gzip", PROSE)
    for encoding in ("br", "zstd"):
        with pytest.raises(ImportError, match=rf"No codec for '{encoding}': pip install .*compress"):
            make_asset_handler({}, encodings=[encoding])


def test_what_is_large_is_compressed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_codecs, "LARGE", 1000)
    qualities: list[int] = []
    pack = brotli.compress

    def note(data: bytes, quality: int) -> bytes:
        qualities.append(quality)
        return bytes(pack(data, quality=quality))

    monkeypatch.setattr(brotli, "compress", note)
    codec = _codecs.best_codec("br")
    assert codec is not None
    assert brotli.decompress(codec(b"x" * 1000)) == b"x" * 1000
    codec(b"x" * 999)
    assert qualities == [_codecs.LARGE_BROTLI, _codecs.BEST_BROTLI]


def test_variants_are_the_same_in_every_process() -> None:
    program = (
        "from asgineer.utils import make_asset_handler as make\n"
        f"variants = make({{'a.js': {PROSE!r}}})._assets['a.js'].variants\n"
        "print({name: variant.etag for name, variant in variants.items()})"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1

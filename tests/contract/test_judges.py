"""Assets and files before others: REDbot and its linter judge them, nginx and varnish keep them."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import brotli  # type: ignore[import-untyped]  # has no types
import pytest
import zstandard
from httplint import HttpRequestLinter, HttpResponseLinter

from asgineer.testing import run_server
from asgineer.testing._process import ServerProcess, free_port
from tests.contract.judged_app import FILES, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgineer.testing import RunningServer

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("judges")]

ROOT = Path(__file__).parents[2]
TIMEOUT = 10.0
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "zstd": zstandard.decompress,
}
# What the judge tells of and we have thought of.
ACCEPTED = ("Cache-Control: public is probably not necessary.",)  # it is said for caches before a login


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server(make_app(tmp_path_factory.mktemp("files"))) as running:
        yield running


class Reply(NamedTuple):
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join([value for field, value in self.fields if field.lower() == name])

    @property
    def decoded(self) -> bytes:
        return DECODERS[self.header("content-encoding")](self.body)


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers={"User-Agent": "test", **fields})
    answer = connection.getresponse()
    reply = Reply(answer.status, answer.reason, answer.getheaders(), answer.read())
    connection.close()
    return reply


def port_of(server: RunningServer) -> int:
    return int(server.bind.rpartition(":")[2])


# ---- REDbot ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("/assets/page.html", True),
        ("/assets/main.js", True),
        ("/assets/photo.png", False),
        ("/disk/page.html", False),
        ("/disk/large.bin", False),
        ("hashed", True),
    ],
)
def test_redbot_finds_nothing(server: RunningServer, path: str, encoded: bool) -> None:
    if path == "hashed":
        path = "/assets/" + ask(port_of(server), "/hashed/main.js").body.decode()
    command = [sys.executable, "-m", "tests.contract.judge_url", server.url + path]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=True).stdout
    found = json.loads(output)
    assert bad_notes(found.pop("notes")) == []
    assert found.pop("gzip") is encoded
    assert found == {"ranges": True, "if-none-match": True, "if-modified-since": True}


def bad_notes(notes: list[list[str]]) -> list[list[str]]:
    return [note for note in notes if note[0] in ("bad", "warning") and note[1] not in ACCEPTED]


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [
        ("/assets/page.html", 200, {}),
        ("/assets/page.html", 200, {"accept_encoding": "gzip"}),
        ("/assets/page.html", 200, {"accept_encoding": "br"}),
        ("/assets/page.html", 304, {"if_none_match": "*"}),
        ("/assets/page.html", 304, {"if_none_match": "*", "accept_encoding": "gzip"}),
        ("/assets/page.html", 206, {"range": "bytes=10-99"}),
        ("/assets/page.html", 416, {"range": "bytes=99999999-"}),
        ("/assets/page.html", 412, {"if_match": '"x"'}),
        ("/assets/none.html", 404, {}),
        ("/disk/page.html", 200, {}),
        ("/disk/page.html", 304, {"if_none_match": "*"}),
        ("/disk/page.html", 206, {"range": "bytes=10-99"}),
        ("/disk/large.bin", 206, {"range": "bytes=10-999999"}),
        ("/disk/page.html", 416, {"range": "bytes=99999999-"}),
        ("/disk/none.html", 404, {}),
    ],
)
def test_linter_finds_nothing(server: RunningServer, path: str, status: int, headers: dict[str, str]) -> None:
    reply = ask(port_of(server), path, **headers)
    assert reply.status == status
    assert bad_notes(lint(server, path, headers, reply)) == []


def test_linter_would_find_something(server: RunningServer) -> None:
    reply = ask(port_of(server), "/assets/page.html", accept_encoding="gzip")
    fields = [(name, "br" if name == "content-encoding" else value) for name, value in reply.fields]
    assert bad_notes(lint(server, "/", {}, reply._replace(fields=fields))) != []


def lint(server: RunningServer, path: str, headers: dict[str, str], reply: Reply) -> list[list[str]]:
    asked = HttpRequestLinter()
    asked.process_request_topline(b"GET", (server.url + path).encode(), b"1.1")
    asked.process_headers(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    )
    asked.finish_content(True)
    answered = HttpResponseLinter()
    answered.request = asked
    answered.process_response_topline(b"1.1", str(reply.status).encode(), reply.reason.encode())
    answered.process_headers([(name.encode(), value.encode("latin-1")) for name, value in reply.fields])
    answered.feed_content(reply.body)
    answered.finish_content(True)
    return [[note.level.value, note.summary] for note in answered.notes]


# ---- caches in front -------------------------------------------------------------------------


NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=one:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{backend}; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_cache one; proxy_cache_revalidate on; add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""
# Varnish asks for gzip by itself unless told otherwise, and would decode for who doesn't take it.
VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{backend_port}"; }}
sub vcl_deliver {{
    set resp.http.X-Cache = "MISS";
    if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }}
}}
"""


def start_nginx(stack: ExitStack, folder: Path, backend: str) -> int:
    port = free_port()
    user = "" if os.getuid() else "user root;"  # another one couldn't write to the folders of a test
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, backend=backend, user=user))
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    process = ServerProcess.command(command, ("127.0.0.1", port))
    stack.callback(process.stop)
    process.wait_until_ready()
    return port


def start_varnish(stack: ExitStack, folder: Path, backend: str) -> int:
    port = free_port()
    (folder / "default.vcl").write_text(VARNISH.format(backend_port=backend.rpartition(":")[2]))
    command = ["varnishd", "-F", "-a", f"127.0.0.1:{port}", "-T", "none", "-f", str(folder / "default.vcl")]
    command += ["-n", str(folder / "work"), "-s", "malloc,16m", "-p", "http_gzip_support=off", "-j", "none"]
    process = ServerProcess.command(command, ("127.0.0.1", port))
    stack.callback(process.stop)
    process.wait_until_ready()
    return port


@pytest.fixture(scope="module", params=["nginx", "varnish"])
def cache(
    request: pytest.FixtureRequest, server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a cache in front of the server."""
    program = {"nginx": "nginx", "varnish": "varnishd"}[request.param]
    paths = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    if shutil.which(program, path=paths) is None:
        pytest.skip(f"there is no {program}; `apt-get install {request.param}` brings it")
    folder = tmp_path_factory.mktemp(request.param)
    start = start_nginx if request.param == "nginx" else start_varnish
    with ExitStack() as stack:
        yield start(stack, folder, server.bind)


CLIENTS = [
    ("", ""),
    ("gzip", "gzip"),
    ("br", "br"),
    ("zstd", "zstd"),
    ("identity", ""),
    ("gzip;q=0, br", "br"),
]


def test_cache_keeps_variants_apart(cache: int) -> None:
    """Clients of all kinds, one after the other, each twice: what one gets is never sent to another."""
    states = []
    for _ in range(2):
        for accept, encoding in CLIENTS:
            fields = {"accept_encoding": accept} if accept else {"accept_encoding": "identity;q=1"}
            reply = ask(cache, "/assets/page.html", **fields)
            assert reply.status == 200
            assert reply.header("content-encoding") == encoding
            assert reply.decoded == FILES["page.html"]
            assert "accept-encoding" in reply.header("vary").lower()
            states.append(reply.header("x-cache"))
    assert states == ["MISS"] * len(CLIENTS) + ["HIT"] * len(CLIENTS)


def test_cache_knows_what_a_client_has(cache: int) -> None:
    for accept in ("gzip", "br"):
        first = ask(cache, "/assets/main.js", accept_encoding=accept)
        known = ask(cache, "/assets/main.js", accept_encoding=accept, if_none_match=first.header("etag"))
        assert (known.status, known.body) == (304, b"")
    other = ask(cache, "/assets/main.js", accept_encoding="br", if_none_match='"x"')
    assert (other.status, other.decoded) == (200, FILES["main.js"])


@pytest.mark.parametrize("path", ["/assets/photo.png", "/disk/large.bin"])
def test_cache_serves_ranges(cache: int, path: str) -> None:
    body = FILES[path.rpartition("/")[2]]
    assert ask(cache, path, accept_encoding="identity").body == body
    for start, stop in ((0, 10), (1000, 2001)):
        part = ask(cache, path, accept_encoding="identity", range=f"bytes={start}-{stop - 1}")
        assert (part.status, part.body) == (206, body[start:stop])
        assert part.header("content-range") == f"bytes {start}-{stop - 1}/{len(body)}"


def test_cache_keeps_names_with_a_hash(cache: int, server: RunningServer) -> None:
    url = ask(port_of(server), "/hashed/main.js").body.decode()
    for state in ("MISS", "HIT"):
        reply: Any = ask(cache, f"/assets/{url}", accept_encoding="br")
        assert (reply.header("x-cache"), reply.decoded) == (state, FILES["main.js"])
        assert reply.header("cache-control") == "public, max-age=31536000, immutable"

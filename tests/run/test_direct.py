"""The protocol that run() gives uvicorn, in a real script: our own apps, Starlette's, Django's; TLS; ends."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .program import PATIENCE, get

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

pytestmark = pytest.mark.server

OURS = """
import asyncio
import asgineer
from asgineer._exchange import Exchange

@asgineer.to_asgi
async def main(request):
    match request.path:
        case "/direct":
            return str(type(request._send) is Exchange)
        case "/whoami":
            return f"{request.scheme} {request.scope['client'][0]}"
        case "/length":
            return str(len(await request.get_body()))
        case "/stream":
            return stream()
        case "/events":
            return asgineer.EventStream(ticks())
    return "hello"

async def stream():
    for number in range(1000):
        yield f"{number}\\n"

async def ticks():
    yield "first"
    print("waiting", flush=True)
    await asyncio.sleep(600)
"""

STARLETTE = """
import asyncio
import asgineer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

async def page(request):
    return PlainTextResponse("hello")

async def length(request):
    return PlainTextResponse(str(len(await request.body())))

async def stream(request):
    async def numbers():
        for number in range(1000):
            yield f"{number}\\n"
    return StreamingResponse(numbers())

async def endless(request):
    async def pieces():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            print("ended", flush=True)
    return StreamingResponse(pieces())

async def fails(request):
    raise ValueError("in the other app")

routes = [Route("/", page), Route("/length", length, methods=["POST"]), Route("/stream", stream)]
main = Starlette(routes=[*routes, Route("/endless", endless), Route("/fails", fails)])
"""

DJANGO = """
import asyncio
import asgineer
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", DATABASES={})

async def page(request):
    return HttpResponse("hello")

def length(request):
    return HttpResponse(str(len(request.body)))

async def stream(request):
    async def numbers():
        for number in range(1000):
            yield f"{number}\\n"
    return StreamingHttpResponse(numbers())

async def endless(request):
    async def pieces():
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)
    return StreamingHttpResponse(pieces())

def fails(request):
    raise ValueError("in the other app")

urlpatterns = [path("", page), path("length", length), path("stream", stream), path("endless", endless)]
urlpatterns += [path("fails", fails)]
main = get_asgi_application()

def ended(**_):
    print("ended", flush=True)

request_finished.connect(ended)
"""

RUN = """
if __name__ == "__main__":
    app = "example:main" if OPTIONS.get("workers") else main
    asgineer.run(app, "uvicorn", "127.0.0.1:0", **OPTIONS)
"""

EVERY_APP = {"asgineer": OURS, "starlette": STARLETTE, "django": DJANGO}
NUMBERS = "".join(f"{number}\n" for number in range(1000))


def write(folder: Path, source: str, options: str = "{}") -> str:
    (folder / "example.py").write_text(source + RUN.replace("OPTIONS", options))
    return "example.py"


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> str:
    connection.request("POST", path, body)
    return connection.getresponse().read().decode()


@pytest.mark.parametrize("app", EVERY_APP)
def test_an_app_is_served(app: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, EVERY_APP[app]))
    connection = http.client.HTTPConnection(program.serving(), timeout=PATIENCE)
    for _ in range(2):  # over one connection
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"hello")
        assert post(connection, "/length", b"x" * 2_000_000) == "2000000"
        connection.request("GET", "/stream")
        assert connection.getresponse().read().decode() == NUMBERS
        connection.request("HEAD", "/")
        assert connection.getresponse().read() == b""
    connection.close()
    assert program.end() == 0
    assert "Traceback" not in program.out


@pytest.mark.parametrize("app", ["starlette", "django"])
def test_an_app_whose_client_leaves_ends_without_a_word(app: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, EVERY_APP[app]))
    host, _, port = program.serving().rpartition(":")
    for abruptly in (False, True):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
            got = b""
            while b"xxx" not in got:  # the head may come alone, before there is anything to end
                got += client.recv(1000)
            if abruptly:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        program.wait_for("ended", times=1 + abruptly)
    assert program.end() == 0
    assert "Traceback" not in program.out


@pytest.mark.parametrize("app", ["starlette", "django"])
def test_an_app_that_fails_is_a_500(app: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, EVERY_APP[app]))
    address = program.serving()
    assert get(address, "/fails")[0] == 500
    assert get(address) == (200, "hello")
    assert program.end() == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [("{}", "True"), ("{'http': 'asgineer'}", "True"), ("{'http': 'auto'}", "False")],
)
def test_our_apps_answer_in_one_call(options: str, expected: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, OURS, options))
    assert get(program.serving(), "/direct") == (200, expected)
    assert program.end() == 0
    assert "uvicorn's own" not in program.out


def test_two_workers(start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, OURS, "{'workers': 2}"))
    address = program.serving()
    assert {get(address, "/direct") for _ in range(10)} == {(200, "True")}
    assert program.end() == 0


@pytest.mark.parametrize(
    ("options", "expected"), [("{}", "http 127.0.0.1"), ("{'proxy_headers': True}", "https 203.0.113.7")]
)
def test_proxy_headers_are_uvicorns_option(options: str, expected: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, OURS, options))
    connection = http.client.HTTPConnection(program.serving(), timeout=PATIENCE)
    fields = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    connection.request("GET", "/whoami", headers=fields)
    assert connection.getresponse().read().decode() == expected
    connection.close()
    assert program.end() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls(loop: str, start: Start, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    files = f"{{'ssl_certfile': 'cert.pem', 'ssl_keyfile': 'key.pem', 'loop': {loop!r}}}"
    program = start(write(tmp_path, OURS, files))
    address = program.wait_for(r"Serving https://(\S+) with")
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    port = int(address.rpartition(":")[2])
    connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
    connection.request("GET", "/whoami")
    assert connection.getresponse().read().decode().startswith("https ")
    assert post(connection, "/length", b"x" * 2_000_000) == "2000000"
    connection.request("GET", "/stream", headers={"connection": "close"})
    assert connection.getresponse().read().decode() == NUMBERS
    connection.request("POST", "/length", b"x" * 11_000_000)  # over the limit: 413, and the end
    assert connection.getresponse().status == 413
    connection.close()
    assert program.end() == 0
    assert "Traceback" not in program.out


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)


def test_an_open_stream_ends_well_when_the_server_stops(start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, OURS))
    host, _, port = program.serving().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        program.wait_for("waiting")
        program.tell()
        rest = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"data: first\n\n" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert program.ended() == 0
    assert "Traceback" not in program.out

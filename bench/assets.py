"""What static files cost a server: CPU of its process for assets, memory and speed for a large file.

Each application serves the same folder on uvicorn (one worker, httptools, uvloop; aiohttp and nginx are
their own servers) in an environment that this script makes once (`bench/.venv-assets`). The server has
one core, the client, which sends one request after the other on four connections, the second.
Applications take turns, round by round; a figure for an asset is the lowest of the rounds, in µs of CPU
of all threads and processes of the server per request, as the kernel counts it. For the large file
it is the middle of the rounds: MB/s as the client sees them, and how far the memory of the process
rose above what it had before. `raw` is an ASGI application that sends the same bytes without a
look at the request; nginx is the ceiling. Starlette compresses while it serves (GZipMiddleware), the
others have compressed files. `asgineer` is the handler as an application, `by parts` is it behind
`match request.parts`, `direct` is the first on the protocol of our own that `run()` gives uvicorn.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from _report import show

from asgineer.testing._process import ServerProcess, free_port

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-assets"
PYTHON = ENVIRONMENT / "bin" / "python"
PACKAGES = [
    "uvicorn[standard]",
    "starlette",
    "servestatic",
    "aiohttp",
    "brotli",
    "zstandard",
    "msgspec",
    "multipart",
]
VERSIONS = ["uvicorn", "uvloop", "httptools", "starlette", "servestatic", "aiohttp"]

SIZES = {"1 KB": 1_000, "10 KB": 10_000, "100 KB": 100_000}
KINDS = ("identity", "gzip", "304")
LARGE = 100_000_000
RANGE = (50_000_000, 59_999_999)
APPS = ["raw", "asgineer", "by parts", "direct", "starlette", "servestatic", "aiohttp", "nginx"]
CONNECTIONS = 4
LONGEST = 0.5  # seconds for the requests of one round
GOALS = "goals: assets ≤ 1.08 × raw and ahead of every peer; large file ≥ 0.9 × raw MB/s, memory ≤ 2 MiB more"

NGINX = """
{user} daemon off; master_process off; pid {work}/pid; error_log {work}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; gzip_static on;
    types {{ text/javascript js; application/octet-stream bin; }}
    client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
    uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
    server {{ listen 127.0.0.1:{port}; root {folder}; add_header Cache-Control "max-age=0"; }}
}}
"""


def make_environment() -> None:
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)


def make_files(folder: Path) -> None:
    """Write scripts of words that compress as scripts do, with compressed twins, and the large file."""
    words = [b"%s%d" % (stem, number) for stem in (b"value", b"index", b"node") for number in range(300)]
    chance = random.Random(1)
    for size in SIZES.values():
        body = b""
        while len(body) < size:
            body += b"let %s = %s + %s;\n" % tuple(chance.choices(words, k=3))
        path = folder / f"{size}.js"
        path.write_bytes(body[:size])
        Path(f"{path}.gz").write_bytes(gzip.compress(body[:size], 9, mtime=0))
        for name in (path, Path(f"{path}.gz")):
            os.utime(name, (1_600_000_000, 1_600_000_000))
    (folder / "large.bin").write_bytes(chance.randbytes(1_000_000) * (LARGE // 1_000_000))


# ---- servers ---------------------------------------------------------------------------------


class Server:
    """One server on the first core: what it has used of the processor and the memory."""

    def __init__(self, stack: ExitStack, app: str, folder: Path) -> None:
        self.app = app
        self.port = free_port()
        env = {"ASSETS_FOLDER": str(folder), "PYTHONPATH": str(HERE.parent / "src")}
        if app not in ("nginx", "aiohttp"):
            env["ASSETS_APP"] = "asgineer" if app == "direct" else app
        process = ServerProcess.command(self._command(stack, folder), ("127.0.0.1", self.port), env=env)
        stack.callback(process.stop)
        process.wait_until_ready()
        self._path = Path("/proc", str(process.pid))
        self._clock = (~process.pid << 3) | 2  # what clock_getcpuclockid(3) gives for it
        for task in (self._path / "task").iterdir():
            os.sched_setaffinity(int(task.name), SERVER_CORES)

    def _command(self, stack: ExitStack, folder: Path) -> list[str]:
        if self.app == "nginx":
            work = stack.enter_context(tempfile.TemporaryDirectory())
            user = "" if os.getuid() else "user root;"
            config = Path(work, "nginx.conf")
            config.write_text(NGINX.format(user=user, work=work, port=self.port, folder=folder))
            return ["nginx", "-p", work, "-e", f"{work}/error.log", "-c", str(config)]
        if self.app == "aiohttp":
            return [str(PYTHON), str(HERE / "_assets_apps.py"), str(self.port)]
        http = "asgineer._uvicorn:Connection" if self.app == "direct" else "httptools"
        command = [str(PYTHON), "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(self.port)]
        command += ["--http", http, "--loop", "uvloop", "--no-proxy-headers", "--interface", "asgi3"]
        return [*command, "--log-level", "error", "--no-access-log", "_assets_apps:app"]

    def cpu(self) -> float:
        """Return the seconds of CPU that all threads have used, those that ended as well."""
        return time.clock_gettime(self._clock)

    def begin_memory(self) -> int:
        (self._path / "clear_refs").write_text("5")  # the highest memory is that of now
        return self.memory("VmRSS")

    def memory(self, key: str) -> int:
        return int((self._path / "status").read_text().partition(f"{key}:")[2].split()[0]) * 1024


# ---- the client ------------------------------------------------------------------------------


class Client:
    """Some connections to a server, on each of which one request follows the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._buffer = memoryview(bytearray(1 << 20))

    def _connect(self) -> socket.socket:
        """Open a connection for each row: servers close one that is idle while the others have their turn."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=30)

    def ask(self, target: str, *fields: str) -> tuple[dict[str, str], int]:
        """Make one request; return its headers (with the status under "") and the bytes of its body."""
        with self._connect() as connection:
            connection.sendall(request(target, *fields))
            return self._read_answer(connection)[:2]

    def _read_answer(self, connection: socket.socket) -> tuple[dict[str, str], int, int]:
        """Return headers, the bytes of the body as it is on the wire, and those of all."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = connection.recv(65_536)
            assert got, "the server closed the connection"
            data += got
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        headers[""] = lines[0].split()[1]
        if headers.get("transfer-encoding") == "chunked":
            while not rest.endswith(b"0\r\n\r\n"):
                rest += connection.recv(65_536)
            size = len(rest)
        else:
            size = 0 if headers[""] == "304" else int(headers["content-length"])
            self._read(connection, size - len(rest))
        return headers, size, len(head) + 4 + size

    def _read(self, connection: socket.socket, size: int) -> None:
        while size > 0:
            got = connection.recv_into(self._buffer, min(size, len(self._buffer)))
            assert got, "the server closed the connection"
            size -= got

    def repeat(self, count: int, target: str, *fields: str) -> float:
        """Make `count` requests, all answered with the same number of bytes; return µs of CPU for each."""
        data, size = request(target, *fields), 0
        with ExitStack() as stack:
            connections = [stack.enter_context(self._connect()) for _ in range(CONNECTIONS)]
            for connection in connections:  # what a connection costs is not measured
                connection.sendall(data)
                size = self._read_answer(connection)[2]
            start, done, deadline = self.server.cpu(), 0, time.perf_counter() + LONGEST
            while done < count and time.perf_counter() < deadline:
                done += CONNECTIONS
                for connection in connections:
                    connection.sendall(data)
                for connection in connections:
                    self._read(connection, size)
            return (self.server.cpu() - start) / done * 1e6


def request(target: str, *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench", "Accept: */*", *fields, "", ""]
    return "\r\n".join(lines).encode()


def fields_for(client: Client, size: int, kind: str) -> list[str]:
    if kind == "304":
        headers, _ = client.ask(f"/{size}.js", "Accept-Encoding: identity")
        return ["Accept-Encoding: identity", "If-None-Match: " + headers.get("etag", '"x"')]
    return [f"Accept-Encoding: {kind}"]


# ---- measuring -------------------------------------------------------------------------------


def check(client: Client, size: int, kind: str) -> str:
    """Return why a row can't be measured, "" where it can: each must send what was asked for."""
    target, fields = f"/{size}.js{'' if kind == 'identity' else '?' + kind}", fields_for(client, size, kind)
    headers, length = client.ask(target, *fields)
    if kind == "304":
        return "" if headers[""] == "304" else "no 304"
    if kind == "gzip":
        return "" if length < size else "no gzip"
    return "" if (headers[""], length) == ("200", size) else "not whole"


def measure_assets(clients: dict[str, Client], rounds: int, count: int) -> list[str]:
    lines = [f"{'µs of CPU per request':18}" + "".join([f"{app:>12}" for app in clients])]
    for name, size in SIZES.items():
        for kind in KINDS:
            best: dict[str, float] = {}
            flaws = {app: check(client, size, kind) for app, client in clients.items()}
            for _ in range(rounds):
                for app, client in clients.items():
                    if not flaws[app]:
                        target = f"/{size}.js{'' if kind == 'identity' else '?' + kind}"
                        took = client.repeat(count, target, *fields_for(client, size, kind))
                        best[app] = min(best.get(app, took), took)
            cells = [
                f"{best[app]:6.1f} ({best[app] / best['raw']:.2f})" if app in best else flaws[app]
                for app in clients
            ]
            lines.append(f"{name + ', ' + kind:18}" + "".join([f"{cell:>14}" for cell in cells]))
    lines[0] = f"{'µs of CPU (× raw)':18}" + "".join([f"{app:>14}" for app in clients])
    return lines


def measure_large(clients: dict[str, Client], rounds: int) -> list[str]:
    clients = {
        app: client for app, client in clients.items() if app not in ("asgineer", "direct")
    }  # assets only
    lines = ["", f"{'large file':18}" + "".join([f"{app:>14}" for app in clients])]
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(rounds + 1):
        for app, client in clients.items():
            for row, fields in (("100 MB", []), ("10 MB of it", ["Range: bytes={}-{}".format(*RANGE)])):
                before, cpu, start = client.server.begin_memory(), client.server.cpu(), time.perf_counter()
                _, size = client.ask("/large.bin", "Accept-Encoding: identity", *fields)
                seconds = time.perf_counter() - start
                found = [
                    size / seconds / 1e6,
                    (client.server.cpu() - cpu) / size * 1e12,
                    (client.server.memory("VmHWM") - before) / 2**20,
                ]
                rows.setdefault((row, app), []).append(found)
    for row in ("100 MB", "10 MB of it"):
        for index, unit in enumerate(("MB/s", "ms CPU/GB", "MiB more")):
            values = [
                median([one[index] for one in rows[row, app][1:]]) for app in clients
            ]  # the first warms up
            cells = [f"{value:14.{1 if index == 2 else 0}f}" for value in values]
            lines.append(f"{row + ', ' + unit:18}" + "".join(cells))
    return lines


def measure(apps: list[str], rounds: int, count: int) -> str:
    make_environment()
    missing = [app for app in apps if app == "nginx" and shutil.which("nginx") is None]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_files(folder)
        folder.chmod(0o755)
        servers = [Server(stack, app, folder) for app in apps if app not in missing]
        os.sched_setaffinity(0, CLIENT_CORES)
        clients = {server.app: Client(server) for server in servers}
        lines = [*measure_assets(clients, rounds, count), *measure_large(clients, rounds)]
    note = [f"not here: {', '.join(missing)}"] if missing else []
    head = f"{rounds} rounds of at most {count} requests; {', '.join(versions_of(clients))}"
    return "\n".join([head, GOALS, *note, "", *lines])


def versions_of(clients: dict[str, Client]) -> list[str]:
    names = f"for name in {VERSIONS}: print(name, version(name))"
    command = [str(PYTHON), "-c", f"from importlib.metadata import version\n{names}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if "nginx" in clients:
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        found.append(told.strip().rpartition(": ")[2])
    return found


if __name__ == "__main__":
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--apps", nargs="+", default=APPS, choices=APPS)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    SERVER_CORES, CLIENT_CORES = {cores[0]}, set(cores[1:]) or {cores[0]}
    figures = measure(arguments.apps, *((2, 2_000) if arguments.quick else (7, 8_000)))
    show("assets", __doc__.strip(), figures, record=arguments.record)

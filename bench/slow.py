"""Attacks by slowness on our protocol for uvicorn: Debian's slowhttptest, each of its kinds.

While the attack holds its 500 connections, a client asks for a page every 50 ms. The figures: how long
the 99th percentile and the slowest of its requests took, and when and why the attack ended: "no open
connections left" says that the server closed them all. A request that fails, or a service that
slowhttptest itself calls unavailable, is an error.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from _report import parse_arguments, show

from asgineer.testing._process import ServerProcess, free_port

HERE = Path(__file__).parent
HOST = "127.0.0.1"
CONNECTIONS = 500
SECONDS = 45  # longer than each of the time-outs
EVERY = 0.05  # seconds between two requests of the client beside
PATIENCE = 5.0

APP = """
import asgineer

@asgineer.to_asgi
async def main(request):
    if request.method == "POST":
        return str(len(await request.get_body()))
    return "x" * (500_000 if request.path == "/large" else 100)
"""

ATTACKS = {
    "slow head (slowloris)": ["-H", "-i", "5", "-x", "24", "-p", "3"],
    "slow body": ["-B", "-i", "60", "-s", "8192", "-x", "10", "-p", "3"],
    "many ranges": ["-R", "-a", "5", "-b", "1000", "-p", "3"],
    "slow reading": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-p", "3"],
}


def serve(stack: ExitStack) -> int:
    """Start the app on our protocol; return its port."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    Path(folder, "slow_app.py").write_text(APP, encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", folder, "--port", str(port)]
    command += ["--http", "asgineer._uvicorn:Connection", "--log-level", "error", "slow_app:main"]
    process = ServerProcess.command(command, (HOST, port), env={"PYTHONPATH": str(HERE.parent / "src")})
    stack.callback(process.stop)
    process.wait_until_ready()
    return port


def ask(port: int) -> float:
    """Ask for the page over a connection of its own; return the seconds that it took."""
    start = time.monotonic()
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    connection.request("GET", "/")
    response = connection.getresponse()
    if response.status != 200 or len(response.read()) != 100:
        raise RuntimeError("a wrong answer during the attack")
    connection.close()
    return time.monotonic() - start


def attack(name: str, options: list[str], port: int) -> str:
    path = "/large" if "-X" in options else "/"
    command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", "200", "-l", str(SECONDS)]
    command += [*options, "-u", f"http://{HOST}:{port}{path}"]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        times = []
        while process.poll() is None:
            times.append(ask(port))
            time.sleep(EVERY)
        out.seek(0)
        text = re.sub(r"\x1b\[[\d;]*m", "", out.read().decode())
    if "service available:   YES" not in text.rpartition("slow HTTP test status")[2]:
        raise RuntimeError(f"{name}: not available\n{text[-1500:]}")
    ended = re.search(r"Test ended on (\d+)\w+ second\s+Exit status: (.*)", text)
    if ended is None:
        raise RuntimeError(text[-1500:])
    times.sort()
    p99 = times[int(len(times) * 0.99)] * 1e3
    return f"{name:24} {len(times):8} {p99:8.1f} {times[-1] * 1e3:8.1f} {ended[1]:>5} s: {ended[2].lower()}"


def measure() -> str:
    lines = [f"{'':24} {'requests':>8} {'p99 ms':>8} {'max ms':>8} {'ended':>7}"]
    with ExitStack() as stack:
        port = serve(stack)
        for name, options in ATTACKS.items():
            lines.append(attack(name, options, port))
            ask(port)
    return "\n".join(lines)


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    if shutil.which("slowhttptest") is None:
        sys.exit("It needs slowhttptest: apt-get install slowhttptest")
    show("slow", __doc__.strip(), measure(), record=arguments.record)

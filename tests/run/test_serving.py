"""run() in a real script, on each of the servers: a page, its log, where it listens, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING

import pytest

from .program import PATIENCE, SERVERS, get, get_over, until

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

pytestmark = pytest.mark.server

SCRIPT = """
import asyncio, logging, os, sys
import asgineer

print("imported", flush=True)

@asgineer.to_asgi
async def main(request):
    if request.path == "/pid":
        return str(os.getpid())
    if request.path == "/wrong":
        raise ValueError("a secret text")
    if request.path == "/wait":
        print("waiting", flush=True)
        await asyncio.sleep(600)
    logging.getLogger("asgineer").info("a line of the program")
    return f"<html>{request.path}</html>"

if __name__ == "__main__":
    print("started", flush=True)
    asgineer.run(ARGUMENTS)
    print("run has returned", flush=True)
"""

every_server = pytest.mark.parametrize("server", SERVERS)
with_workers = pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])


def write(folder: Path, arguments: str, source: str = SCRIPT, name: str = "example.py") -> str:
    (folder / name).write_text(source.replace("ARGUMENTS", arguments))
    return name


@every_server
def test_a_script_serves_a_page_and_ends_by_sigterm(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0'"))
    assert get(program.serving(), "/page") == (200, "<html>/page</html>")
    assert program.end() == 0
    assert "[INFO 20" in program.out
    assert "] a line of the program" in program.out
    assert "run has returned" in program.out
    assert "Traceback" not in program.out


@every_server
def test_the_server_comes_first_and_sigint_ends_it(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"'{server}', main, '127.0.0.1:0', log_level='error'"))
    assert get(program.serving())[0] == 200
    assert program.end(signal.SIGINT) == 0
    assert "Traceback" not in program.out


@every_server
def test_the_access_log_is_the_same_on_every_server(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0', access_log=True"))
    address = program.serving()
    get(address, "/a%20b/%22?token=secret")
    get(address, "/wrong")
    program.wait_for("500 21")
    assert program.end() == 0
    lines = re.findall(r'\] (127.0.0.1 ".*)', program.out)
    shown = [re.sub(r"[\d.]+ms", "0.1ms", line) for line in lines]
    assert shown == [
        '127.0.0.1 "GET /a%20b/%22 HTTP/1.1" 200 19 0.1ms',
        '127.0.0.1 "GET /wrong HTTP/1.1" 500 21 0.1ms error',
    ]


@with_workers
def test_two_workers_import_the_script_that_was_run(server: str, start: Start, tmp_path: Path) -> None:
    arguments = f"main, '{server}', '127.0.0.1:0', workers=2, debug=True, access_log=True, shutdown_timeout=1"
    program = start(write(tmp_path, arguments))
    program.wait_for("imported", times=3)
    address = program.serving()
    status, body = get(address, "/wrong")
    assert (status, "a secret text" in body) == (500, True), "debug has not reached the worker"
    program.wait_for(r'"GET /wrong HTTP/1.1" 500 \d+ [\d.]+ms error')
    program.wait_for("Server is starting up", times=2)
    assert program.end() == 0
    assert program.out.count("started\n") == 1
    assert "ValueError in request handler: a secret text" in program.out


@every_server
def test_a_change_of_the_script_changes_the_answer(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0', reload=True"))
    address = program.serving()
    assert get(address)[1] == "<html>/</html>"
    write(tmp_path, f"main, '{server}', '127.0.0.1:0', reload=True", SCRIPT.replace("<html>", "<html>new "))
    program.wait_for("Serving", times=2)
    program.serving()
    assert get(address)[1] == "<html>new /</html>"
    assert program.end() == 0
    assert "Reloading, because of example.py" in program.out


def test_reload_survives_a_mistake_and_needs_no_watchfiles(start: Start, tmp_path: Path) -> None:
    source = SCRIPT.replace('print("started"', 'sys.modules["watchfiles"] = None; print("started"')
    name = write(tmp_path, "main, 'uvicorn', '127.0.0.1:0', reload=True", source)
    program = start(name)
    address = program.serving()
    (tmp_path / name).write_text("1 / 0")
    program.wait_for("ZeroDivisionError")
    write(tmp_path, "", source.replace("<html>", "<html>right "))
    program.wait_for("Serving", times=2)
    assert get(address)[1] == "<html>right /</html>"
    assert program.end() == 0


@every_server
def test_a_unix_socket(server: str, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # what a server that was killed leaves behind
    program = start(write(tmp_path, f"main, '{server}', 'unix:{path}', access_log=True"))
    program.wait_for(f"Serving unix:{path} with {server}")
    answers: list[str] = []

    def answers_it() -> bool:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            return False
        answers.append(get_over(client))
        return True

    until(answers_it, "an answer over the unix socket")
    assert answers[0].startswith("HTTP/1.1 200 ")
    assert answers[0].endswith("<html>/</html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    program.wait_for('] - "GET / HTTP/1.1" 200 14')
    assert program.end() == 0
    assert not path.exists()


@every_server
@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"main, '{server}', '[::1]:0'"))
    address = program.serving()
    assert address.startswith("[::1]:")
    assert get(address)[0] == 200
    assert program.end() == 0


@every_server
def test_a_port_in_use_is_one_clear_line(server: str, start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:{port}'"))
        assert program.ended() == 1
    assert f"] Cannot listen on 127.0.0.1:{port}: Address already in use" in program.out
    assert len(program.out.splitlines()) == 3  # "imported" and "started" are the others


FAILING_LIFESPAN = """
import asgineer

async def main(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

if __name__ == "__main__":
    asgineer.run(main, ARGUMENTS)
"""


@pytest.mark.parametrize("workers", [1, 2])
@with_workers
def test_a_failing_start_of_the_lifespan_ends_it(
    server: str, workers: int, start: Start, tmp_path: Path
) -> None:
    program = start(write(tmp_path, f"'{server}', '127.0.0.1:0', workers={workers}", FAILING_LIFESPAN))
    assert program.ended() == (1 if server == "granian" else 3)
    assert "no database" in program.out


@with_workers
def test_an_app_that_a_worker_cannot_import_ends_it(server: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    script = "import asgineer\nif __name__ == '__main__': asgineer.run('broken:app', ARGUMENTS)\n"
    program = start(write(tmp_path, f"'{server}', '127.0.0.1:0', workers=2", script))
    assert program.ended() == (1 if server == "granian" else 3)
    assert "] The app broken:app could not be imported" in program.out
    assert 'File "' + str(tmp_path / "broken.py") + '", line 1, in <module>' in program.out
    assert "_run.py" not in program.out


def test_an_app_that_is_no_app_is_told_by_the_worker(start: Start, tmp_path: Path) -> None:
    (tmp_path / "forgot.py").write_text("async def main(request):\n    return 'x'\n")
    script = "import asgineer\nif __name__ == '__main__': asgineer.run('forgot:main', ARGUMENTS)\n"
    program = start(write(tmp_path, "'uvicorn', '127.0.0.1:0', workers=2", script))
    assert program.ended() == 3
    assert "] main is a handler, not an ASGI app: put @asgineer.to_asgi above it" in program.out


@every_server
def test_an_open_request_does_not_keep_it_up(server: str, start: Start, tmp_path: Path) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0', shutdown_timeout=0.2"))
    host, _, port = program.serving().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        program.wait_for("waiting")
        before = time.monotonic()
        assert program.end() == 0
        assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("server", "workers"), [("uvicorn", 1), ("uvicorn", 2), ("hypercorn", 1), ("granian", 1)]
)
def test_a_second_sigterm_kills(server: str, workers: int, start: Start, tmp_path: Path) -> None:
    program = start(
        write(tmp_path, f"main, '{server}', '127.0.0.1:0', workers={workers}, shutdown_timeout=None")
    )
    host, _, port = program.serving().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        program.wait_for("waiting")
        program.tell()
        until(lambda: not program.accepts(host, int(port)), "the closed port")  # the first one is at work
        assert program.end() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("uvicorn", "workers=2"),
        ("granian", "workers=2"),
        ("granian", "reload=True"),
        ("hypercorn", "reload=True"),
    ],
)
def test_no_process_outlives_a_main_process_that_was_killed(
    server: str, how: str, start: Start, tmp_path: Path
) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0', {how}"))
    program.serving()
    before = time.monotonic()
    assert program.end(signal.SIGKILL) == -signal.SIGKILL
    assert time.monotonic() - before < 5  # a clean end, not the one by force


def test_a_worker_that_dies_is_replaced_also_at_the_second_try(start: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    source = "import os\nif os.path.exists('broken'): raise SystemExit(7)\n" + SCRIPT
    program = start(write(tmp_path, "main, 'hypercorn', '127.0.0.1:0', workers=2", source))
    address = program.serving()
    worker = int(get(address, "/pid")[1])
    broken.touch()
    os.kill(worker, signal.SIGKILL)  # a process of this program, which this test started
    program.wait_for(rf"Worker {worker} ended \(status -9\), starting another")
    program.wait_for(r"Worker \d+ ended \(status 7\), starting another")
    assert get(address)[0] == 200
    broken.unlink()
    program.wait_for("Server is starting up", times=3)
    assert program.end() == 0


def test_a_worker_that_does_not_end_in_time_is_killed(start: Start, tmp_path: Path) -> None:
    source = SCRIPT.replace("await asyncio.sleep(600)", "import time; time.sleep(600)")
    source = source.replace(
        "import asgineer\n", "import asgineer, asgineer._process as p\np.CLEANUP = 0.1\n", 1
    )
    arguments = "main, 'uvicorn', '127.0.0.1:0', workers=2, shutdown_timeout=0.1"
    program = start(write(tmp_path, arguments, source))
    host, _, port = program.serving().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        program.wait_for("waiting")
        assert program.end() == 0
    assert re.search(r"Process \d+ did not end in time and is killed", program.out)


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
@pytest.mark.parametrize("module", ["mysite", "mysite.web"])
def test_a_module_that_is_run_by_its_name(server: str, module: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "__init__.py").touch()
    source = SCRIPT.replace("import asgineer", "import asgineer\nfrom . import __name__ as package", 1)
    for name in ("__main__.py", "web.py"):
        write(tmp_path / "mysite", f"main, '{server}', '127.0.0.1:0', workers=2", source, name)
    program = start("-m", module)
    assert get(program.serving())[0] == 200
    assert program.end() == 0
    assert program.out.count("started\n") == 1


def test_granian_serves_an_app_without_a_name_as_long_as_a_copy_will_do(start: Start, tmp_path: Path) -> None:
    script = """
import asgineer

def make():
    async def main(request):
        return "made in a function"
    return asgineer.to_asgi(main)

if __name__ == "__main__":
    import multiprocessing
    multiprocessing.set_start_method("fork")
    asgineer.run(make(), "granian", "127.0.0.1:0")
"""
    program = start(write(tmp_path, "", script))
    assert get(program.serving()) == (200, "made in a function")
    assert program.end() == 0


@pytest.mark.parametrize("how", ["", ", workers=2"])
def test_run_outside_of_the_main_part_is_told(how: str, start: Start, tmp_path: Path) -> None:
    script = SCRIPT.replace('if __name__ == "__main__":', "if True:")
    server = "uvicorn" if how else "granian"
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0'{how}", script))
    assert program.ended() != 0
    assert (
        'run() was called while the program is imported: put it under if __name__ == "__main__":'
        in program.out
    )


def test_an_asgi_app_of_another_make(start: Start, tmp_path: Path) -> None:
    script = """
import asgineer

class App:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 203, "headers": []})
            await send({"type": "http.response.body", "body": b"of another make"})

app = App()

if __name__ == "__main__":
    asgineer.run(app, ARGUMENTS)
"""
    program = start(write(tmp_path, "'hypercorn', '127.0.0.1:0', workers=2, access_log=True", script))
    assert get(program.serving()) == (203, "of another make")
    program.wait_for(r'127.0.0.1 "GET / HTTP/1.1" 203 15 [\d.]+ms\n')
    assert program.end() == 0


@pytest.mark.parametrize(
    ("server", "option", "seen"),
    [
        ("uvicorn", "headers=[('x-mine', 'one')]", "x-mine: one"),
        ("hypercorn", "include_server_header=False, worker_class='uvloop'", "200"),
        ("daphne", "server_name='mine'", "mine"),
        ("granian", "url_path_prefix='/sub'", "200"),
    ],
)
def test_other_keywords_go_on_to_the_server(
    server: str, option: str, seen: str, start: Start, tmp_path: Path
) -> None:
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0', {option}"))
    host, _, port = program.serving().rpartition(":")
    answer = get_over(socket.create_connection((host, int(port)), timeout=PATIENCE)).lower()
    assert seen in answer.partition("\r\n\r\n")[0]
    assert "hypercorn" not in answer
    assert program.end() == 0


@every_server
def test_forwarded_headers_are_not_believed(server: str, start: Start, tmp_path: Path) -> None:
    source = SCRIPT.replace("<html>{request.path}</html>", "{request.scheme} {request.client[0]}")
    program = start(write(tmp_path, f"main, '{server}', '127.0.0.1:0'", source))
    host, _, port = program.serving().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.endswith(b"http 127.0.0.1")
    assert program.end() == 0
